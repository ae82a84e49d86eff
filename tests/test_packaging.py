"""What is inside the wheel and the sdist. Built with what is installed, so no network is needed."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import pgshim

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both distributions; the wheel is built from the sdist, as an installer would."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


def build(source: Path, folder: Path, **environment: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(built / f"pgshim-{pgshim.__version__}-py3-none-any.whl")


def test_the_wheel_has_every_module_the_typing_marker_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pgshim").rglob("*.py")}
    metadata = f"pgshim-{pgshim.__version__}.dist-info/"
    inside = {name for name in wheel.namelist() if not name.startswith(metadata)}
    assert inside == modules | {"pgshim/py.typed"}


def test_the_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    entry_points = wheel.read(f"pgshim-{pgshim.__version__}.dist-info/entry_points.txt").decode()
    assert "[console_scripts]\npgshim = pgshim.cli:main" in entry_points


def test_the_wheel_needs_only_click_and_construct_at_run_time(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f"pgshim-{pgshim.__version__}.dist-info/METADATA").decode()
    required = [
        line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]
    assert required == ["Requires-Dist: click>=8.1", "Requires-Dist: construct>=2.10.70"]


def test_the_sdist_has_the_marker_and_the_licence_and_no_tests(built: Path) -> None:
    prefix = f"pgshim-{pgshim.__version__}"
    with tarfile.open(built / f"{prefix}.tar.gz") as archive:
        names = {name.removeprefix(f"{prefix}/") for name in archive.getnames()}
    assert {"pgshim/py.typed", "LICENSE", "README.md"} <= names
    assert not {name for name in names if name.startswith("tests")}


def test_two_builds_of_the_same_source_are_the_same_bytes(tmp_path: Path) -> None:
    sums = []
    for moment in (1_000_000_000, 1_700_000_000):
        # Another place, with other times of its files, in another time zone.
        source = tmp_path / f"source {moment}"
        source.mkdir()
        for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "pyproject.toml"):
            shutil.copy(ROOT / name, source)
        shutil.copytree(ROOT / "pgshim", source / "pgshim", ignore=shutil.ignore_patterns("__pycache__"))
        for path in source.rglob("*"):
            os.utime(path, (moment, moment))
        folder = tmp_path / f"dist {moment}"
        build(source, folder, SOURCE_DATE_EPOCH="1750000000", TZ=f"UTC{moment % 7}")
        sums.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    assert len(sums[0]) == 2
    assert sums[0] == sums[1]
