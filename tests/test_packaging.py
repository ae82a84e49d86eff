"""What is inside the wheel and the sdist. Built with what is installed, so no network is needed."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import pgshim
from tests.docs import markdown

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


def copy(folder: Path) -> None:
    """What the distributions are made from."""
    shutil.copytree(ROOT / "pgshim", folder / "pgshim", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)


def metadata_of(wheel: zipfile.ZipFile) -> Message:
    return message_from_bytes(wheel.read(f"pgshim-{pgshim.__version__}.dist-info/METADATA"))


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


def test_no_address_is_given_that_nobody_has(wheel: zipfile.ZipFile) -> None:
    metadata = metadata_of(wheel)
    assert metadata.get_all("Project-URL") is None
    assert metadata.get_payload() == (ROOT / "README.md").read_text()


def test_a_release_gives_the_index_links_into_the_repository(tmp_path: Path) -> None:
    source, at = tmp_path / "source", f"v{pgshim.__version__}"
    copy(source)
    (source / ".github").mkdir()
    script = Path(shutil.copy(ROOT / ".github" / "for_the_index.py", source / ".github"))
    subprocess.run([sys.executable, script, "https://git.example/o/pgshim", at], check=True, timeout=60)
    build(source, tmp_path / "dist")
    (path,) = (tmp_path / "dist").glob("*.whl")
    metadata = metadata_of(zipfile.ZipFile(path))
    assert "Repository, https://git.example/o/pgshim" in metadata.get_all("Project-URL", [])
    page = tmp_path / "README.md"
    page.write_text(str(metadata.get_payload()))
    links = {link.target for link in markdown.links(page)}
    assert not {target for target in links if not target.startswith(("https://", "#"))}
    assert f"https://git.example/o/pgshim/raw/{at}/docs/pictures/cpu.svg" in links
    assert f"https://git.example/o/pgshim/blob/{at}/docs/options.md" in links


def test_two_builds_of_the_same_source_are_the_same_bytes(tmp_path: Path) -> None:
    sums = []
    for moment in (1_000_000_000, 1_700_000_000):
        # Another place, with other times of its files, in another time zone.
        source = tmp_path / f"source {moment}"
        copy(source)
        for path in source.rglob("*"):
            os.utime(path, (moment, moment))
        folder = tmp_path / f"dist {moment}"
        build(source, folder, SOURCE_DATE_EPOCH="1750000000", TZ=f"UTC{moment % 7}")
        sums.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    assert len(sums[0]) == 2
    assert sums[0] == sums[1]
