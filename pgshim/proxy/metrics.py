"""The metrics of --metrics: what each is called, and the figures in the form of prometheus-client.

`METRICS` is the whole list; docs/metrics.md has the same, held equal by a test. The figures are sums over all workers,
whichever of them is asked.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from pgshim import __version__
from pgshim.proxy.counters import CONNECTIONS, PID, PREWARMED
from pgshim.proxy.tally import BUCKETS, OWN, STARTED

if TYPE_CHECKING:
    from pgshim.proxy.server import Server


@dataclass(frozen=True, slots=True)
class Metric:
    """One of pgshim's own. `column` is its name in the counters; with a `label`, the part in front of the colon."""

    name: str
    kind: str
    column: str
    help: str
    label: str = ""


METRICS = (
    Metric("pgshim_client_connections", "gauge", CONNECTIONS, "Clients that are connected."),
    Metric("pgshim_client_connections_limit", "gauge", "limit",
           "How many clients can be: --max-connections, or less if the limit of open files says so."),
    Metric("pgshim_client_connections_started_total", "counter", "started",
           "Connections that clients have begun with a StartupMessage that pgshim accepts."),
    Metric("pgshim_client_logins_total", "counter", "logins", "Connections that came through their login."),
    Metric("pgshim_client_connections_refused_total", "counter", "refusals",
           "Connections that did not come to a session and were given an error, by reason.", "reason"),
    Metric("pgshim_transactions_total", "counter", "transactions",
           "Transactions that have ended, those of a single statement and those answered by pgshim included."),
    Metric("pgshim_queries_total", "counter", "queries",
           "Queries and batches of the extended-query protocol that were answered with ReadyForQuery."),
    Metric("pgshim_client_bytes_total", "counter", "bytes",
           "Bytes that came from clients or went to them, without what TLS adds.", "direction"),
    Metric("pgshim_prepared_messages_rewritten_total", "counter", "rewritten",
           "Messages that named a prepared statement and went up without the name.", "message"),
    Metric("pgshim_parses_replayed_total", "counter", "replays",
           "Parses that pgshim put ahead of a message because its server may not have had the statement."),
    Metric("pgshim_prepared_reuses_total", "counter", "reused",
           "Executions of a named statement, not the first, in one trip: two with asyncpg's statement_cache_size=0."),
    Metric("pgshim_trips_saved_total", "counter", "trips",
           "Round trips to the pooler that clients make on a direct connection and did not wait for here.", "kind"),
    Metric("pgshim_settings_injections_total", "counter", "injections",
           "Times that the settings of a client were brought into force ahead of a transaction of its own."),
    Metric("pgshim_features_refused_total", "counter", "refused",
           "Uses of features that need a session of their own, refused with 0A000.", "feature"),
    Metric("pgshim_errors_total", "counter", "errors",
           "ErrorResponses that clients were given, by SQLSTATE; 42xxx: another one of class 42.", "sqlstate"),
    Metric("pgshim_cancel_requests_total", "counter", "cancels",
           "CancelRequests of clients, by what became of them.", "outcome"),
    Metric("pgshim_prewarmed_connections", "gauge", PREWARMED, "Connections to the pooler that --prewarm has ready."),
    Metric("pgshim_prewarm_takes_total", "counter", "prewarm",
           "Clients for which --prewarm had a connection ready (hit) or none (miss).", "outcome"),
    Metric("pgshim_upstream_connect_seconds", "histogram", "connect",
           "Time to make a connection to an upstream: name resolution, TCP, TLS."),
    Metric("pgshim_upstream_connect_failures_total", "counter", "connect_failures",
           "Connections to an upstream that could not be made."),
    Metric("pgshim_upstream_first_byte_seconds", "histogram", "first_byte",
           "Time from a StartupMessage to the first byte of the upstream's answer."),
    Metric("pgshim_workers", "gauge", "workers", "Processes that share the work (--workers)."),
    Metric("pgshim_start_time_seconds", "gauge", "start", "When pgshim was started, in seconds since 1970."),
    Metric("pgshim_build_info", "gauge", "build", "1; the labels are version and python."),
)  # fmt: skip


def registry_of(server: Server) -> CollectorRegistry:
    """A registry with all metrics of a server and, where there is a /proc, of its processes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(server))
    registry.register(_Processes(server))
    return registry


class _Figures(Collector):
    """pgshim's own."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def collect(self) -> Iterator[Family]:
        server = self._server
        server.bring_up_to_date()
        totals: dict[str, float] = dict(server.counters.totals())
        totals |= {"limit": server.most_connections, "workers": server.counters.workers, "start": STARTED}
        labelled: dict[str, dict[str, float]] = {}
        for column, figure in totals.items():
            name, colon, label = column.partition(":")
            if colon:
                labelled.setdefault(name, {})[label] = figure
        for metric in METRICS:
            yield _family(metric, totals, labelled.get(metric.column, {}))


def _family(metric: Metric, totals: dict[str, float], labelled: dict[str, float]) -> Family:
    if metric.column == "build":
        family = GaugeMetricFamily(metric.name, metric.help, labels=("version", "python"))
        family.add_metric((__version__, platform.python_version()), 1)
        return family
    if metric.kind == "histogram":
        return _histogram(metric, labelled)
    make: type[CounterMetricFamily | GaugeMetricFamily] = GaugeMetricFamily
    if metric.kind == "counter":
        make = CounterMetricFamily
    if not metric.label:
        return make(metric.name, metric.help, value=totals[metric.column])
    of_label = make(metric.name, metric.help, labels=(metric.label,))
    for label, figure in labelled.items():
        # SQLSTATEs are many, and most are never seen.
        if figure or metric.label != "sqlstate" or label in OWN:
            of_label.add_metric((label,), figure)
    return of_label


def _histogram(metric: Metric, figures: dict[str, float]) -> Family:
    bounds = [*map(str, BUCKETS), "+Inf"]
    numbers = accumulate(figures[str(index)] for index in range(len(bounds)))
    buckets = list(zip(bounds, numbers, strict=True))
    return HistogramMetricFamily(metric.name, metric.help, buckets=buckets, sum_value=figures["sum"] / 1e6)


class _Processes(Collector):
    """CPU, memory and descriptors as prometheus-client names them; with several workers, of each, by a label."""

    def __init__(self, server: Server) -> None:
        self._counters = server.counters

    def collect(self) -> Iterator[Family]:
        counters = self._counters
        column = counters.column(PID)
        families: dict[str, Family] = {}
        for worker in range(counters.workers):
            pid = counters.row(worker)[column]
            if not pid:
                continue
            for found in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                family = families.setdefault(found.name, Family(found.name, found.documentation, found.type))
                labels = {"worker": str(worker + 1)} if counters.workers > 1 else {}
                for sample in found.samples:
                    family.add_sample(sample.name, labels, sample.value)
        yield from families.values()
