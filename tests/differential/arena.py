"""Two databases of one PostgreSQL, alike: one for clients with a server of their own, one behind pgshim and PgBouncer.

A script is played on both at once, burst by burst. What a client does next may depend on what its own server said:
copy data is sent only if a COPY has begun there, and a client that needs a server while three others hold one makes
the first of them end its transaction, for the pool has three. What was really played is a script too, without ifs.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path
from typing import Self

import psycopg

from pgshim.demo.processes import Endpoint
from pgshim.demo.servers import APP_DATABASE, PgBouncer, PgshimProcess, PostgresServer
from tests.differential import statements
from tests.differential.known import is_refusal, part_as_known, without_known
from tests.differential.players import Player, shown
from tests.differential.script import Script, Step
from tests.differential.settings import everything
from tests.poolers.setups import Setup

POOL_SIZE = 3
#: Where clients have servers of their own; the other one is APP_DATABASE.
OWN = "own"
IDLE = ord("I")
#: Custom settings that scripts use: once set, a pooled server knows them for ever (contract of the product: '' there).
CUSTOM = ["app.x", "app.y"]
KNOWN_CUSTOM = "".join(f"set local {name} = ''; " for name in CUSTOM)
#: What a server of the pool may have of its own.
LEFT_BEHIND = """
select pg_backend_pid(), current_user, session_user, current_setting('TimeZone'), current_setting('DateStyle'),
    (select string_agg(name || '=' || setting, ';' order by name) from pg_settings
     where source = 'session' and setting <> '' and name not in
        ('client_encoding', 'application_name', 'DateStyle', 'TimeZone',
         'standard_conforming_strings', 'transaction_isolation', 'transaction_read_only', 'transaction_deferrable')),
    (select count(*) from pg_prepared_statements), (select count(*) from pg_locks where locktype = 'advisory')
"""


@dataclass(frozen=True)
class Outcome:
    """How a script went: what each client was told, and what was found in the tables and on the servers in the end."""

    played: Script
    own: list[str]
    through: list[str]
    #: It ended in a refusal, or in another difference that is documented.
    is_known: bool = False

    @property
    def difference(self) -> str:
        """A unified diff, empty if there is none."""
        names = "a server of its own", "through pgshim"
        return "" if self.is_known else "\n".join(unified_diff(self.own, self.through, *names, lineterm="", n=1))

    @property
    def signature(self) -> str:
        """The first lines that differ, without what a smaller script would change in them."""
        pairs = zip([*self.own, ""], [*self.through, ""], strict=False)
        mine, theirs = next(((a, b) for a, b in pairs if a != b), ("", ""))
        return f"{kind_of(mine)} / {kind_of(theirs)}"


def kind_of(line: str) -> str:
    """The type of a message that is shown, and its SQLSTATE."""
    head = line.partition("(")[0]
    code = line.partition("C=")[2][:5] if "Response(" in line else ""
    return f"{head} {code}".strip()


class Arena:
    """PostgreSQL, a pooler, and four pgshims: passing pipelines or one batch at a time, with and without lazy BEGIN.

    The pooler is the system's PgBouncer, or the one of a `setup`, of which a pgshim that passes pipelines has to find
    out whether it takes them.
    """

    def __init__(
        self, bindir: Path | None = None, setup: Setup | None = None, describe_cache: int | None = None
    ) -> None:
        self._servers = ExitStack()
        self._options = () if describe_cache is None else ("--describe-cache", str(describe_cache))
        self._bindir = bindir
        self._setup = setup

    def __enter__(self) -> Self:
        with ExitStack() as servers:
            settings = {"lock_timeout": "1s", "deadlock_timeout": "100ms"}
            self.postgres = servers.enter_context(PostgresServer(bindir=self._bindir, settings=settings))
            setup = self._setup
            self.pooler = servers.enter_context(
                PgBouncer(self.postgres, pool_size=POOL_SIZE) if setup is None else setup.start(self.postgres)
            )
            modes = {False: "through" if setup is None else "auto", True: "serial"}
            begins = {False: "--lazy-begin", True: "--no-lazy-begin"}
            own = (*self._options, *(setup.options if setup is not None else ()))
            #: (is serial, is eager) -> such a pgshim.
            self.shims = {
                (is_serial, is_eager): servers.enter_context(
                    PgshimProcess(self.pooler, options=[*own, "--pipeline", mode, begin])
                )
                for is_serial, mode in modes.items()
                for is_eager, begin in begins.items()
            }
            self._prepare(servers)
            self._servers = servers.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def _prepare(self, servers: ExitStack) -> None:
        root = self.postgres.endpoint("postgres", "postgres")
        with psycopg.connect(root.url, autocommit=True) as connection:
            connection.execute(f"create database {OWN} owner app")
            connection.execute("create role r1")
            connection.execute("grant r1 to app")
        self._roots = [
            servers.enter_context(psycopg.connect(self.postgres.endpoint("postgres", name).url, autocommit=True))
            for name in (OWN, APP_DATABASE)
        ]
        for connection in self._roots:
            connection.execute(statements.SETUP.encode())
        self._forgetful = [
            servers.enter_context(psycopg.connect(shim.endpoint().url, autocommit=True))
            for shim in self.shims.values()
        ]
        pool = self.pooler.endpoint().url
        self._pool = [
            servers.enter_context(psycopg.connect(pool, autocommit=True, prepare_threshold=None))
            for _ in range(POOL_SIZE)
        ]
        #: What is found on a server that nobody has used.
        self._fresh = ""
        self._fresh = self.servers_of_the_pool()[0]

    def log(self) -> str:
        """What all pgshims have logged."""
        return "".join(shim.log() for shim in self.shims.values())

    def takes(self, script: Script) -> bool:
        """Whether this PostgreSQL can be asked that."""
        is_18 = self._roots[0].info.server_version >= 180000
        return not script.crashes_servers and not (is_18 and script.has_query_amid_batch)

    def play(self, script: Script) -> Outcome:
        """Plays a script on both sides."""
        for connection in self._roots:
            for client in script.clients:
                connection.execute(statements.RESET.replace("{c}", str(client)).encode())
        for connection in self._forgetful:
            connection.execute("do 'begin end'")  # That went around pgshim: it has to hear of it.
        shim = self.shims[script.is_serial, script.is_eager]
        game = Game(self.postgres.endpoint(database=OWN), shim.endpoint(), script)
        game.may_swallow = self._setup is None or not self._setup.is_pinned_by_copy
        try:
            game.play()
        finally:
            game.close()
        # In any case: a server that is new in the pool gets to know the custom settings.
        leaks = self.servers_of_the_pool()
        played = replace(script, steps=tuple(game.played))
        own, through = map(without_known, game.told())
        if game.is_cut_short or is_refusal(through) or part_as_known(own, through):
            return Outcome(played, own, through, is_known=True)
        own += self._contents(0, script.clients)
        through += self._contents(1, script.clients)
        through += [f"left on a server of the pool: {leak}" for leak in leaks]
        return Outcome(played, own, through)

    def _contents(self, database: int, clients: list[int]) -> list[str]:
        found = []
        for name in [f"{table}{client}" for client in clients for table in ("t", "d", "x")]:
            connection = self._roots[database]
            if connection.execute("select to_regclass(%s)", [name]).fetchone() != (None,):
                rows = connection.execute(f"select * from {name} x order by x::text".encode())
                found.append(f"in {name}: {[tuple(str(value)[:60] for value in row) for row in rows]}")
        return found

    def servers_of_the_pool(self) -> list[str]:
        """What of a session is left on the servers of the pool: nothing, if they are all alike."""
        found: dict[int, str] = {}
        try:
            for connection in self._pool:
                connection.execute(f"begin; {KNOWN_CUSTOM}".encode())
                row = connection.execute(LEFT_BEHIND).fetchone()
                assert row is not None
                found[row[0]] = str(row[1:])
        finally:
            for connection in self._pool:
                connection.rollback()
        # All three were held at the same moment, so each was looked at.
        assert len(found) == POOL_SIZE
        return [row for row in found.values() if row != self._fresh]


class Game:
    """One script on its way, on both sides."""

    def __init__(self, own: Endpoint, through: Endpoint, script: Script) -> None:
        self.script = script
        self.played: list[Step] = []
        self.own: dict[int, Player] = {}
        self.through: dict[int, Player] = {}
        for client in script.clients:
            login = script.logins.get(client, "")
            self.own[client] = Player(own.url, login)
            first = Step.of(client, f"Q begin; {KNOWN_CUSTOM}commit")
            self.own[client].write(first.encode())
            self.own[client].readies = 1
            self.own[client].read_all(first)
            self.own[client].messages.clear()
            self.own[client].readies = 0
            self.through[client] = Player(through.url, login)
        #: Clients that have sent something and not read the answers.
        self.unread: set[int] = set()
        #: Clients whose last batch has no Sync.
        self.open: set[int] = set()
        #: Whether a COPY may swallow a Sync; where that pins a server for good, the game ends with it.
        self.may_swallow = True
        self.is_cut_short = False

    def close(self) -> None:
        for player in (*self.own.values(), *self.through.values()):
            player.close()

    def play(self) -> None:
        for step in self.script.steps:
            if self.is_cut_short:
                return
            if step.is_copy_data:
                if not self.own[step.client].is_in_copy:
                    continue
                step = replace(step, is_copy_data=False)
            elif self.own[step.client].is_in_copy and step.messages[0][0] not in "dcf":
                self._say(Step.of(step.client, "f not given  S"))
            self._make_room(step.client)
            self._say(step)
        for client in self.script.clients:
            if self.own[client].is_in_copy:
                self._say(Step.of(client, "f the end  S"))
            self._make_room(client)
            self._say(Step.of(client, f"S  Q rollback  Q {everything()}"))

    def _make_room(self, client: int) -> None:
        """Not more clients than the pool has servers may hold one."""
        if self._holds(client):
            return
        holders = [other for other in self.script.clients if other != client and self._holds(other)]
        for other in holders[: max(0, len(holders) - POOL_SIZE + 1)]:
            end = "f no room  S  Q rollback" if self.own[other].is_in_copy else "S  Q rollback"
            self._say(Step.of(other, end))

    def _holds(self, client: int) -> bool:
        if client in self.unread:
            self._read(client, Step.of(client, "H"))
        return client in self.open or self.own[client].status != IDLE or self.own[client].is_in_copy

    def _say(self, step: Step) -> None:
        client = step.client
        self.played.append(step)
        data = step.encode()
        own, through = self.own[client], self.through[client]
        own.readies += step.readies
        cut = self.script.cut if len(data) < 20_000 else max(self.script.cut, 4_000)
        own.write(data)
        if not step.reads:
            through.write(data, cut)
            self.unread.add(client)
        else:
            own.read_all(step)
            through.write(data, cut)
            self._compare(client)
        ends = step.messages[-1][0] in "SQF"
        (self.open.discard if ends else self.open.add)(client)

        self._look_for_swallowed(client, step)

    def _look_for_swallowed(self, client: int, step: Step) -> None:
        if not self.may_swallow and self.own[client].is_in_copy and any(each[0] == "S" for each in step.messages):
            self.is_cut_short = True

    def _read(self, client: int, step: Step) -> None:
        self.own[client].read_all(step)
        self._compare(client)

    def _compare(self, client: int) -> None:
        """Through pgshim, at least as much has to come."""
        self.unread.discard(client)
        self.through[client].read_up_to(self.own[client].count)

    def told(self) -> tuple[list[str], list[str]]:
        """What all clients were told, one after the other."""
        return _told(self.own), _told(self.through)


def _told(players: dict[int, Player]) -> list[str]:
    return [line for client, player in players.items() for line in (f"client {client}", *shown(player))]

