"""The dashboard and the alert rules, as values; docs/metrics_page.py writes them into deploy/.

An alert asks for something that a person can do; what mends itself is on the dashboard alone. Rates
are over five minutes, so that two missed scrapes of half a minute leave no hole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DATASOURCE = "${datasource}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One graph: queries with the names of their lines, and the unit as Grafana calls it."""

    title: str
    queries: tuple[tuple[str, str], ...]  # (PromQL, legend)
    unit: str = "short"


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One rule of Prometheus: `expr` holds for `lasting` before somebody is told."""

    name: str
    expr: str
    lasting: str
    severity: str  # page: at any hour; ticket: within the day
    summary: str
    do: str


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}[5m]))"


def _mean(metric: str, by: str) -> str:
    return f"{_rate(metric + '_sum', by)} / {_rate(metric + '_count', by)}"


def _quantile(share: float, metric: str, by: str, where: str = "") -> str:
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{where}[5m])))"


def _calls_take(within: str) -> str:
    """Seconds that 95 of 100 calls of an API stay below."""
    rates = f"sum by (api, le) (rate(orchestrator_attempt_seconds_bucket{within}))"
    return f"histogram_quantile(0.95, {rates})"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Runs",
        (
            Panel(
                title="Runs that settle, by how",
                queries=((_rate("orchestrator_run_seconds_count", "status"), "{{status}}"),),
                unit="ops",
            ),
            Panel(
                title="Runs that are not final",
                queries=(("sum by (status) (orchestrator_runs)", "{{status}}"),),
            ),
            Panel(
                title="From accepted to settled, 95 of 100",
                queries=(
                    (_quantile(0.95, "orchestrator_run_seconds", "workflow"), "{{workflow}}"),
                ),
                unit="s",
            ),
            Panel(
                title="By tenant",
                queries=(("sum by (tenant) (orchestrator_tenant_runs)", "{{tenant}}"),),
            ),
        ),
    ),
    (
        "Objectives",
        (
            Panel(
                title="Burn rate over an hour (14.4 pages)",
                queries=((
                    'max by (workflow, objective) (orchestrator_slo_burn_rate{window="1h"})',
                    "{{workflow}} {{objective}}",
                ),),
            ),
            Panel(
                title="Error budget that is used",
                queries=((
                    "max by (workflow, objective) (orchestrator_slo_budget_used_ratio)",
                    "{{workflow}} {{objective}}",
                ),),
                unit="percentunit",
            ),
        ),
    ),
    (
        "Steps and compensations",
        (
            Panel(
                title="Steps, 95 of 100",
                queries=((
                    _quantile(0.95, "orchestrator_step_seconds", "workflow, step",
                              '{direction="forward"}'),
                    "{{workflow}} {{step}}",
                ),),
                unit="s",
            ),
            Panel(
                title="Compensations, 95 of 100",
                queries=((
                    _quantile(0.95, "orchestrator_step_seconds", "workflow, step",
                              '{direction="backward"}'),
                    "{{workflow}} {{step}}",
                ),),
                unit="s",
            ),
            Panel(
                title="Compensations, by how they end",
                queries=((
                    _rate("orchestrator_step_seconds_count", "status", '{direction="backward"}'),
                    "{{status}}",
                ),),
                unit="ops",
            ),
            Panel(
                title="Open escalations by age",
                queries=(
                    ("sum by (age) (orchestrator_escalations_open)", "under {{age}}"),
                    ("orchestrator_escalations_overdue", "overdue"),
                ),
            ),
        ),
    ),
    (
        "APIs",
        (
            Panel(
                title="Calls by answer",
                queries=((
                    _rate("orchestrator_attempt_seconds_count", "api, answer"),
                    "{{api}} {{answer}}",
                ),),
                unit="ops",
            ),
            Panel(
                title="Calls, 95 of 100",
                queries=((_quantile(0.95, "orchestrator_attempt_seconds", "api"), "{{api}}"),),
                unit="s",
            ),
            Panel(
                title="Breaker (1 open) and pace",
                queries=(
                    ("max by (api) (orchestrator_gate_breaker_open)", "{{api}} breaker"),
                    ("min by (api) (orchestrator_gate_pace_ratio)", "{{api}} pace"),
                ),
            ),
            Panel(
                title="In flight, slots, waiting",
                queries=(
                    ("sum by (api) (orchestrator_gate_in_use)", "{{api}} in flight"),
                    ("sum by (api) (orchestrator_gate_slots)", "{{api}} slots"),
                    ("sum by (api) (orchestrator_gate_waiting)", "{{api}} waiting"),
                    ("sum by (api) (orchestrator_gate_reserved_starts)", "{{api}} starts in hand"),
                ),
            ),
            Panel(
                title="Waits at the gate, 95 of 100",
                queries=((_quantile(0.95, "orchestrator_gate_wait_seconds", "api"), "{{api}}"),),
                unit="s",
            ),
            Panel(
                title="Told to come back later",
                queries=((_rate("orchestrator_gate_parked_total", "api"), "{{api}}"),),
                unit="ops",
            ),
        ),
    ),
    (
        "Machinery",
        (
            Panel(
                title="Messages and due runs",
                queries=(
                    ("max by (queue) (orchestrator_queue_messages)", "{{queue}} messages"),
                    ("max by (queue) (orchestrator_queue_due_runs)", "{{queue}} due"),
                    ("max(orchestrator_code_wait_runs)", "without their code"),
                ),
            ),
            Panel(
                title="From message to worker, 95 of 100",
                queries=(
                    (_quantile(0.95, "orchestrator_queue_wait_seconds", "lane"), "{{lane}}"),
                    ("max(orchestrator_queue_oldest_due_seconds)", "oldest that waits"),
                ),
                unit="s",
            ),
            Panel(
                title="Commits, 95 of 100",
                queries=((_quantile(0.95, "orchestrator_batch_seconds", "batch"), "{{batch}}"),),
                unit="s",
            ),
            Panel(
                title="Items of a commit, on average",
                queries=((
                    _mean("orchestrator_batch_items", "batch"),
                    "{{batch}}",
                ),),
            ),
            Panel(
                title="Workers and runs in hand",
                queries=(
                    ("max(orchestrator_workers)", "workers"),
                    ("sum(orchestrator_worker_active_runs)", "runs in hand"),
                    ("max(orchestrator_worker_loop_still_seconds)", "seconds a loop stands still"),
                    ("max(orchestrator_worker_silence_seconds)", "seconds since a heartbeat"),
                    ("max(orchestrator_worker_canary_seconds)", "seconds without messages"),
                ),
            ),
            Panel(
                title="Workers wanted, and runs that limits hold back",
                queries=(
                    ("max by (lane) (orchestrator_wanted_workers)", "{{lane}} wants"),
                    ("max by (lane) (orchestrator_held_back_runs)", "{{lane}} held back"),
                ),
            ),
            Panel(
                title="Runs brought back",
                queries=((_rate("orchestrator_recovered_runs_total", "what"), "{{what}}"),),
                unit="ops",
            ),
            Panel(
                title="Round trips",
                queries=(
                    ("max(orchestrator_database_round_trip_seconds)", "database"),
                    ("max(orchestrator_broker_round_trip_seconds)", "broker"),
                    ("max(orchestrator_replica_lag_seconds)", "age of the read replica"),
                ),
                unit="s",
            ),
            Panel(
                title="Connections",
                queries=(
                    ("max by (which) (orchestrator_database_connections)", "database {{which}}"),
                    ("max by (which) (orchestrator_broker_clients)", "broker {{which}}"),
                ),
            ),
            Panel(
                title="Memory of the broker",
                queries=(("max by (which) (orchestrator_broker_memory_bytes)", "{{which}}"),),
                unit="bytes",
            ),
        ),
    ),
)  # fmt: skip

ALERTS = (
    Alert(
        name="OrchestratorDatabaseAway", expr="max(orchestrator_database_up) == 0", lasting="1m",
        severity="page", summary="The database does not answer; nothing goes on.",
        do="orchestrator doctor; bring the database back, no run is lost",
    ),
    Alert(
        name="OrchestratorBrokerAway", expr="max(orchestrator_broker_up) == 0", lasting="2m",
        severity="page", summary="The broker does not answer; new runs are accepted and wait.",
        do="orchestrator doctor; bring the broker back, the sweep publishes again what it lost",
    ),
    Alert(
        name="OrchestratorFaceAway", expr="absent(orchestrator_database_up)", lasting="5m",
        severity="page", summary="Nobody serves /metrics, so no other alert can be trusted.",
        do="see whether `orchestrator api` runs and Prometheus reaches it",
    ),
    Alert(
        name="OrchestratorNoWorkers", expr="max(orchestrator_workers) == 0", lasting="1m",
        severity="page", summary="No worker process; runs wait.",
        do="start workers; orchestrator queues shows what waits",
    ),
    Alert(
        name="OrchestratorRunsWaitForWorkers",
        expr="max by (queue) (orchestrator_queue_oldest_due_seconds) > 60", lasting="5m",
        severity="page", summary="Runs of {{ $labels.queue }} wait for more than a minute.",
        do="start more workers; orchestrator queues shows where they are missing",
    ),
    Alert(
        name="OrchestratorCompensationsFail",
        expr='sum(rate(orchestrator_step_seconds_count{direction="backward",'
        'status=~"failed|unknown"}[15m])) / sum(rate(orchestrator_step_seconds_count{'
        'direction="backward",status!="not_needed"}[15m])) > 0.05',
        lasting="5m", severity="page",
        summary="More than one in twenty compensations fails; effects stay standing.",
        do="orchestrator escalations list; the API that fails has to take undos again",
    ),
    Alert(
        name="OrchestratorWorkflowFails",
        expr='sum by (workflow) (rate(orchestrator_run_seconds_count{status!="succeeded"}[15m]))'
        " / sum by (workflow) (rate(orchestrator_run_seconds_count[15m])) > 0.1",
        lasting="10m", severity="ticket",
        summary="More than one in ten runs of {{ $labels.workflow }} does not succeed.",
        do="orchestrator runs list --workflow {{ $labels.workflow }}; runs show says why",
    ),
    Alert(
        name="OrchestratorBudgetBurnsFast",
        expr='max by (workflow, objective) (orchestrator_slo_alarm{urgency="page"}) > 0',
        lasting="0m", severity="page",
        summary="{{ $labels.workflow }} misses its objective {{ $labels.objective }} by far.",
        do="orchestrator slo {{ $labels.workflow }}; orchestrator runs list says which runs",
    ),
    Alert(
        name="OrchestratorBudgetBurns",
        expr='max by (workflow, objective) (orchestrator_slo_alarm{urgency="ticket"}) > 0',
        lasting="0m", severity="ticket",
        summary="{{ $labels.workflow }} will miss its objective {{ $labels.objective }}.",
        do="orchestrator slo {{ $labels.workflow }}",
    ),
    Alert(
        name="OrchestratorEscalationsOverdue", expr="max(orchestrator_escalations_overdue) > 0",
        lasting="5m", severity="page", summary="Escalations wait for a person for too long.",
        do="orchestrator escalations list --overdue",
    ),
    Alert(
        name="OrchestratorBreakerOpen",
        expr="max by (api) (orchestrator_gate_breaker_open) == 1", lasting="5m",
        severity="ticket", summary="{{ $labels.api }} is ill; its runs park and do not fail.",
        do="orchestrator apis impact {{ $labels.api }} says who is affected",
    ),
    Alert(
        name="OrchestratorRefusedAsTooMany",
        expr='sum by (api) (rate(orchestrator_attempt_seconds_count{answer="429"}[15m]))'
        " / sum by (api) (rate(orchestrator_attempt_seconds_count[15m])) > 0.05",
        lasting="15m", severity="ticket",
        summary="{{ $labels.api }} refuses more than one call in twenty as too many.",
        do="lower its rate: orchestrator apis set {{ $labels.api }} rate=…",
    ),
    Alert(
        name="OrchestratorCallsFail",
        expr='sum by (api) (rate(orchestrator_attempt_seconds_count{answer=~"5xx|none"}[15m]))'
        " / sum by (api) (rate(orchestrator_attempt_seconds_count[15m])) > 0.05",
        lasting="10m", severity="ticket",
        summary="More than one in twenty calls of {{ $labels.api }} fails or has no answer.",
        do="orchestrator apis impact {{ $labels.api }} says who is affected",
    ),
    Alert(
        name="OrchestratorCallsSlow",
        expr=f"{_calls_take('[15m]')} > 0.5 and {_calls_take('[15m]')}"
        f" > 3 * {_calls_take('[1d] offset 1h')}",
        lasting="15m", severity="ticket",
        summary="{{ $labels.api }} takes three times as long as it usually does.",
        do="orchestrator apis show {{ $labels.api }}; apis impact says who is affected",
    ),
    Alert(
        name="OrchestratorGateStoreAway",
        expr="max(orchestrator_gate_store_away_seconds) > 30", lasting="1m", severity="page",
        summary="The gate's Redis cannot be reached; limited APIs are not called.",
        do="bring the server of gate_url back",
    ),
    Alert(
        name="OrchestratorLoopStandsStill",
        expr="max by (instance) (orchestrator_worker_loop_still_seconds) > 5", lasting="1m",
        severity="ticket", summary="The loop of {{ $labels.instance }} is held up.",
        do="a step function that blocks: make it `def`, or move the work elsewhere",
    ),
    Alert(
        name="OrchestratorWorkersDeaf",
        expr="sum(increase(orchestrator_worker_gave_up_total[15m])) > 0"
        " or max(orchestrator_worker_canary_seconds) > 15",
        lasting="0m", severity="ticket", summary="A worker was up and took no messages.",
        do="it ends and is started again; if it comes again: the way to the broker (worker.deaf)",
    ),
    Alert(
        name="OrchestratorWorkersDie",
        expr='sum(increase(orchestrator_recovered_runs_total{what="dead"}[15m])) > 0',
        lasting="0m", severity="ticket", summary="Runs were taken over from dead workers.",
        do="the logs of workers (runs.recovered), and of what ends them: memory, a crash",
    ),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """Grafana's form of ROWS: two panels beside each other, eight units high."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(_panel_at(len(panels) + 1, 0, y, 24, 1, {"type": "row", "title": title}))
        y += 1
        for number, panel in enumerate(row):
            x = 12 * (number % 2)
            panels.append(_panel_at(len(panels) + 1, x, y, 12, 8, _graph(panel)))
            y += 8 if x or number == len(row) - 1 else 0
    return {
        "uid": "orchestrator", "title": "Orchestrator", "schemaVersion": 39, "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"}, "tags": ["orchestrator"], "panels": panels,
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
        },
    }  # fmt: skip


def _panel_at(number: int, x: int, y: int, w: int, h: int, rest: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "gridPos": {"x": x, "y": y, "w": w, "h": h}, **rest}


def _graph(panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": DATASOURCE}
    return {
        "type": "timeseries", "title": panel.title, "datasource": source,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": source, "expr": expr, "legendFormat": legend}
            for n, (expr, legend) in enumerate(panel.queries)
        ],
    }  # fmt: skip


def alert_rules() -> dict[str, Any]:
    """Prometheus' form of ALERTS."""
    rules = [
        {
            "alert": alert.name, "expr": alert.expr, "for": alert.lasting,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "action": alert.do},
        }
        for alert in ALERTS
    ]  # fmt: skip
    return {"groups": [{"name": "orchestrator", "rules": rules}]}
