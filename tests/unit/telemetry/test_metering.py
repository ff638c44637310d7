"""Metrics: what the table says is what is served, and there is a bound to it."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.core.exchange import Outcome
from orchestrator.core.saga import EscalationReason
from orchestrator.core.slo import Objective, ObjectiveKind, Urgency
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.embedded.address import free_port
from orchestrator.engine.gate import GateState
from orchestrator.errors import InvalidSetting
from orchestrator.ports import BrokerFacts, DatabaseRoom
from orchestrator.ports.counting import EscalationCount, RunCount
from orchestrator.ports.slo import AlarmRecord
from orchestrator.service.measuring import DatabaseReading, Reading
from orchestrator.service.queues import QueueView
from orchestrator.service.scaling import LaneWants
from orchestrator.service.slos import SloView
from orchestrator.settings import Settings
from orchestrator.telemetry import exposition
from orchestrator.telemetry import metrics as m
from orchestrator.telemetry.boards import ALERTS, ROWS
from orchestrator.telemetry.metering import Gauges, PrometheusMeter, answer_class, bounded
from orchestrator.telemetry.metrics import METRICS, Kind, Origin
from orchestrator.telemetry.system_metrics import exposed
from orchestrator.wiring_metrics import GAUGES, WorkerMetrics, gate_readings

ROOT = Path(__file__).parents[3]
F = Direction.FORWARD


def tell_all(meter: PrometheusMeter, *, workflow: str = "order", api: str = "shop") -> None:
    meter.attempted(api, F, Outcome.LANDED, 201, 0.02)
    meter.settled(workflow, "charge", F, LinkStatus.LANDED, 0.3)
    meter.ended(workflow, RunStatus.SUCCEEDED, 2.0)
    meter.claimed("default", F, 0.004)
    meter.passed_gate(api, 0.5)
    meter.parked(api)
    meter.batched("journal", 7, 0.003)
    meter.recovered("lost", 3)
    meter.gave_up("deaf")


def gate(**changes: object) -> GateState:
    fields = {
        "in_use": 2, "waiting": 5, "allowance": 4, "reserved": 1, "expected_wait_seconds": 0.0,
        "away_seconds": 0.0, "breaker": "half_open", "pace": 0.7, **changes,
    }  # fmt: skip
    return GateState(**fields)


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
OBJECTIVE = Objective(workflow="order", kind=ObjectiveKind.SUCCESS, target=0.99)


def slo_view() -> SloView:
    alarm = AlarmRecord(
        id="a", workflow="order", kind=OBJECTIVE.kind, urgency=Urgency.PAGE, target=0.99,
        long_seconds=3600, bad=15, total=100, burn_rate=15.0, opened_at=NOON, burning_at=NOON,
    )  # fmt: skip
    return SloView(
        objective=OBJECTIVE, counts={}, budget_used=0.25, alarms=[alarm],
        burn_rates=dict.fromkeys(OBJECTIVE.windows, 15.0),
    )  # fmt: skip


def reading() -> Reading:
    return Reading(
        database=DatabaseReading(
            round_trip_seconds=0.001, silence_seconds=1.5, workers=(),
            room=DatabaseRoom(allowed=100, in_use=7, per_worker=13),
            runs=[
                RunCount(workflow="order", tenant="a", status=RunStatus.RUNNING, number=3),
                RunCount(workflow="order", tenant="b", status=RunStatus.RUNNING, number=4),
            ],
            escalations=[
                EscalationCount(
                    reason=EscalationReason.IN_DOUBT, older_than_seconds=3600.0, overdue=True,
                    number=2,
                )
            ],
        ),
        broker=BrokerFacts(
            address="", version="", maxmemory_policy="", maxmemory=0, used_memory=5,
            append_only=True, clients=2, max_clients=10, round_trip_seconds=0.001,
        ),
        queues=[
            QueueView(
                name="default.forward", messages=3, due=4, owned=0, parked=0,
                oldest_due_seconds=None,
            )
        ],
        slos=[slo_view()],
        wants=[LaneWants(lane="default", workers=3, held_back=40)],
        replica_lag_seconds=0.5,
    )  # fmt: skip


def names_and_labels(text: str) -> dict[str, frozenset[str]]:
    """Of each family that has a series, without the label of a bucket."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: frozenset(
            label for sample in family.samples for label in sample.labels if label != "le"
        )
        for family in text_string_to_metric_families(text)
        if family.samples
    }


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def of(origin: Origin) -> dict[str, frozenset[str]]:
    return {each.name: frozenset(each.labels) for each in METRICS if each.origin is origin}


def test_workers_serve_exactly_the_workers_part_of_the_table() -> None:
    registry = CollectorRegistry()
    tell_all(PrometheusMeter(registry))
    registry.register(
        Gauges(
            lambda: {
                **gate_readings({"shop": gate()}), m.ACTIVE_RUNS: {(): 1}, m.LOOP_STILL: {(): 0},
                    m.CANARY: {(): 0},
            },
            GAUGES,
        )
    )  # fmt: skip
    assert names_and_labels(generate_latest(registry).decode()) == of(Origin.WORKER)


def test_the_face_serves_exactly_its_part_of_the_table() -> None:
    text = exposed(reading()).decode()
    assert names_and_labels(text) == of(Origin.FACE)
    found = samples(text)
    assert (
        found["orchestrator_runs", frozenset({("workflow", "order"), ("status", "running")})] == 7
    )
    tenant = frozenset({("tenant", "b"), ("status", "running")})
    assert found["orchestrator_tenant_runs", tenant] == 4
    old = frozenset({("reason", "in_doubt"), ("age", "8h")})
    assert found["orchestrator_escalations_open", old] == 2
    assert found["orchestrator_escalations_overdue", frozenset()] == 2
    success = {("workflow", "order"), ("objective", "success")}
    assert found["orchestrator_slo_budget_used_ratio", frozenset(success)] == 0.25
    for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d"):
        assert found["orchestrator_slo_burn_rate", frozenset({*success, ("window", window)})] == 15
    for urgency, is_open in (("page", 1), ("ticket", 0)):
        labels = frozenset({*success, ("urgency", urgency)})
        assert found["orchestrator_slo_alarm", labels] == is_open


def test_what_is_away_has_no_other_series() -> None:
    text = exposed(Reading(database=None, broker=None, queues=None)).decode()
    assert samples(text) == {
        ("orchestrator_database_up", frozenset()): 0,
        ("orchestrator_broker_up", frozenset()): 0,
    }


def test_numbers_are_those_that_were_told() -> None:
    registry = CollectorRegistry()
    meter = PrometheusMeter(registry)
    tell_all(meter)
    tell_all(meter)
    found = samples(generate_latest(registry).decode())
    labels = frozenset(
        {("api", "shop"), ("direction", "forward"), ("outcome", "landed"), ("answer", "2xx")}
    )
    assert found["orchestrator_attempt_seconds_count", labels] == 2
    assert found["orchestrator_attempt_seconds_sum", labels] == pytest.approx(0.04)
    assert found["orchestrator_attempt_seconds_bucket", labels | {("le", "0.01")}] == 0
    assert found["orchestrator_attempt_seconds_bucket", labels | {("le", "0.025")}] == 2
    assert found["orchestrator_batch_items_sum", frozenset({("batch", "journal")})] == 14
    assert found["orchestrator_recovered_runs_total", frozenset({("what", "lost")})] == 6


@pytest.mark.parametrize(
    ("status", "shown"), [(None, "none"), (200, "2xx"), (429, "429"), (404, "4xx"), (503, "5xx")]
)
def test_statuses_are_told_apart_by_their_hundred_but_429(status: int | None, shown: str) -> None:
    assert answer_class(status) == shown


def test_names_from_outside_beyond_the_bound_share_one_series() -> None:
    registry = CollectorRegistry()
    meter = PrometheusMeter(registry)
    many = m.MOST * 3
    for number in range(many):
        tell_all(meter, workflow=f"w{number}", api=f"a{number}")
    found = samples(generate_latest(registry).decode())
    counts = {
        dict(labels)["workflow"]: value
        for (name, labels), value in found.items() if name == "orchestrator_run_seconds_count"
    }  # fmt: skip
    assert len(counts) == m.MOST + 1
    assert counts[m.OTHER] == many - m.MOST
    assert sum(counts.values()) == many


def test_gauges_beyond_the_bound_are_added_up_and_the_largest_keep_their_names() -> None:
    readings = {(f"t{number}", "running"): float(number) for number in range(m.MOST + 50)}
    found = bounded(m.TENANT_RUNS, readings)
    assert len(found) == m.MOST + 1
    assert found[f"t{m.MOST + 49}", "running"] == m.MOST + 49
    assert found[m.OTHER, "running"] == sum(range(50))
    assert sum(found.values()) == sum(readings.values())


def test_every_open_label_is_one_that_is_bounded() -> None:
    closed = {
        "answer", "age", "batch", "direction", "outcome", "reason", "status", "what", "which",
            "objective", "urgency", "window",
    }  # fmt: skip
    labels = {label for metric in METRICS for label in metric.labels}
    assert labels == closed | m.OPEN_LABELS


# --- dashboard and alerts -------------------------------------------------------------------------

QUERIES = [
    *(query for _, row in ROWS for panel in row for query, _ in panel.queries),
    *(alert.expr for alert in ALERTS),
]
SERIES = {name: metric for metric in METRICS for name in metric.series_names}
OF_PROMETHEUS = {"job", "instance"}


@pytest.mark.parametrize("query", QUERIES)
def test_queries_name_series_and_labels_that_exist(query: str) -> None:
    names = re.findall(r"orchestrator_\w+", query)
    assert names
    assert [name for name in names if name not in SERIES] == []
    allowed = OF_PROMETHEUS.union(*(SERIES[name].labels for name in names))
    if any(name.endswith("_bucket") for name in names):
        allowed |= {"le"}
    grouped = [label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")]
    chosen = re.findall(r"(\w+)(?:=~|!=|!~|=)\"", query)
    assert [label for label in (*grouped, *chosen) if label not in allowed] == []
    assert all(query.count(left) == query.count(right) for left, right in ("()", "[]", "{}"))


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = {
        SERIES[name].name for query in QUERIES for name in re.findall(r"orchestrator_\w+", query)
    }
    assert {metric.name for metric in METRICS} - asked == set()


def test_rates_are_asked_of_what_only_goes_up() -> None:
    rated = {
        name for query in QUERIES
        for name in re.findall(r"(?:rate|increase)\((orchestrator_\w+)", query)
    }  # fmt: skip
    assert rated
    assert [name for name in rated if SERIES[name].kind is Kind.GAUGE] == []


def test_prometheus_takes_rules_and_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus); the queries are checked above")
    folder = ROOT / "deploy" / "prometheus"
    for what, file in (("rules", "alerts.yaml"), ("config", "prometheus.yaml")):
        done = subprocess.run(
            [promtool, "check", what, file], cwd=folder, capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


# --- over HTTP ------------------------------------------------------------------------------------


def fetched(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


async def test_workers_of_one_machine_take_one_port_after_the_other() -> None:
    first = free_port()
    settings = Settings(metrics_port=first)
    workers = [WorkerMetrics(settings, active_runs=lambda n=n: n) for n in (11, 12)]
    try:
        for worker in workers:
            worker.serve()
            worker.serve()  # under a new id: nothing more
        ports = [worker.port for worker in workers]
        assert len(set(ports)) == 2
        assert min(ports) >= first
        for port, active in zip(ports, (11.0, 12.0), strict=True):
            assert port is not None
            found = samples(fetched(port))
            assert found["orchestrator_worker_active_runs", frozenset()] == active
            assert found["process_open_fds", frozenset()] > 0
    finally:
        for worker in workers:
            await worker.aclose()
    assert [worker.port for worker in workers] == [None, None]


async def test_without_a_port_nothing_is_counted_and_nobody_listens() -> None:
    metrics = WorkerMetrics(Settings(), active_runs=lambda: 0)
    metrics.serve()
    assert metrics.port is None
    assert not isinstance(metrics.meter, PrometheusMeter)
    await metrics.watch(dict)  # ends at once
    await metrics.aclose()


def test_an_address_that_is_not_ours_is_a_wrong_setting() -> None:
    with pytest.raises(InvalidSetting) as caught:
        exposition.serve(CollectorRegistry(), address="203.0.113.7", first_port=free_port())
    assert "metrics_address" in str(caught.value.problems[0])
