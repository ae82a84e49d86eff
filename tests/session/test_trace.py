"""What a trace says became of each message; each story is also told to a session that is not traced (`twins`)."""

from __future__ import annotations

import pytest

from pgshim.errors import ProtocolViolation, UpstreamViolation
from pgshim.protocol.backend import BindComplete, CommandComplete, CopyInResponse, ParameterDescription, ParseComplete
from pgshim.protocol.frontend import CopyData, CopyDone, Flush, Query, Sync, Terminate
from pgshim.protocol.startup import StartupMessage
from pgshim.session.trace import Leg, Trace
from tests.session.messages import IDLE, IN_BLOCK, bind, columns, describe, done, execute, parse, row, server_error
from tests.session.script import LoginScript, SessionScript, Start, joined
from tests.session.sharing import QUERY, Process
from tests.session.twin_stages import TwinLogin

OWN_ERROR = '   |-->B injected      46 Parse "" "pgshim raises an error of its own here" []'


def traced(script: SessionScript | LoginScript, *messages: object) -> list[str]:
    """What is said while the client sends this, in one write; other tests say what comes of it."""
    return _traced(script, script.stage.receive_from_client, messages)


def answered(script: SessionScript | LoginScript, *messages: object) -> list[str]:
    """The same of the upstream."""
    return _traced(script, script.stage.receive_from_upstream, messages)


def _traced(script: SessionScript | LoginScript, receive: object, messages: tuple[object, ...]) -> list[str]:
    stage = script.stage
    lines: list[str] = stage.lines  # type: ignore[attr-defined]
    lines.clear()
    receive(joined(messages))  # type: ignore[arg-type, operator]
    script.collects().forgets()
    return lines


def test_what_passes_as_it_came_is_one_line(script: SessionScript) -> None:
    assert traced(script, Query(b"select 'x'")) == ["F----->B               15 Query <SELECT, 10 bytes>"]
    assert answered(script, columns(23), row(b"1", None), done(), IDLE) == [
        'F<-----B               26 RowDescription ["a":23]',
        "F<-----B               15 DataRow [<1 byte>, NULL]",
        'F<-----B               13 CommandComplete "SELECT 1"',
        "F<-----B                5 ReadyForQuery IDLE",
    ]


def test_what_goes_on_in_another_form_is_two(script: SessionScript) -> None:
    assert traced(script, parse(b"s", b"select $1"), describe(b"s"), Sync()) == [
        'F-->|    rewritten     18 Parse "s" <SELECT, 9 bytes> []',
        '   |-->B rewritten     17 Parse "" <SELECT, 9 bytes> []',
        'F-->|    rewritten      7 Describe STATEMENT "s"',
        '   |-->B rewritten      6 Describe STATEMENT ""',
        "F----->B                4 Sync",
    ]


def test_what_pgshim_sends_itself_is_injected_and_the_answer_dropped(script: SessionScript) -> None:
    traced(script, parse(b"s", b"select $1"), Sync())
    answered(script, ParseComplete(), IDLE)
    assert traced(script, bind(b"s", b"1"), execute(), Sync()) == [
        'F-->|    rewritten     18 Bind "" "s" [] [<1 byte>] []',
        '   |-->B injected      17 Parse "" <SELECT, 9 bytes> []',
        '   |-->B rewritten     17 Bind "" "" [] [<1 byte>] []',
        'F----->B                9 Execute "" 0',
        "F----->B                4 Sync",
    ]
    assert answered(script, ParseComplete(), BindComplete(), row(b"1"), done(), IDLE) == [
        "   |<--B dropped        4 ParseComplete",
        "F<-----B                4 BindComplete",
        "F<-----B               11 DataRow [<1 byte>]",
        'F<-----B               13 CommandComplete "SELECT 1"',
        "F<-----B                5 ReadyForQuery IDLE",
    ]


def test_a_setting(script: SessionScript) -> None:
    assert traced(script, Query(b"set work_mem = '8MB'")) == [
        "F-->|    rewritten     25 Query <SET, 20 bytes>",
        "   |-->B rewritten     47 Query <SET; SHOW, 42 bytes>",
    ]
    assert answered(script, done(b"SET"), columns(25), row(b"8MB"), done(b"SHOW"), IDLE) == [
        '   |<--B dropped        8 CommandComplete "SET"',
        '   |<--B dropped       26 RowDescription ["a":25]',
        "   |<--B dropped       13 DataRow [<3 bytes>]",
        '   |<--B rewritten      9 CommandComplete "SHOW"',
        'F<--|    rewritten      8 CommandComplete "SET"',
        "F<-----B                5 ReadyForQuery IDLE",
    ]


def test_rows_beyond_the_tenth_in_a_row_are_counted(script: SessionScript) -> None:
    traced(script, Query(b"select 1"))
    lines = answered(script, *[row(b"1")] * 25)
    assert lines == [*["F<-----B               11 DataRow [<1 byte>]"] * 10, "F<-----B              165 ... 15 more"]


def test_a_refusal(script: SessionScript) -> None:
    assert traced(script, Query(b"listen x")) == [
        "F-->|    refused       13 Query <LISTEN, 8 bytes>",
        "F<--|    local        303 ErrorResponse ERROR 0A000",
        "F<--|    local          5 ReadyForQuery IDLE",
    ]


def test_a_refusal_that_fails_a_batch(script: SessionScript) -> None:
    assert traced(script, parse(b"", b"listen x"), bind(b""), execute(), Sync()) == [
        'F-->|    refused       16 Parse "" <LISTEN, 8 bytes> []',
        OWN_ERROR,
        'F-->|    dropped       12 Bind "" "" [] [] []',
        'F-->|    dropped        9 Execute "" 0',
        "F----->B                4 Sync",
    ]
    assert answered(script, server_error(b"42601"), IDLE) == [
        "   |<--B rewritten     30 ErrorResponse ERROR 42601",
        "F<--|    rewritten    303 ErrorResponse ERROR 0A000",
        "F<-----B                5 ReadyForQuery IDLE",
    ]


def test_a_lazy_begin(start: Start) -> None:
    script = start(begins_lazily=True)
    assert traced(script, Query(b"begin")) == [
        "F-->|    local         10 Query <BEGIN, 5 bytes>",
        'F<--|    local         10 CommandComplete "BEGIN"',
        "F<--|    local          5 ReadyForQuery IN_TRANSACTION",
    ]
    assert traced(script, Query(b"select 1")) == [
        '   |-->B injected      13 Parse "" <BEGIN, 5 bytes> []',
        '   |-->B injected      12 Bind "" "" [] [] []',
        '   |-->B injected       9 Execute "" 0',
        "F----->B               13 Query <SELECT, 8 bytes>",
    ]


def test_a_lazy_begin_by_the_extended_query_protocol(start: Start) -> None:
    script = start(begins_lazily=True)
    assert traced(script, parse(b"", b"begin"), bind(b""), execute(), Sync()) == [
        'F-->|    local         13 Parse "" <BEGIN, 5 bytes> []',
        'F-->|    local         12 Bind "" "" [] [] []',
        'F-->|    local          9 Execute "" 0',
        "F<--|    local          4 ParseComplete",
        "F<--|    local          4 BindComplete",
        'F<--|    local         10 CommandComplete "BEGIN"',
        "F-->|    local          4 Sync",
        "F<--|    local          5 ReadyForQuery IN_TRANSACTION",
    ]


def test_copy(script: SessionScript) -> None:
    assert traced(script, Query(b"copy t from stdin")) == [
        "F-->|    rewritten     22 Query <COPY FROM STDIN, 17 bytes>",
        '   |-->B injected      25 Parse "" <COPY FROM STDIN, 17 bytes> []',
        '   |-->B injected      12 Bind "" "" [] [] []',
        '   |-->B rewritten      9 Execute "" 0',
        "   |-->B injected       4 Flush",
    ]
    assert traced(script, CopyData(b"1\n"), CopyDone()) == [
        "F----->B                6 CopyData <2 bytes>",
        "F----->B                4 CopyDone",
        "   |-->B injected       4 Sync",
    ]
    assert answered(script, ParseComplete(), BindComplete(), CopyInResponse(0, (0,)), CommandComplete(b"COPY 1")) == [
        "   |<--B dropped        4 ParseComplete",
        "   |<--B dropped        4 BindComplete",
        "F<-----B                9 CopyInResponse 0 [0]",
        'F<-----B               11 CommandComplete "COPY 1"',
    ]


def test_copy_data_that_no_copy_waits_for(script: SessionScript) -> None:
    assert traced(script, CopyData(b"stray"), Flush()) == [
        "F-->|    dropped        9 CopyData <5 bytes>",
        "F-->|    dropped        4 Flush",
    ]


def test_what_waits_has_another_line_when_it_goes_on(start: Start) -> None:
    script = start(is_serial=True)
    assert traced(script, Query(b"select 1"), Query(b"select 2")) == [
        "F----->B               13 Query <SELECT, 8 bytes>",
        "F-->|    held          13 Query <SELECT, 8 bytes>",
    ]
    assert answered(script, columns(23), row(b"1"), done(), IDLE)[-2:] == [
        "F<-----B                5 ReadyForQuery IDLE",
        "   |-->B               13 Query <SELECT, 8 bytes>",
    ]


HELD = [
    'F-->|    held          37 Parse "s" <SELECT, 28 bytes> []',
    'F-->|    held           7 Describe STATEMENT "s"',
]


def test_what_another_client_was_told(start: Start) -> None:
    process = Process(start)
    process.knows()
    assert traced(process.client(), parse(b"s", QUERY), describe(b"s"), Flush()) == [
        *HELD,
        "F-->|    local          4 Flush",
        "F<--|    local          4 ParseComplete",
        "F<--|    local         10 ParameterDescription [23]",
        'F<--|    local         26 RowDescription ["a":23]',
    ]


def test_what_was_held_back_for_nothing(start: Start) -> None:
    process = Process(start)
    process.knows()
    assert traced(process.client(), parse(b"s", QUERY), describe(b"s"), bind(b"s", b"1")) == [
        *HELD,
        '   |-->B rewritten     36 Parse "" <SELECT, 28 bytes> []',
        '   |-->B rewritten      6 Describe STATEMENT ""',
        'F-->|    rewritten     18 Bind "" "s" [] [<1 byte>] []',
        '   |-->B rewritten     17 Bind "" "" [] [<1 byte>] []',
    ]
    assert traced(process.client(), parse(b"", QUERY), Sync()) == [
        'F-->|    held          36 Parse "" <SELECT, 28 bytes> []',
        '   |-->B               36 Parse "" <SELECT, 28 bytes> []',
        "F----->B                4 Sync",
    ]


def test_held_back_and_refused(start: Start) -> None:
    process = Process(start)
    script = process.knows()
    assert traced(script, parse(b"s", QUERY), describe(b"s"), Sync()) == [
        *HELD,
        '   |-->B injected      36 Parse "" <SELECT, 28 bytes> []',
        OWN_ERROR,
        "F----->B                4 Sync",
    ]
    script = process.client(max_statements=1)
    traced(script, parse(b"t", b"select 1"), Sync())
    answered(script, ParseComplete(), IDLE)
    assert traced(script, parse(b"s", QUERY), bind(b"s", b"1"), Sync()) == [
        HELD[0],
        OWN_ERROR,
        'F-->|    dropped       18 Bind "" "s" [] [<1 byte>] []',
        "F----->B                4 Sync",
    ]
    assert traced(process.client(), parse(b"s", QUERY), parse(b"t", b"listen x"), Sync()) == [
        HELD[0],
        '   |-->B rewritten     36 Parse "" <SELECT, 28 bytes> []',
        'F-->|    refused       17 Parse "t" <LISTEN, 8 bytes> []',
        OWN_ERROR,
        "F----->B                4 Sync",
    ]


def test_a_client_that_goes(script: SessionScript) -> None:
    traced(script, Query(b"begin"))
    answered(script, done(b"BEGIN"), IN_BLOCK)
    traced(script, Query(b"select 1"))
    assert traced(script, Terminate()) == ["F-->|    local          4 Terminate"]
    script.session.abandon()
    assert answered(script, done(), IN_BLOCK) == [
        '   |<--B dropped       13 CommandComplete "SELECT 1"',
        "   |<--B dropped        5 ReadyForQuery IN_TRANSACTION",
        "   |-->B injected      13 Query <ROLLBACK, 8 bytes>",
    ]


def test_what_ends_a_connection(start: Start) -> None:
    script = start()
    lines = script.session.lines
    with pytest.raises(ProtocolViolation):
        script.frontend_sends(b"!!!! secret")
    assert lines == ["F-->|    illegal        - <no message> 21 21 21 21 20 ..."]
    script = start()
    lines = script.session.lines
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(b"!!!! secret")
    assert lines == ["   |<--B illegal        - <no message> 21 21 21 21 20 ..."]
    script = start()
    lines = script.session.lines
    with pytest.raises(UpstreamViolation):
        script.upstream_sends(BindComplete())
    assert lines == ["   |<--B illegal        4 BindComplete"]
    script = start()
    lines = script.session.lines
    with pytest.raises(ProtocolViolation):
        script.frontend_sends(Terminate(), Sync())
    assert lines[1:] == ["F-->|    illegal        4 Sync"]


def test_no_short_way(script: SessionScript) -> None:
    data = Query(b"select 1").encode()
    assert script.session.twin.pass_from_client(data) is script.session.twin.pass_from_upstream(data) is None


def test_a_login() -> None:
    packet = StartupMessage(0, ((b"user", b"alice"), (b"work_mem", b"8MB"))).encode()
    assert TwinLogin(packet).lines == [
        'F-->|    rewritten     33 StartupMessage 3.0 ["user"="alice", "work_mem"=<3 bytes>]',
        '   |-->B rewritten     39 StartupMessage 3.0 ["user"="alice", "application_name"=<1 byte>]',
    ]


def test_what_is_no_message_of_the_direction() -> None:
    lines: list[str] = []
    trace = Trace(lines.append)
    trace.tell(Leg.PASSES_UP, b"Z\0\0\0\x05I")
    trace.tell(Leg.PASSES_DOWN, b"E\0\0\0\x05")
    trace.tell_broken(Leg.PASSES_DOWN, b"")
    assert lines == [
        "F----->B                5 <unknown message type 0x5a>",
        "F<-----B                4 ErrorResponse <malformed>",
    ]


def test_parameters_and_descriptions_of_many_are_cut(script: SessionScript) -> None:
    traced(script, parse(b"", b"select 1"), describe(b""), Sync())
    assert answered(script, ParseComplete(), ParameterDescription(tuple(range(14))))[1].endswith("10, 11, 2 more]")
