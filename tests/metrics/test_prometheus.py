"""The dashboard and the alerts of deploy/ with a real Prometheus that has scraped a real run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import subprocess
from typing import Any

import asyncpg
import pytest

from pgshim.demo.servers import PgBouncer
from tests.metrics.prometheus import ALERTS, ROOT, Prometheus
from tests.metrics.support import SECONDS, Monitored, monitored, until

DASHBOARD = ROOT / "deploy/grafana/pgshim.json"

#: What Grafana puts into a query.
VARIABLES = {"$job": "pgshim", "$instance": ".+", "$__rate_interval": "1m"}


def queries() -> list[tuple[str, str]]:
    """(panel's title, expression) of the whole dashboard."""
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]


def filled_in(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


async def app(url: str) -> None:
    """A little of all that pgshim counts."""
    client = await asyncpg.connect(url, timeout=SECONDS)
    await client.execute("SET work_mem = '8MB'")
    for number in range(5):
        async with client.transaction():
            assert await client.fetchval("SELECT $1::int", number) == number
    for refused in ("SELECT pg_advisory_lock(1)", "SELECT * FROM nowhere"):
        with contextlib.suppress(asyncpg.PostgresError):
            await client.execute(refused)
    with pytest.raises(TimeoutError):
        await client.execute("SELECT pg_sleep(20)", timeout=0.1)
    await client.close()


async def keep_busy(pgshim: Monitored, prometheus: Prometheus) -> None:
    """Until Prometheus has seen it grow over some scrapes."""
    async with asyncio.timeout(60):
        scrapes = 0
        while scrapes < 6:
            await app(pgshim.url)
            await asyncio.sleep(0.5)
            found = await asyncio.to_thread(prometheus.query, "count_over_time(pgshim_queries_total[1m])")
            scrapes = int(found[0]["value"][1]) if found else 0


def test_each_query_of_the_dashboard_and_each_alert(pooler: PgBouncer) -> None:
    with monitored(pooler, "--workers", "2", "--prewarm", "2") as pgshim, Prometheus(pgshim.address) as prometheus:
        asyncio.run(keep_busy(pgshim, prometheus))
        for title, expression in queries():
            found = prometheus.query(filled_in(expression))
            assert found, f"{title}: {expression} is empty"
            for each in found:
                assert math.isfinite(float(each["value"][1])), f"{title}: {each}"
        until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
        firing = {rule["name"] for rule in prometheus.rules() if rule["state"] == "firing"}
        assert firing == {"PgshimFeatureRefused"}
        assert prometheus.query("sum(rate(pgshim_trips_saved_total[1m]))")[0]["value"][1] != "0"
        # Each rule speaks of metrics that there are: with the comparison left out, it has a value.
        for rule in prometheus.rules():
            assert prometheus.query(re.split(r" [><=]=? ", rule["query"])[0]), rule["name"]


def test_an_outage_is_told(pooler: PgBouncer) -> None:
    with PgBouncer(pooler.postgres) as mortal, monitored(mortal) as pgshim, Prometheus(pgshim.address) as prometheus:
        until(lambda: bool(prometheus.query("pgshim_upstream_connect_failures_total")))
        mortal.stop()

        def is_told() -> bool:
            pgshim.get("/readyz")
            states = {rule["name"]: rule["state"] for rule in prometheus.rules()}
            return states["PgshimUpstreamUnreachable"] == "pending"

        until(is_told, 30)


def test_promtool_accepts_the_metrics_and_the_alerts(pooler: PgBouncer) -> None:
    with monitored(pooler, "--workers", "2") as pgshim:
        asyncio.run(app(pgshim.url))
        metrics = pgshim.get("/metrics")[2]
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True, timeout=30
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    checked = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stderr
    assert "8 rules found" in checked.stdout
