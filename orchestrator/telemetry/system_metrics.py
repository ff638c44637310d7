"""What `orchestrator api` shows Prometheus: a reading of the deployment as gauges."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from orchestrator.core.slo import DAY, HOUR, MINUTE, RULES, Urgency
from orchestrator.ports import BrokerFacts
from orchestrator.service.measuring import DatabaseReading, Reading
from orchestrator.service.queues import QueueView
from orchestrator.service.slos import SloView
from orchestrator.telemetry import metrics as m
from orchestrator.telemetry.metering import Readings, Values, gauge_families
from orchestrator.telemetry.metrics import Metric

CONTENT_TYPE = CONTENT_TYPE_LATEST
AGE_NAMES = {0.0: "15m", 900.0: "1h", 3600.0: "8h", 28_800.0: "1d", 86_400.0: "over"}
"""The upper end of an age, by the lower one in seconds."""
WINDOW_NAMES = {
    5 * MINUTE: "5m", 30 * MINUTE: "30m", HOUR: "1h", 2 * HOUR: "2h", 6 * HOUR: "6h", DAY: "1d",
    3 * DAY: "3d",
}  # fmt: skip


def exposed(reading: Reading) -> bytes:
    """The reading in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Once(gauge_families(readings(reading))))
    return generate_latest(registry)


class _Once(Collector):
    """Families that are there already."""

    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return self._families


def readings(reading: Reading) -> Readings:
    """The numbers by metric and labels. What does not answer has no other series than its `_up`."""
    found: dict[Metric, dict[Values, float]] = {
        m.DATABASE_UP: {(): float(reading.database is not None)},
        m.BROKER_UP: {(): float(reading.broker is not None)},
    }
    if reading.database is not None:
        found |= _of_database(reading.database)
    if reading.broker is not None:
        found |= _of_broker(reading.broker)
    if reading.replica_lag_seconds is not None:
        found[m.REPLICA_LAG] = {(): reading.replica_lag_seconds}
    if reading.queues is not None:
        found |= _of_queues(reading.queues)
    if reading.wants is not None:
        found |= {
            m.WANTED_WORKERS: {(each.lane,): float(each.workers) for each in reading.wants},
            m.HELD_BACK: {(each.lane,): float(each.held_back) for each in reading.wants},
        }
    if reading.slos is not None:
        found |= _of_objectives(reading.slos)
    return found


def _of_objectives(views: Iterable[SloView]) -> dict[Metric, dict[Values, float]]:
    burn: dict[Values, float] = {}
    used: dict[Values, float] = {}
    alarms: dict[Values, float] = {}
    for view in views:
        name = (view.objective.workflow, view.objective.kind.value)
        used[name] = view.budget_used
        for rule in RULES:
            for seconds in (rule.long_seconds, rule.short_seconds):
                burn[*name, WINDOW_NAMES[seconds]] = view.burn_rates[seconds]
        for urgency in Urgency:
            is_open = any(each.urgency is urgency for each in view.alarms)
            alarms[*name, urgency.value] = float(is_open)
    return {m.SLO_BURN: burn, m.SLO_BUDGET: used, m.SLO_ALARM: alarms}


def _of_database(database: DatabaseReading) -> dict[Metric, dict[Values, float]]:
    by_workflow: dict[Values, float] = {}
    by_tenant: dict[Values, float] = {}
    for count in database.runs:
        _add(by_workflow, (count.workflow, count.status), count.number)
        _add(by_tenant, (count.tenant, count.status), count.number)
    by_age: dict[Values, float] = {}
    for opened in database.escalations:
        _add(by_age, (opened.reason, AGE_NAMES[opened.older_than_seconds]), opened.number)
    overdue = sum(each.number for each in database.escalations if each.overdue)
    found: dict[Metric, dict[Values, float]] = {
        m.RUNS: by_workflow, m.TENANT_RUNS: by_tenant, m.ESCALATIONS: by_age,
        m.ESCALATIONS_OVERDUE: {(): float(overdue)},
        m.CODE_WAITS: {(): float(database.without_code)},
        m.WORKERS: {(): float(len(database.workers))},
        m.WORKER_SILENCE: {(): max(database.silence_seconds, 0.0)},
        m.DATABASE_SECONDS: {(): database.round_trip_seconds},
    }  # fmt: skip
    if database.room is not None:
        found[m.DATABASE_CONNECTIONS] = {
            ("in_use",): float(database.room.in_use),
            ("allowed",): float(database.room.allowed),
        }
    return found


def _of_broker(broker: BrokerFacts) -> dict[Metric, dict[Values, float]]:
    return {
        m.BROKER_SECONDS: {(): broker.round_trip_seconds},
        m.BROKER_MEMORY: {
            ("used",): float(broker.used_memory),
            ("limit",): float(broker.maxmemory),
        },
        m.BROKER_CLIENTS: {
            ("now",): float(broker.clients),
            ("most",): float(broker.max_clients),
        },
    }


def _of_queues(queues: Iterable[QueueView]) -> dict[Metric, dict[Values, float]]:
    views = list(queues)
    return {
        m.QUEUE_MESSAGES: {(view.name,): float(view.messages) for view in views},
        m.QUEUE_DUE: {(view.name,): float(view.due) for view in views},
        m.QUEUE_OLDEST: {(view.name,): view.oldest_due_seconds or 0.0 for view in views},
    }


def _add(counts: dict[Values, float], labels: Values, number: int) -> None:
    counts[labels] = counts.get(labels, 0.0) + number
