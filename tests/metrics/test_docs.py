"""docs/metrics.md says what there is, no more and no less; so do the dashboard and the alerts."""

import json
import re
from pathlib import Path

import pytest

from pgshim.proxy.metrics import METRICS
from pgshim.proxy.tally import CANCELS, REASONS, Tally
from pgshim.session.counts import TRIPS

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/metrics.md").read_text()
DASHBOARD = ROOT / "deploy/grafana/pgshim.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table with that first line."""
    lines = DOCS[DOCS.index(f"\n| {heading} |") + 1 :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_all_metrics() -> None:
    assert rows("metric") == [
        [f"`{each.name}`", each.kind, f"`{each.label}`" if each.label else "", each.help] for each in METRICS
    ]


def test_the_tables_of_labels() -> None:
    assert [row[0] for row in rows("`kind`")] == [f"`{kind}`" for kind in TRIPS]
    reasons = rows("`reason` of `pgshim_client_connections_refused_total`")
    assert {row[0] for row in reasons} == {f"`{reason}`" for reason in Tally().refusals}
    assert {f"`{reason}`" for reason in REASONS.values()} < {row[0] for row in reasons}
    outcomes = DOCS[DOCS.index("- `outcome` of `pgshim_cancel") :].split("- `outcome` of `pgshim_prewarm")[0]
    assert all(f"`{outcome}`" in outcomes for outcome in CANCELS)


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS], ids=lambda path: path.name)
def test_what_is_deployed_asks_for_metrics_that_there_are(path: Path) -> None:
    text = path.read_text()
    if path is DASHBOARD:
        panels = json.loads(text)["panels"]
        text = " ".join(target["expr"] for panel in panels for target in panel.get("targets", ()))
    names = set(re.findall(r"\bpgshim_\w+", text))
    assert names
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} <= {each.name for each in METRICS}
