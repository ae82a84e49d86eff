"""`python -m tests.frameworks`: the frameworks' stories and the drivers' tests, as a table; 1 if anything failed.

    python -m tests.frameworks [--only WORD]

Its modules are not called `test_...`, for `make test` does without the packages that they need.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from pgshim.demo.binaries import MissingBinary, find_pgbouncer, find_postgres, wheel_bindir
from tests.frameworks.report import Client, Pooler, modules, read, show, stories
from tests.matrix.results import Outcome, write

ROOT = Path(__file__).parent.parent.parent
JUNIT = ROOT / "build" / "frameworks.xml"
NEEDED = ("tortoise", "procrastinate", "psycopg_pool", "uvicorn", "sqlmodel", "alembic", "django")


def own_versions(*packages: str) -> str:
    return ", ".join(f"{package} {version(package)}" for package in packages)


def program_version(name: str) -> str:
    """That of psql or pgbench, of each of the installations that the tests use."""
    folders = (find_postgres().bindir, wheel_bindir())
    outputs = [subprocess.run([folder / name, "--version"], capture_output=True, text=True) for folder in folders]
    return ", ".join(output.stdout.split(")")[1].split()[0] for output in outputs)


def frameworks() -> list[Client]:
    """Those whose stories are here."""
    return [
        Client("FastAPI, SQLModel, Alembic", own_versions("fastapi", "sqlmodel", "alembic"), ["fastapi_alembic"]),
        Client("Tortoise ORM", version("tortoise-orm"), ["tortoise_orm"]),
        Client("Procrastinate", version("procrastinate"), ["procrastinate_worker"]),
        Client("asyncpg", version("asyncpg"), ["many_processes"]),
    ]


def drivers() -> list[Client]:
    """Those whose tests are in `tests/integration`."""
    of_psycopg = ["test_psycopg", "test_psycopg_pipeline", "test_psycopg_values", "test_settings_psycopg"]
    of_asyncpg = ["test_asyncpg", "test_asyncpg_errors", "test_asyncpg_rows", "test_asyncpg_values"]
    of_sqlalchemy = ["test_sqlalchemy", "test_settings_sqlalchemy"]
    sqlalchemy = version("sqlalchemy")
    return [
        Client("asyncpg", version("asyncpg"), [*of_asyncpg, "test_settings_asyncpg"]),
        Client("psycopg 3", version("psycopg"), of_psycopg),
        Client("psycopg2", version("psycopg2-binary"), ["test_psycopg2"]),
        Client("pg8000", version("pg8000"), ["test_pg8000"]),
        Client("psqlpy", version("psqlpy"), ["test_psqlpy"]),
        Client("SQLAlchemy on asyncpg", sqlalchemy, of_sqlalchemy, r"^(?!.*\[.*psycopg)"),
        Client("SQLAlchemy on psycopg 3", sqlalchemy, of_sqlalchemy, r"\[.*psycopg"),
        Client("Alembic", version("alembic"), ["test_alembic"]),
        Client("FastAPI, SQLModel", own_versions("fastapi", "sqlmodel"), ["test_fastapi"]),
        Client("Django", version("django"), ["test_django"]),
        Client("psql", program_version("psql"), ["test_psql_pgbench"], r"^(?!.*pgbench)"),
        Client("pgbench", program_version("pgbench"), ["test_psql_pgbench"], "pgbench"),
    ]


def main() -> int:
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 160)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        console.print(f"Not run: {', '.join(missing)} missing; install them with `pip install '.[frameworks]'`.")
        return 2
    try:
        pooler = Pooler("PgBouncer", pooler_version())
        here, there = (chosen(clients, arguments.only) for clients in (frameworks(), drivers()))
    except MissingBinary as error:
        console.print(f"Not run: {error}", markup=False)
        return 2
    code = run_pytest(here, there)
    if not JUNIT.exists():
        console.print("Not run: pytest ended before its first test.")
        return code or 1
    cases = read(JUNIT)
    results = [result for client in here for result in stories(client, pooler, cases)]
    results += [result for client in there for result in modules(client, pooler, cases)]
    show(results, console)
    if not arguments.only:
        write("frameworks", results)
    return code or int(any(result.outcome is Outcome.FAILED for result in results))


def chosen(clients: list[Client], word: str) -> list[Client]:
    return [client for client in clients if word.lower() in client.name.lower()]


def run_pytest(here: list[Client], there: list[Client]) -> int:
    """Runs the modules, each once; the exit code is pytest's."""
    JUNIT.parent.mkdir(exist_ok=True)
    JUNIT.unlink(missing_ok=True)
    paths = [f"tests/frameworks/{module}.py" for client in here for module in client.modules]
    paths += [f"tests/integration/{module}.py" for client in there for module in client.modules]
    # The later family of the format has no properties of tests.
    options = ["-q", "--no-cov", "-o", "junit_family=xunit1", f"--junitxml={JUNIT}"]
    command = [sys.executable, "-m", "pytest", *options, *dict.fromkeys(paths)]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode


def pooler_version() -> str:
    output = subprocess.run([find_pgbouncer(), "--version"], capture_output=True, text=True, check=True).stdout
    return output.split()[1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.frameworks", description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="only clients with this in their name")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
