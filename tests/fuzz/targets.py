"""The targets, and the words that each is fed besides what its corpus has."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.fuzz import decoding, framing, login, session, sql
from tests.fuzz.explore import Run
from tests.fuzz.inputs import corpus, pack, unpack
from tests.fuzz.mutations import Mutator
from tests.protocol.samples import BACKEND, FRONTEND, STARTUP

_SQL = rb"""
    select|insert into t values (1)|update t set a = 1|with q as (|begin|commit|rollback|savepoint s|
    rollback to s|release s|and chain|start transaction|prepare transaction 'x'|commit prepared 'x'|set x = |
    set local x to |set session|set time zone|set role|set names|reset all|reset x|
    set session characteristics as transaction|set_config('a', 'b', false)|pg_catalog.set_config(|U&"set_config"|
    uescape '!'|current_setting('a')|standard_conforming_strings|client_encoding|search_path|show x|deallocate a|
    deallocate all|discard all|prepare a as |execute a|copy t from stdin|copy t to stdout|listen a|unlisten *|
    notify a|declare c cursor with hold for |close all|fetch|lock t|call p()|do $$ begin end $$|
    create temp table t (a int)|on commit drop|into temp |pg_temp.t|create function f() returns int begin atomic|
    create table t|end|case|vacuum|create index concurrently|explain analyze |pg_advisory_lock(1)|
    pg_advisory_unlock_all()|nextval('s')|currval('s')|lastval()|load 'x'|dblink_connect(|setseed(|pg_settings|
    --|/*|*/|'|''|"|""|$$|$a$|$1|$2|E'|\|\'|U&'|U&"|b'|;|(|)|[|]|,|.|::text|cast(|as text)|null|true|false|
    default|from current|interval '1' hour|1/0|+|-|@|::|:=|..|1e5|0x1f|1_0|=
""".replace(b"\n    ", b"").strip().split(b"|")
_SPACES = [b" ", b"\n", b"\t", b"\r", b"\0", b"\xc3\xa9", b"\xff", b"\xe2\x82", b";\n", b"-- c\n", b"/* c */"]
_LOGIN = [
    *(b"user\0", b"database\0", b"options\0", b"-c work_mem=1MB", b"--search_path=a\\ b", b"application_name\0"),
    *(b"client_encoding\0", b"replication\0", b"_pq_.x\0", b"pgshim.session\0on\0", b"reference=abc", b"role\0", b"\\"),
]


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    operations -- of its records
    is_story -- a record goes on where the one before ended; else each is an input by itself
    """

    run: Run
    operations: bytes
    words: tuple[bytes, ...]
    is_story: bool = False

    def mutator(self, random: Random) -> Mutator:
        return Mutator(random, self.words, self.operations)


_FRONTEND = tuple(data for _, data in FRONTEND)
_BACKEND = tuple(data for _, data in BACKEND)
_TEXTS = (*_SQL, *_SPACES)

TARGETS = {
    "framing": Target(framing.run, b"fbpq", (*_FRONTEND, *_BACKEND, b"\0" * 300, b"x" * 5000)),
    "decoding": Target(decoding.run, b"fbs", (*(data for _, data in STARTUP), b"\0", b"\xff\xff\xff\xff", b"name\0")),
    "sql": Target(sql.run, b"yynr", _TEXTS),
    "login": Target(login.run, b"oscu", (*_LOGIN, *_FRONTEND, *_BACKEND), True),
    "session": Target(session.run, b"ocbseuwass", (*_TEXTS, *_FRONTEND, *_BACKEND, b"42601", b"55P03", b"a\0"), True),
}


def entries(name: str) -> list[bytes]:
    """The corpus of a target, without what takes its time because it is long."""
    found = [data for entry, data in corpus(name) if not entry.startswith("repeated")]
    if TARGETS[name].is_story:
        return found
    return [pack([record]) for data in found for record in unpack(data)]
