"""The rooms and their one direction, protocol <- session <- proxy, held over the imports of every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOCKETS = {"asyncio", "socket", "select", "selectors", "ssl", "logging", "uvloop"}
UPPER = {"pgshim.proxy", "pgshim.cli", "pgshim.demo", "pgshim.check", "pgshim.run", "click"}
# Where a module lives (the longest match counts) -> what it must not import.
FORBIDDEN = {
    "pgshim/": SOCKETS | UPPER | {"pgshim.session", "pgshim.protocol", "construct"},
    "pgshim/__init__.py": SOCKETS | (UPPER - {"pgshim.proxy"}) | {"pgshim.session", "pgshim.protocol", "construct"},
    "pgshim/__main__.py": SOCKETS,
    "pgshim/protocol/": SOCKETS | UPPER | {"time", "pgshim.session"},
    "pgshim/session/": SOCKETS | UPPER | {"construct"},
    "pgshim/proxy/": {"click", "construct", "pgshim.cli", "pgshim.demo", "pgshim.check", "pgshim.run"},
    "pgshim/run/": (UPPER - {"pgshim.proxy", "pgshim.run"}) | {"pgshim.protocol", "pgshim.session", "construct"},
    "pgshim/check/": {"click", "construct", "pgshim.cli", "pgshim.demo", "logging", "uvloop"},
    "pgshim/cli.py": {"construct"},
    "pgshim/usage.py": SOCKETS | (UPPER - {"click"}) | {"pgshim.session", "pgshim.protocol", "construct"},
    "pgshim/demo/": {"construct", "pgshim.protocol", "pgshim.session", "pgshim.proxy", "pgshim.check"},
}
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "pgshim").rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """`a.b` for `import a.b`; `a.b.c` for `from a.b import c`, for `c` may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = max((place for place in FORBIDDEN if module.startswith(place)), key=len)
    names = imported(ast.parse((ROOT / module).read_text()))
    wrong = {name for name in names for no in FORBIDDEN[room] if f"{name}.".startswith(f"{no}.")}
    assert not wrong
