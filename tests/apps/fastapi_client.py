"""One worker of the FastAPI app, and many users at once who each check what they get.

    DATABASE_URL=postgresql+asyncpg://... python -m tests.apps.fastapi_client NUMBER

NUMBER decides the order in which the worker meets its routes, so that workers which run at the same moment have
other texts under the same statement names.
"""

import asyncio
import sys

import httpx

from tests.apps.fastapi_app import app

USERS = 6


async def warm_up(client: httpx.AsyncClient, number: int) -> None:
    """The first statements of this worker, in an order of its own."""
    paths = ["/heroes?prefix=none", "/statistics?prefix=none", "/teams/0"]
    for path in paths[number % 3 :] + paths[: number % 3]:
        answer = await client.get(path)
        assert answer.status_code in (200, 404), answer.text


async def use(client: httpx.AsyncClient, who: str) -> None:
    """One user: a team with heroes is made, read, changed and deleted."""
    team = (await client.post("/teams", json={"name": who, "city": f"city of {who}"})).json()
    for age in (10, 20, 60):
        hero = {"name": f"{who} {age}", "age": age, "team_id": team["id"]}
        answer = await client.post("/heroes", json=hero)
        assert answer.status_code == 201, answer.text
        assert answer.json() == hero | {"id": answer.json()["id"]}
    taken = await client.post("/teams", json={"name": who, "city": "x"})
    assert taken.status_code == 409, taken.text
    homeless = await client.post("/heroes", json={"name": who, "team_id": -1})
    assert homeless.status_code == 422, homeless.text
    heroes = (await client.get("/heroes", params={"prefix": f"{who} ", "offset": 1})).json()
    assert [hero["name"] for hero in heroes] == [f"{who} 20", f"{who} 60"]
    changed = await client.patch(f"/heroes/{heroes[1]['id']}", json={"age": 30})
    assert changed.json() == heroes[1] | {"age": 30}
    found = (await client.get(f"/teams/{team['id']}")).json()
    assert found["city"] == f"city of {who}"
    assert [hero["age"] for hero in found["heroes"]] == [10, 20, 30]
    statistics = (await client.get("/statistics", params={"prefix": f"{who} "})).json()
    assert statistics == {"count": 3, "average_age": 20.0}
    assert (await client.delete(f"/teams/{team['id']}")).status_code == 204
    assert (await client.get(f"/teams/{team['id']}")).status_code == 404
    assert (await client.get("/heroes", params={"prefix": f"{who} "})).json() == []


async def main(number: int) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    users = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app")
    async with app.router.lifespan_context(app), users as client:
        await warm_up(client, number)
        await asyncio.gather(*(use(client, f"user {number}.{user}") for user in range(USERS)))
    print(f"worker {number}: every answer right")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
