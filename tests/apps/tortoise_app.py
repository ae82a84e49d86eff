"""A Tortoise ORM program on asyncpg, with answers of its own. It knows nothing of pgshim.

    python -m tests.apps.tortoise_app asyncpg://... schemas
    python -m tests.apps.tortoise_app asyncpg://... STORY NUMBER

`schemas` makes the tables. Several of the others may run at the same moment, each with another NUMBER.
"""

import asyncio
import sys
from typing import Any

import asyncpg
from tortoise import Tortoise, connections, fields
from tortoise.exceptions import IntegrityError
from tortoise.expressions import F, Q
from tortoise.functions import Count, Sum
from tortoise.models import Model
from tortoise.transactions import atomic, in_transaction

TASKS = 8
ROUNDS = 6


class Tournament(Model):
    id = fields.IntField(primary_key=True)
    name = fields.CharField(max_length=100, unique=True)
    made = fields.DatetimeField(auto_now_add=True)
    extra: dict[str, Any] = fields.JSONField(default=dict)
    events: fields.ReverseRelation["Event"]

    class Meta:
        table = "tortoise_tournament"


class Team(Model):
    id = fields.UUIDField(primary_key=True)
    name = fields.TextField()
    points = fields.IntField(default=0)

    class Meta:
        table = "tortoise_team"


class Event(Model):
    id = fields.BigIntField(primary_key=True)
    name = fields.TextField()
    prize = fields.DecimalField(max_digits=10, decimal_places=2, null=True)
    tournament: fields.ForeignKeyRelation[Tournament] = fields.ForeignKeyField(
        "models.Tournament", related_name="events"
    )
    teams: fields.ManyToManyRelation[Team] = fields.ManyToManyField(
        "models.Team", related_name="events", through="tortoise_event_team"
    )

    class Meta:
        table = "tortoise_event"


async def schemas(_: str) -> None:
    """The tables; made where they are missing."""
    await Tortoise.generate_schemas(safe=True)


async def transactions(who: str) -> None:
    """Blocks that are committed, that fail, and that nest."""

    @atomic()
    async def make(name: str) -> Tournament:
        tournament = await Tournament.create(name=name, extra={"by": who})
        await Event.create(name=f"{name} final", tournament=tournament, prize="12.50")
        return tournament

    for turn in range(ROUNDS):
        made = await make(f"{who} {turn}")
        try:
            async with in_transaction():
                await Tournament.create(name=f"{who} undone")
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        async with in_transaction():
            locked = await Tournament.select_for_update().get(id=made.id)
            try:
                async with in_transaction():
                    await Tournament.create(name=f"{who} {turn}")
            except IntegrityError:
                pass
            locked.extra = {"by": who, "turn": turn}
            await locked.save()
        assert (await Tournament.get(id=made.id)).extra == {"by": who, "turn": turn}
        assert await Tournament.filter(name__startswith=f"{who} ").count() == turn + 1
    assert not await Tournament.exists(name=f"{who} undone")


async def many(who: str) -> None:
    """Rows made, changed and deleted by the hundred."""
    for turn in range(ROUNDS):
        name = f"{who} many {turn}"
        await Team.bulk_create([Team(name=name, points=n) for n in range(150)], batch_size=40)
        teams = await Team.filter(name=name).order_by("points")
        assert [team.points for team in teams] == list(range(150))
        for team in teams:
            team.points += 1000
        await Team.bulk_update(teams, fields=["points"], batch_size=60)
        assert await Team.filter(name=name, points__gte=1000).update(points=F("points") - 1000) == 150
        total = await Team.filter(name=name).annotate(total=Sum("points")).group_by("name").values("total")
        assert total == [{"total": sum(range(150))}]
        assert await Team.filter(Q(points__lt=10) | Q(points=99), name=name).delete() == 11
        assert await Team.filter(name=name).count() == 139
        await Team.filter(name=name).delete()


async def relations(who: str) -> None:
    """What hangs on a row, fetched with it."""
    tournament = await Tournament.create(name=f"{who} related")
    teams = [await Team.create(name=f"{who} team {n}") for n in range(4)]
    for n in range(5):
        event = await Event.create(name=f"{who} {n}", tournament=tournament, prize=None if n else "7.00")
        await event.teams.add(*teams[: n % 4 + 1])
    for _ in range(ROUNDS):
        found = await Tournament.get(id=tournament.id).prefetch_related("events__teams")
        sizes = {event.name: len(event.teams) for event in found.events}
        assert sizes == {f"{who} {n}": n % 4 + 1 for n in range(5)}
        event = await Event.get(name=f"{who} 0").select_related("tournament")
        assert (event.tournament.name, str(event.prize)) == (f"{who} related", "7.00")
        counted = await Team.filter(name__startswith=f"{who} ").annotate(n=Count("events")).order_by("name").values("n")
        assert [row["n"] for row in counted] == [5, 3, 2, 1]
    await tournament.delete()
    assert not await Event.exists(name__startswith=f"{who} ")


async def concurrent(who: str) -> None:
    """Many tasks on the pool, each with answers of its own."""

    async def ask(task: int) -> None:
        connection = connections.get("default")
        for turn in range(ROUNDS * 3):
            await Team.create(name=f"{who} {task}", points=turn)
            # The statement of one name returns numbers in one process, and text in the next.
            kind = "text" if (task + turn + len(who)) % 2 else "int"
            rows = await connection.execute_query_dict(f"SELECT $1::int::{kind} AS {kind}_{task}", [turn])
            assert rows == [{f"{kind}_{task}": str(turn) if kind == "text" else turn}]
            points = await Team.filter(name=f"{who} {task}").order_by("points").values_list("points", flat=True)
            assert points == list(range(turn + 1))

    await asyncio.gather(*map(ask, range(TASKS)))


async def locks(who: str) -> None:
    """A lock of the transaction works; one of the session is refused by name."""
    async with in_transaction() as connection:
        await connection.execute_query("SELECT pg_advisory_xact_lock(7)")
        assert await Tournament.filter(name=who).count() == 0
    for _ in range(ROUNDS):
        try:
            await connections.get("default").execute_query("SELECT pg_advisory_lock(7)")
        except asyncpg.FeatureNotSupportedError as error:
            message = str(error)
        else:
            message = "not refused"
        assert "pg_advisory_lock() needs a session of its own" in message, message
        assert await Tournament.filter(name=who).count() == 0


async def main(url: str, story: str, number: str = "0") -> None:
    await Tortoise.init(db_url=url, modules={"models": ["tests.apps.tortoise_app"]})
    print("ready", flush=True)
    sys.stdin.readline()
    await globals()[story](f"{story} {number}")
    await Tortoise.close_connections()
    print(f"{story} {number}: every answer right")


if __name__ == "__main__":
    # Tortoise finds the models by the module's name, which is not `__main__`.
    from tests.apps import tortoise_app

    asyncio.run(tortoise_app.main(*sys.argv[1:]))
