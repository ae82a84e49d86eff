"""The verdict on a text: kinds and spans held against PostgreSQL's own parser (pglast), the rest by tables.

pglast counts characters, not bytes, in its splits: the texts that it splits here are ASCII. It leaves comments at the
end of a statement in it; the verdict does not.
"""

import pytest
from pglast import ast, parse_sql
from pglast import split as postgres_split
from pglast.enums import TransactionStmtKind as T
from pglast.parser import Error

from pgshim.session.sql import LONG_TEXT, Kind, Verdict, VerdictCache, judge, verdict

TRANSACTIONS = {
    T.TRANS_STMT_BEGIN: Kind.BEGIN,
    T.TRANS_STMT_START: Kind.BEGIN,
    T.TRANS_STMT_COMMIT: Kind.COMMIT,
    T.TRANS_STMT_ROLLBACK: Kind.ROLLBACK,
    T.TRANS_STMT_SAVEPOINT: Kind.SAVEPOINT,
    T.TRANS_STMT_RELEASE: Kind.RELEASE,
    T.TRANS_STMT_ROLLBACK_TO: Kind.ROLLBACK_TO,
    T.TRANS_STMT_PREPARE: Kind.PREPARE_TRANSACTION,
    T.TRANS_STMT_COMMIT_PREPARED: Kind.COMMIT_PREPARED,
    T.TRANS_STMT_ROLLBACK_PREPARED: Kind.ROLLBACK_PREPARED,
}
# By node; where one node stands for several kinds, the function below looks closer.
KIND_OF = {
    **dict.fromkeys((ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt), Kind.DML),
    **{getattr(ast, f"{kind.title()}Stmt"): kind for kind in (Kind.SELECT, Kind.PREPARE, Kind.EXECUTE, Kind.CALL)},
    **{getattr(ast, f"{kind.title()}Stmt"): kind for kind in (Kind.DEALLOCATE, Kind.DO, Kind.FETCH, Kind.LISTEN)},
    **{getattr(ast, f"{kind.title()}Stmt"): kind for kind in (Kind.UNLISTEN, Kind.NOTIFY, Kind.EXPLAIN, Kind.LOCK)},
    ast.VariableShowStmt: Kind.SHOW,
    ast.DeclareCursorStmt: Kind.DECLARE,
    ast.ClosePortalStmt: Kind.CLOSE,
    ast.ConstraintsSetStmt: Kind.SET,
}
DISCARDS = (Kind.DISCARD_ALL, Kind.DISCARD_PLANS, Kind.DISCARD, Kind.DISCARD)


def kind_by_postgres(node: ast.Node) -> Kind:
    match node:
        case ast.TransactionStmt():
            return TRANSACTIONS[node.kind]
        case ast.DiscardStmt():
            return DISCARDS[node.target]
        case ast.CopyStmt():
            return Kind.COPY_FROM_STDIN if node.is_from and node.filename is None else Kind.COPY
        case ast.VariableSetStmt():
            return Kind.RESET if node.kind.name in ("VAR_RESET", "VAR_RESET_ALL") else Kind.SET
    return KIND_OF.get(type(node), Kind.UTILITY)


KINDS = {
    Kind.SELECT: [
        "select 1",
        "SELECT * FROM t -- delete\n WHERE a = 'commit; drop'",
        "SeLeCt/* insert; */1",
        "values (1), (2)",
        "table t",
        "((select 1) union (table t)) order by 1",
        "with x as (select 1) select * from x",
        "with recursive x(a, b) as materialized (values (1,2)) table x",
        'with x as (delete from t returning *), "insert" as (select 1) select * from x',
        "with update as (select 1), delete as (select 2) select * from update, delete",
        "with x as (select 1) (select 2)",
        "with x(n) as (select 1 union all select n+1 from x) search depth first by n set insert select * from x",
        "with recursive x(n) as (select 1 union select n from x) cycle n set a using values select 1",
        "(with x as (select 1) select * from x)",
        'select $$ ; commit; $$, "end" from commit',
        "select 1 into temp t",
    ],
    Kind.DML: [
        "insert into t select 1",
        "UPDATE t SET a = 1",
        "delete from t",
        "merge into t using s on t.a = s.a when matched then delete",
        "with x as (select 1) insert into t select * from x",
        "with x as (select 1), y as (select 2) update t set a = 1 from x returning *",
        "with values as (values (1)) delete from t using values",
    ],
    Kind.BEGIN: ["begin", "BEGIN WORK ISOLATION LEVEL SERIALIZABLE", "start transaction read only"],
    Kind.COMMIT: ["commit", "COMMIT AND CHAIN", "end", "end work", "commit transaction and no chain"],
    Kind.ROLLBACK: ["rollback", "abort", "rollback work", "rollback transaction and chain", "ABORT TRANSACTION"],
    Kind.SAVEPOINT: ["savepoint a"],
    Kind.RELEASE: ["release a", 'release savepoint "to"'],
    Kind.ROLLBACK_TO: ["rollback to a", "rollback work to savepoint b", "ROLLBACK/**/TRANSACTION/**/TO/**/c"],
    Kind.PREPARE_TRANSACTION: ["prepare transaction 'x'", "prepare transaction $$x$$"],
    Kind.COMMIT_PREPARED: ["commit prepared 'x'"],
    Kind.ROLLBACK_PREPARED: ["rollback prepared 'x'"],
    Kind.PREPARE: ["prepare x as select 1", "prepare transaction as select 1", "prepare x (int) as values ($1)"],
    Kind.EXECUTE: ["execute x(1)"],
    Kind.DEALLOCATE: ["deallocate x", "deallocate all", "deallocate prepare x", "deallocate prepare all"],
    Kind.DISCARD_ALL: ["discard all", "DISCARD -- x\n ALL"],
    Kind.DISCARD_PLANS: ["discard plans"],
    Kind.DISCARD: ["discard temp", "discard temporary", "discard sequences"],
    Kind.COPY_FROM_STDIN: [
        'COPY "from".t (a, b) FROM STDIN WITH (FORMAT csv)',
        "copy binary t from stdin",
        "copy t from /* a */ stdin csv header",
        "copy t from stdin where a > 1",
        "copy t from stdout",
    ],
    Kind.COPY: [
        *("copy t to stdout", "copy t from 'stdin'", "copy t from program 'stdin'"),
        "copy (select * from stdin) to stdout",
    ],
    Kind.CALL: ["call p()"],
    Kind.DO: ["do $$begin commit; end$$", "do language plpgsql 'begin end'"],
    Kind.SET: ["set a.b = 'c'", "set local x to y", "set time zone 'UTC'", "set constraints all deferred"],
    Kind.RESET: ["reset all", "reset x"],
    Kind.SHOW: ["show all", "show x"],
    Kind.DECLARE: ["declare c cursor with hold for select 1"],
    Kind.FETCH: ["fetch all from c", "move 1 in c", "fetch c"],
    Kind.CLOSE: ["close c", "close all"],
    Kind.LISTEN: ["listen x"],
    Kind.UNLISTEN: ["unlisten *"],
    Kind.NOTIFY: ["notify x, 'y'"],
    Kind.EXPLAIN: ["explain analyze delete from t"],
    Kind.LOCK: ["lock table t in share mode"],
    Kind.UTILITY: [
        "create table t (a int)",
        "create table t as select 1",
        "create rule r as on insert to t do (delete from t; select 1)",
        "create function f() returns int language sql as 'select 1; commit'",
        "create function f() returns int begin atomic select 1; select case when true then 2 end; end",
        "create or replace procedure p() begin atomic insert into t values (1); "
        "select 1 as end, t.case, (select case a when 1 then case when b then 2 end end) from t; end",
        *("vacuum", "refresh materialized view v", "checkpoint", "truncate t"),
    ],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in KINDS.items() for text in texts])
def test_a_statement_has_the_kind_that_postgresql_parses(kind: Kind, text: str) -> None:
    assert kind_by_postgres(parse_sql(text)[0].stmt) is kind
    found = judge(text.encode())
    assert (found.kind, len(found.statements)) == (kind, 1)
    (statement,) = judge(b" ;-- x\n;" + text.upper().encode() + b" /* y */ ; ").statements
    assert (statement.kind, statement.end - statement.start) == (kind, len(text.strip().encode()))


def test_any_two_statements_are_split_where_postgresql_splits_them() -> None:
    texts = [text for texts in KINDS.values() for text in texts]
    for first, second in zip(texts, texts[1:] + texts[:1], strict=True):
        text = f"/* ; */{first} ;; -- '\n {second};"
        found = judge(text.encode())
        assert found.kind is Kind.MULTIPLE
        parsed = parse_sql(text)
        assert [s.kind for s in found.statements] == [kind_by_postgres(raw.stmt) for raw in parsed]
        assert [text[s.start : s.end] for s in found.statements] == [first, second]
        for ours, theirs in zip(found.statements, postgres_split(text, only_slices=True), strict=True):
            assert theirs.start <= ours.start < ours.end <= theirs.stop


def skimmed(text: bytes) -> Verdict:
    """The verdict on the text behind a comment that makes it long."""
    return judge(b"/*" + b"/*;*/" * (LONG_TEXT // 5) + b"*/" + text)


@pytest.mark.parametrize("text", [text.encode() for texts in KINDS.values() for text in texts])
def test_a_long_text_gets_the_same_verdict_but_for_purity(text: bytes) -> None:
    for doubled in (text, b"-- ;\n" + text + b' ; /* ; */ ; deallocate "X"'):
        short, long = judge(doubled), skimmed(doubled)
        assert [(s.kind, s.name, s.end - s.start) for s in long.statements] == [
            (s.kind, s.name, s.end - s.start) for s in short.statements
        ]
        assert long.statements[0].start - short.statements[0].start >= LONG_TEXT
        assert (long.kind, long.deallocates, long.is_pure) == (short.kind, short.deallocates, False)
        assert (long.has_result_check, long.may_copy_in) == (short.has_result_check, short.may_copy_in)


@pytest.mark.parametrize("text", [b"", b";;", b"select 'a", b"select 1 /* ;", b'"', b"$$ ", b"select 1; begin; --;"])
def test_a_long_text_may_be_empty_or_broken(text: bytes) -> None:
    assert skimmed(text).kind is judge(text).kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"", Kind.EMPTY),
        (b" ; -- begin\n;/* select 1 */", Kind.EMPTY),
        (b"select 1; select 2", Kind.MULTIPLE),
        (b"begin; end", Kind.MULTIPLE),
        (b"select 'a", Kind.UNKNOWN),
        (b"select 1 /* ; commit", Kind.UNKNOWN),
        (b"select (1; commit", Kind.UNKNOWN),
        (b"select 1); commit", Kind.UNKNOWN),
        (b"create function f() begin atomic select 1; commit", Kind.UNKNOWN),
        (b"create or replace view begin atomic; commit", Kind.MULTIPLE),
        (b"create begin atomic; commit", Kind.MULTIPLE),
        (b"begin atomic; commit", Kind.MULTIPLE),
        (b"atomic", Kind.UTILITY),
        (b"end atomic", Kind.COMMIT),
        (b"start x", Kind.UTILITY),
        (b"discard all all", Kind.UTILITY),
        (b"discard", Kind.UTILITY),
        (b"discard x", Kind.UTILITY),
        (b'"select" 1', Kind.UTILITY),
        (b"$1", Kind.UTILITY),
    ],
)
def test_texts_without_a_parse_tree_of_one_statement(text: bytes, kind: Kind) -> None:
    assert judge(text).kind is kind


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"deallocate X", b"x"),
        (b'deallocate "X"', b"X"),
        (b'DEALLOCATE PREPARE "a ""b"" ;"', b'a "b" ;'),
        (b"deallocate prepare", b"prepare"),
        (b"deallocate prepare prepare;", b"prepare"),
        (b"DEALLOCATE /* c */ ALL", None),
        (b"deallocate prepare all -- x", None),
        (b'deallocate "all"', b"all"),
        (rb'deallocate U&"\0061\+000062"', b"ab"),
        (rb"""deallocate prepare u&"!0061\" uescape '!' """, b"a\\"),
        (b"deallocate " + b"A" * 70, b"a" * 63),
        (b'deallocate "' + b"A" * 70 + b'"', b"A" * 63),
        (b"deallocate values", b"values"),
        ("deallocate été".encode(), "été".encode()),
    ],
)
def test_the_name_of_a_deallocate_is_the_one_the_server_knows(text: bytes, name: bytes | None) -> None:
    (raw,) = parse_sql(text.decode())
    assert (raw.stmt.name or "").encode()[:63] == (name or b"")
    found = judge(text)
    assert (found.kind, found.statements[0].name, found.deallocates) == (Kind.DEALLOCATE, name, True)


@pytest.mark.parametrize(
    "text",
    [
        *("deallocate", "deallocate a b", "deallocate select", "deallocate left", "deallocate 'a'", "deallocate $1"),
        *('deallocate ""', 'deallocate U&"\\00"', "deallocate U&\"a\" uescape 'a'", "deallocate all all"),
    ],
)
def test_a_malformed_deallocate_is_left_to_the_server(text: str) -> None:
    with pytest.raises(Error):
        parse_sql(text)
    found = judge(text.encode())
    assert (found.kind, found.deallocates) == (Kind.UTILITY, False)


def test_standard_conforming_strings_decides_where_a_string_ends() -> None:
    text = rb"select '\'; commit; --'"
    assert verdict(text).kind is Kind.MULTIPLE
    assert verdict(text, False).kind is Kind.SELECT
    assert verdict(text, True).kind is Kind.MULTIPLE


def test_only_queries_have_their_result_checked() -> None:
    checked = {kind for kind, texts in KINDS.items() if judge(texts[0].encode()).has_result_check}
    assert checked == {Kind.SELECT, Kind.DML}
    assert not judge(b"select 1; select 2").has_result_check


def test_whatever_may_end_a_transaction_is_known() -> None:
    ending = {kind for kind, texts in KINDS.items() if judge(texts[0].encode()).may_end_transaction}
    assert ending == {*TRANSACTIONS.values(), Kind.CALL, Kind.DO}
    assert judge(b"select 1; select 2").may_end_transaction
    assert judge(b"select '").may_end_transaction
    assert not judge(b"").may_end_transaction


@pytest.mark.parametrize(
    ("text", "may_copy_in", "deallocates"),
    [
        (b"copy t from stdin", True, False),
        (b"select 1; copy t from stdin", True, False),
        (b"copy t to stdout", False, False),
        (b"select 'copy t from stdin'", False, False),
        (b"COPY 'x", True, False),
        (b"select 'x", False, False),
        (b"select 1; deallocate a", False, True),
        (b"begin; discard plans", False, True),
        (b"discard all", False, True),
        (b"discard temp; select 'deallocate all'", False, False),
    ],
)
def test_copy_in_and_deallocate_are_seen_among_others(text: bytes, may_copy_in: bool, deallocates: bool) -> None:
    assert (judge(text).may_copy_in, judge(text).deallocates) == (may_copy_in, deallocates)


def test_a_text_is_judged_once_and_the_oldest_is_forgotten() -> None:
    cache = VerdictCache(True, max_texts=3, max_bytes=30, max_text_size=25)
    texts = [b"select %d" % n for n in range(3)]
    first = cache.verdict(texts[0])
    assert cache.verdict(texts[0]) is first
    assert [cache.verdict(text).kind for text in texts[1:]] == [Kind.SELECT] * 2
    assert (len(cache), cache.size) == (3, 24)
    cache.verdict(b"begin")
    assert (texts[0] in cache, texts[1] in cache, len(cache), cache.size) == (False, True, 3, 21)
    cache.verdict(b"select 12345678901234567")
    assert (texts[1] in cache, texts[2] in cache, len(cache), cache.size) == (False, False, 2, 29)
    assert cache.verdict(b"select 1234567890123456789").kind is Kind.SELECT
    assert (len(cache), cache.size) == (2, 29)


def test_what_is_known_of_many_statements_counts_beside_their_text() -> None:
    cache = VerdictCache(True, max_bytes=2000)
    cache.verdict(b"a;b")
    cache.verdict(b"a;b;c")
    assert cache.size == 3 + 512 + 5 + 2 * 512
    cache.verdict(b"c;d")
    assert (b"a;b" in cache, b"a;b;c" in cache, cache.size) == (False, True, 5 + 2 * 512 + 3 + 512)


def test_a_text_of_very_many_statements_is_not_kept() -> None:
    cache = VerdictCache(True)
    cache.verdict(b"a;" * 8000)
    assert len(cache) == 0
