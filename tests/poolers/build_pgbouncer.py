"""A current PgBouncer: the machine's own if it is 1.24 or later, else one that is built from a newer release's source.

`python -m tests.poolers.build_pgbouncer` prints where it is. The source package comes by apt from where the machine's
own packages come from, with the same options, only of a newer release: Debian's trixie, Ubuntu's resolute. Nothing of
the machine's own configuration is changed: the list of sources, the indexes and the cache are in a directory of their
own. What has been built once, in `build/pgbouncer-VERSION`, is used again. It takes half a minute, and these packages:
dpkg-dev gcc libc6-dev libevent-dev libssl-dev make pkg-config (and on Debian a debian-archive-keyring of these days).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pgshim.demo.binaries import MissingBinary, find_pgbouncer, pgbouncer_version

ROOT = Path(__file__).parent.parent.parent / "build"
#: With this version came the default to keep prepared statements.
WANTED = (1, 24)
#: (a release that has it, where its packages are) by the ID in os-release.
NEWER = {"debian": ("trixie", "main"), "ubuntu": ("resolute", "universe")}
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")


class CannotBuild(Exception):
    """The message is a sentence."""


def current_pgbouncer() -> Path:
    """The program. Raises CannotBuild."""
    try:
        own = find_pgbouncer()
    except MissingBinary:
        own = None
    if own is not None and pgbouncer_version(own) >= WANTED:
        return own
    built = _built()
    return built if built is not None else _build()


def _built() -> Path | None:
    found = [path for path in ROOT.glob("pgbouncer-*/pgbouncer") if pgbouncer_version(path) >= WANTED]
    return max(found, key=pgbouncer_version, default=None)


def _build() -> Path:
    for tools, package in (("gcc", "gcc"), ("make", "make"), ("pkg-config", "pkg-config"), ("dpkg-source", "dpkg-dev")):
        _run(["sh", "-c", f"command -v {tools}"], f"install it with `apt-get install {package}`")
    for library, package in (("libevent", "libevent-dev"), ("openssl", "libssl-dev")):
        _run(["pkg-config", "--exists", library], f"install it with `apt-get install {package}`")
    with tempfile.TemporaryDirectory(prefix="pgshim-") as name:
        folder = Path(name)
        source = _fetch(folder)
        # Without its documentation, and without libraries that nothing here is about.
        options = ["--without-cares", "--without-pam", "--without-systemd", "--without-ldap"]
        helped = _run(["./configure", "--help"], "its configure does not run", source)
        known = [option for option in options if option.removeprefix("--without-") in helped]
        _run(["./configure", "--quiet", *known], "its configure fails", source)
        _run(["make", f"-j{os.cpu_count()}", "pgbouncer"], "it does not compile", source)
        major, minor = pgbouncer_version(source / "pgbouncer")
        if (major, minor) < WANTED:
            raise CannotBuild(f"The newer release has PgBouncer {major}.{minor} only; 1.24 or later is wanted.")
        target = ROOT / f"pgbouncer-{source.name.rpartition('-')[2]}"
        target.mkdir(parents=True, exist_ok=True)
        # In one step, so that nobody finds half a program.
        partial = target / f"pgbouncer.{os.getpid()}"
        partial.write_bytes((source / "pgbouncer").read_bytes())
        partial.chmod(0o755)
        partial.rename(target / "pgbouncer")
    return target / "pgbouncer"


def _fetch(folder: Path) -> Path:
    """The unpacked source."""
    for part in ("lists/partial", "cache/archives/partial", "sources"):
        (folder / part).mkdir(parents=True)
    (folder / "sources" / "newer.sources").write_text(newer_sources())
    places = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "sources",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        # Else apt's own user would have to be able to write here.
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "-q", *(word for key, value in places.items() for word in ("-o", f"{key}={value}"))]
    _run([*apt, "update", "-o", "APT::Update::Error-Mode=any"], "the newer release's list of sources cannot be had")
    _run([*apt, "source", "pgbouncer"], "its source package cannot be had", folder)
    (source,) = (path for path in folder.glob("pgbouncer-*") if path.is_dir())
    return source


def newer_sources() -> str:
    """The lines of a `.sources` file: the machine's own source of the release it is, made one of a newer release.

    Raises CannotBuild.
    """
    release = dict(_assignments(Path("/etc/os-release").read_text()))
    system, codename = release.get("ID", ""), release.get("VERSION_CODENAME", "")
    if system not in NEWER:
        raise CannotBuild(
            f"No current PgBouncer can be built on {system or 'this system'}: its source comes by apt on Debian and"
            " Ubuntu; install PgBouncer 1.24 or later."
        )
    suite, component = NEWER[system]
    for stanza in _stanzas():
        # The main archive, by one of its names: not that of security updates, and nobody else's.
        if "deb" in stanza["Types"].split() and {codename, "stable", "oldstable"} & {*stanza["Suites"].split()}:
            changed = {"Types": "deb-src", "Suites": suite, "Components": component}
            return "".join(f"{name}: {value}\n" for name, value in {**stanza, **changed}.items())
    raise CannotBuild(f"apt has no source of {codename}, from which one of {suite} could be derived.")


def _stanzas() -> Iterator[dict[str, str]]:
    """apt's own sources, each as the fields of a `.sources` file."""
    text = _run(["apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"], "no apt")
    places = dict(_assignments(text))
    parts = Path(places["PARTS"])
    for path in [Path(places["LIST"]), *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]:
        if not path.is_file():
            continue
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        yield from _deb822(lines) if path.suffix == ".sources" else _one_line(lines)


def _deb822(lines: list[str]) -> Iterator[dict[str, str]]:
    for text in re.split(r"\n\s*\n", "\n".join(lines)):
        # What is indented goes on with the field above it.
        fields = [field.partition(":") for field in re.split(r"\n(?!\s)", text.strip("\n")) if ":" in field]
        stanza = {name.strip().title().replace("Uris", "URIs"): value.strip() for name, _, value in fields}
        if {"Types", "URIs", "Suites"} <= stanza.keys() and stanza.get("Enabled", "yes") == "yes":
            yield stanza


def _one_line(lines: list[str]) -> Iterator[dict[str, str]]:
    for line in lines:
        found = _ONE_LINE.match(line.partition("#")[0].strip())
        if found is None:
            continue
        options = dict(option.split("=", 1) for option in (found["options"] or "").split())
        # Of the rest, `arch` and `lang` have other names there; a source has neither.
        kept = {name: value for name, value in options.items() if name not in ("arch", "lang", "target")}
        named = {name.title(): value for name, value in kept.items()}
        own = {"Types": "deb", "URIs": found["uri"], "Suites": found["suite"], "Components": found["components"]}
        # One value there is many here.
        yield {name: value.replace(",", " ") for name, value in named.items()} | own


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """Of a shell's `NAME='value'` lines."""
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name, "".join(shlex.split(value))


def _run(command: list[str], what: str, folder: Path | None = None) -> str:
    """Its output. Raises CannotBuild, which says `what`."""
    environment = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except OSError as error:
        raise CannotBuild(f"No current PgBouncer can be built: {what} ({error}).") from error
    if done.returncode:
        words = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise CannotBuild(f"No current PgBouncer can be built: {what} ({shlex.join(command)}).\n{words}".rstrip())
    return done.stdout


if __name__ == "__main__":
    try:
        print(current_pgbouncer())
    except CannotBuild as error:
        sys.exit(str(error))
