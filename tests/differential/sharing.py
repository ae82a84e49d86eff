"""Conversations of clients that prepare the same texts on one table, which changes between: what one was told of a
statement, another is told too.

Nobody holds a lock when another one speaks, so there are no blocks but those that end in their burst, and what ends
with a Flush is gone on with at once.
"""

from __future__ import annotations

from random import Random

from tests.differential.choice import Choice
from tests.differential.script import WHOLE, Script, Step

#: SQL, declared types, values.
TEXTS: list[tuple[str, str, list[str]]] = [
    ("select * from t0 order by 1, 2", "", [""]),
    ("select i, s from t0 where i >= $1 order by i, s", "", ["0", "2", "x"]),
    ("select i from t0 where s = $1 order by i", "", ["one", "~"]),
    ("select i from t0 where s = $1 order by i", "25", ["one"]),
    ("table t0 order by 1, 2", "", [""]),
    ("insert into t0 values ($1, $2)", "", ["3|three", "4|~", "bad|x", "1"]),
    ("update t0 set s = $1 where i = $2", "", ["new|1"]),
    ("delete from t0 where i = $1", "", ["3", "99"]),
    ("insert into t0 values ($1, $2) returning i, s", "", ["5|five"]),
    ("select f_noted(i) from t0 order by 1", "", [""]),
    ("select current_setting('work_mem'), current_user", "", [""]),
    ("select * from y0", "", [""]),
    ("select nosuch", "", [""]),
    ("select 1/0", "", [""]),
]
CHANGES = [
    "alter table t0 add column n int default 5",
    "alter table t0 drop column if exists n",
    "alter table t0 alter column i type bigint",
    "alter table t0 alter column i type int",
    "alter table t0 rename column s to u",
    "alter table t0 rename column u to s",
    "create or replace view y0 as select 1 as one",
    "drop view if exists y0",
    "begin; alter table t0 add column n int; rollback",
    "begin; alter table t0 drop column if exists n; commit",
    "set work_mem = '3MB'",
    "set search_path = s1, public",
    "reset all",
    "discard all",
    "deallocate all",
    "truncate t0",
]
#: What a client does next, and how often.
KINDS = {"ask": 6, "ask and use": 6, "use": 8, "at once": 1, "change": 4, "close": 2, "block": 2}
NAMES = ["a", "a", "b", "n{c}", ""]


def sharing_conversation(random: Random) -> Script:
    """A conversation that this source of randomness leads to."""
    choice = Choice(random)
    clients = range(choice.of([1, 2, 2, 3, 3, 4]))
    texts = [choice.of(TEXTS) for _ in range(choice.number(1, 3))]
    known: dict[tuple[int, str], list[str]] = {}
    steps: list[Step] = []
    for _ in range(choice.number(4, 20)):
        client = choice.of(clients)
        name = choice.of(NAMES).replace("{c}", str(client))
        sql, types, values = choice.of(texts)
        ask = f"P {name}|{sql}{'|' * bool(types)}{types}  D S|{name}"
        use = f"B |{name}"
        match choice.weighted(KINDS):
            case "ask":
                known[client, name] = values
                bursts = [f"{_closed(choice, name)}{ask}  S"]
            case "ask and use":
                known[client, name] = values
                then = choice.of([f"{_bound(use, choice.of(values))}  E   S", "S", f"D S|{name}  S", f"C S|{name}  S"])
                bursts = [f"{_closed(choice, name)}{ask}  H", then]
            case "at once":
                known[client, name] = values
                bursts = [f"{ask}  {_bound(use, choice.of(values))}  E   S"]
            case "use":
                bound = _bound(use, choice.of(known.get((client, name), [""])))
                bursts = [f"{choice.maybe(f'D S|{name}  ', 10)}{bound}  {choice.maybe('D P|  ', 30)}E   S"]
            case "block":
                bound = _bound(use, choice.of(known.get((client, name), [""])))
                bursts = [f"Q begin  {bound}  E   S  {bound}  E   S  Q {choice.of(['commit', 'rollback'])}"]
            case "close":
                bursts = [f"C S|{name}  S"]
            case _:
                bursts = [f"Q {choice.of(CHANGES)}"]
        steps += [Step.of(client, burst) for burst in bursts]
    # The table is that of client 0.
    steps.append(Step.of(0, "S"))
    return Script(tuple(steps), {}, choice.of([WHOLE, WHOLE, 60, 7, 1]), is_serial=choice.chance(15))


def _closed(choice: Choice, name: str) -> str:
    return f"C S|{name}  S  " if name and choice.chance(60) else ""


def _bound(bind: str, values: str) -> str:
    return f"{bind}|{values}" if values else bind
