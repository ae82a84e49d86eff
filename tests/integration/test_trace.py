"""A trace of a real conversation: asyncpg, PgBouncer, PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from pgshim.demo.servers import PgshimProcess
from tests.integration.conftest import Stack

TABLE = """
F-->|    rewritten StartupMessage 3.0 ["client_encoding"="'utf-8'", "user"="app", "database"="app"]
   |-->B rewritten StartupMessage 3.0 ["user"="app", "database"="app", "client_encoding"="'utf-8'", \
"application_name"=<1 byte>]
F<-----B           AuthenticationSASL ["SCRAM-SHA-256"]
F----->B           SASLInitialResponse "SCRAM-SHA-256" <secret>
F<-----B           AuthenticationSASLContinue <secret>
F----->B           SASLResponse <secret>
F<-----B           AuthenticationSASLFinal <secret>
F<-----B           AuthenticationOk
F<-----B           BackendKeyData N <secret>
F<-----B           ReadyForQuery IDLE
F-->|    rewritten Parse "__asyncpg_stmt_1__" <SELECT, 9 bytes> []
   |-->B rewritten Parse "" <SELECT, 9 bytes> []
F-->|    rewritten Describe STATEMENT "__asyncpg_stmt_1__"
   |-->B rewritten Describe STATEMENT ""
F----->B           Flush
F<-----B           ParseComplete
F<-----B           ParameterDescription [25]
F<-----B           RowDescription ["?column?":25]
F-->|    rewritten Bind "" "__asyncpg_stmt_1__" [1] [<6 bytes>] [1]
   |-->B rewritten Bind "" "" [1] [<6 bytes>] [1]
F----->B           Execute "" 1
F----->B           Sync
F<-----B           BindComplete
F<-----B           DataRow [<6 bytes>]
F<-----B           PortalSuspended
F<-----B           ReadyForQuery IDLE
F-->|    local     Query <BEGIN, 6 bytes>
F<--|    local     CommandComplete "BEGIN"
F<--|    local     ReadyForQuery IN_TRANSACTION
F-->|    rewritten Bind "" "__asyncpg_stmt_1__" [1] [<6 bytes>] [1]
   |-->B injected  Parse "" <BEGIN, 6 bytes> []
   |-->B injected  Bind "" "" [] [] []
   |-->B injected  Execute "" 0
   |-->B injected  Parse "" <SELECT, 9 bytes> [25]
   |-->B injected  Describe STATEMENT ""
   |-->B rewritten Bind "" "" [1] [<6 bytes>] [1]
F----->B           Execute "" 1
F----->B           Sync
   |<--B dropped   ParseComplete
   |<--B dropped   BindComplete
   |<--B dropped   CommandComplete "BEGIN"
   |<--B dropped   ParseComplete
   |<--B dropped   ParameterDescription [25]
   |<--B dropped   RowDescription ["?column?":25]
F<-----B           BindComplete
F<-----B           DataRow [<6 bytes>]
F<-----B           PortalSuspended
F<-----B           ReadyForQuery IN_TRANSACTION
F----->B           Query <COMMIT, 7 bytes>
F<-----B           CommandComplete "COMMIT"
F<-----B           ReadyForQuery IDLE
F-->|    refused   Query <LISTEN, 14 bytes>
F<--|    local     ErrorResponse ERROR 0A000
F<--|    local     ReadyForQuery IDLE
F-->|    local     Terminate
   |-->B injected  Terminate
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


@pytest.fixture
def pgshim(plain_stack: Stack, trace: Path) -> Iterator[PgshimProcess]:
    with PgshimProcess(plain_stack.pgbouncer, options=[f"--trace={trace}"]) as process:
        yield process


def said(trace: Path, last: str) -> list[str]:
    """The lines of a trace from the legs on, without lengths, once the last is there."""
    end = time.monotonic() + 5
    while last not in (text := trace.read_text()):
        assert time.monotonic() < end, text
        time.sleep(0.02)
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{6} #1   (F|   \|)", line) for line in text.splitlines()[1:])
    lines = [re.sub(r"^(.{18}) +[\d-]+ ", r"\1 ", line[21:]) for line in text.splitlines()[1:]]
    lines = [re.sub("BackendKeyData -?[0-9]+", "BackendKeyData N", line) for line in lines]
    # asyncpg numbers the statements of all its connections.
    return [re.sub("__asyncpg_stmt_[0-9a-f]+__", "__asyncpg_stmt_1__", line) for line in lines]


def test_a_conversation(pgshim: PgshimProcess, trace: Path) -> None:
    async def converse() -> None:
        client = await asyncpg.connect(pgshim.endpoint().url)
        await client.fetchval("SELECT $1", "geheim")
        async with client.transaction():
            await client.fetchval("SELECT $1", "geheim")
        with pytest.raises(asyncpg.FeatureNotSupportedError):
            await client.execute("LISTEN channel")
        await client.close()

    asyncio.run(converse())
    lines = said(trace, "|-->B injected       4 Terminate")
    assert "ParameterStatus" in "".join(lines)
    assert [line for line in lines if "ParameterStatus" not in line] == TABLE.strip("\n").splitlines()
    assert "geheim" not in trace.read_text()
    assert trace.stat().st_mode & 0o777 == 0o600


def test_a_cancel(pgshim: PgshimProcess, trace: Path) -> None:
    async def cancel() -> None:
        client = await asyncpg.connect(pgshim.endpoint().url)
        with pytest.raises(TimeoutError):
            await client.execute("SELECT pg_sleep(20)", timeout=0.5)
        await client.close()

    asyncio.run(cancel())
    lines = said(trace, "|-->B injected       4 Terminate")
    [line] = [line for line in lines if "CancelRequest" in line]
    assert re.fullmatch(r"F----->B           CancelRequest -?\d+ <secret>", line)
    assert "F<-----B           ErrorResponse ERROR 57014" in lines
