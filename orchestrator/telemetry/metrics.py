"""Every metric there is, in one table: what it counts, its labels, and how many series it may have.

Metering, the REST face, docs/metrics.md, the dashboard and the alert rules all stem from it, so
that none of them can name what does not exist.

Cardinality is bounded by design. A label is *closed* (its values stand in our own code) or *open*
(workflows, steps, tenants, APIs: they come from outside). Of the combinations of its open labels a
metric keeps the first MOST by name; all others share the series in which each of them is OTHER. No
label ever holds the id of a run, a URL, an error's text or a customer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MOST = 200
OTHER = "(other)"
OPEN_LABELS = frozenset({"workflow", "step", "tenant", "api", "lane", "queue"})

CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WAIT_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
RUN_SECONDS = (0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
BATCH_ITEMS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Kind(StrEnum):
    """How a metric moves."""

    COUNTER = "counter"  # only up, until its process ends
    GAUGE = "gauge"  # up and down
    HISTOGRAM = "histogram"  # counted by size


class Origin(StrEnum):
    """Which process serves it."""

    WORKER = "worker"  # each worker process for itself: add them up
    FACE = "api"  # `orchestrator api`, read from database and broker: the same from each of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One family of series. `name` is as Prometheus shows it, a counter's with its `_total`."""

    name: str
    kind: Kind
    origin: Origin
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds of a histogram, without infinity

    @property
    def series_names(self) -> tuple[str, ...]:
        """What a query may name."""
        if self.kind is Kind.HISTOGRAM:
            return (f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")
        return (self.name,)


def _worker(
    name: str, kind: Kind, text: str, *labels: str, buckets: tuple[float, ...] = ()
) -> Metric:
    return Metric(
        name=f"orchestrator_{name}", kind=kind, origin=Origin.WORKER, help=text, labels=labels,
        buckets=buckets,
    )  # fmt: skip


def _face(name: str, text: str, *labels: str) -> Metric:
    return Metric(
        name=f"orchestrator_{name}", kind=Kind.GAUGE, origin=Origin.FACE, help=text, labels=labels
    )


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

ATTEMPTS = _worker(
    "attempt_seconds", _H, "Attempts at calls, by what came back: from the first byte out to the"
    " last one in.", "api", "direction", "outcome", "answer", buckets=CALL_SECONDS,
)  # fmt: skip
LINKS = _worker(
    "step_seconds", _H, "Steps (forward) and compensations (backward) that came to their end, from"
    " their first attempt on, with retries and waits.", "workflow", "step", "direction", "status",
    buckets=RUN_SECONDS,
)  # fmt: skip
RUNS_ENDED = _worker(
    "run_seconds", _H, "Runs that settled, from their acceptance on.", "workflow", "status",
    buckets=RUN_SECONDS,
)  # fmt: skip
QUEUE_WAITS = _worker(
    "queue_wait_seconds", _H, "From a run's message to the worker that takes it up.", "lane",
    "direction", buckets=WAIT_SECONDS,
)  # fmt: skip
GATE_WAITS = _worker(
    "gate_wait_seconds", _H, "Waits of calls that the gate kept and then let in; those that it lets"
    " in at once are not counted.", "api", buckets=WAIT_SECONDS,
)  # fmt: skip
PARKED = _worker(
    "gate_parked_total", _C, "Runs that the gate told to come back later: their wait would have"
    " been too long.", "api",
)  # fmt: skip
GATE_IN_USE = _worker("gate_in_use", _G, "Requests in flight.", "api")
GATE_WAITING = _worker("gate_waiting", _G, "Calls that wait for their turn.", "api")
GATE_SLOTS = _worker(
    "gate_slots", _G, "Slots that this process may fill now; none for an API without"
    " `concurrency`.", "api",
)  # fmt: skip
GATE_RESERVED = _worker("gate_reserved_starts", _G, "Start times in hand under rates.", "api")
GATE_PACE = _worker(
    "gate_pace_ratio", _G, "Part of the configured limits that may be used now: 1, unless the API"
    " refused calls as too many or is being taken up again.", "api",
)  # fmt: skip
BREAKER = _worker(
    "gate_breaker_open", _G, "The breaker as this process sees it: 0 closed, 0.5 half open,"
    " 1 open.", "api",
)  # fmt: skip
GATE_AWAY = _worker(
    "gate_store_away_seconds", _G, "Since when the gate's Redis cannot be reached; 0: it can.",
    "api",
)  # fmt: skip
BATCH_SECONDS = _worker(
    "batch_seconds", _H, "Round trips: `journal`, `waits` and `claims` are commits to the database,"
    " `hints` go to the broker.", "batch", buckets=COMMIT_SECONDS,
)  # fmt: skip
BATCH_SIZES = _worker("batch_items", _H, "Items of a round trip.", "batch", buckets=BATCH_ITEMS)
RECOVERED = _worker(
    "recovered_runs_total", _C, "Runs that a recovery pass brought back: their worker was `dead`,"
    " their time had come (`due`), or their message was `lost`.", "what",
)  # fmt: skip
ACTIVE_RUNS = _worker("worker_active_runs", _G, "Runs in this process's hands.")
GAVE_UP = _worker(
    "worker_gave_up_total", _C, "Worker processes that could not go on and ended for it, to be"
    " started again: they took no messages (`deaf`), or their loop stood still (`stuck`).", "what",
)  # fmt: skip
CANARY = _worker(
    "worker_canary_seconds", _G, "For how long the worker has waited for a message that it sent"
    " itself: below 1 it takes messages, after 30 it ends.",
)  # fmt: skip
LOOP_STILL = _worker(
    "worker_loop_still_seconds", _G, "Since when the engine's loop has not moved: above 1 it is"
    " held up, after 30 the worker gives its runs up.",
)  # fmt: skip

RUNS = _face("runs", "Runs that are not final, by workflow.", "workflow", "status")
TENANT_RUNS = _face("tenant_runs", "Runs that are not final, by tenant.", "tenant", "status")
ESCALATIONS = _face(
    "escalations_open", "Open escalations, by reason and age: under 15m, 1h, 8h, 1d, or over.",
    "reason", "age",
)  # fmt: skip
ESCALATIONS_OVERDUE = _face("escalations_overdue", "Open escalations past their time.")
QUEUE_MESSAGES = _face("queue_messages", "Messages on the broker.", "queue")
QUEUE_DUE = _face("queue_due_runs", "Runs in the table that a message should stand for.", "queue")
QUEUE_OLDEST = _face("queue_oldest_due_seconds", "For how long the oldest of them waits.", "queue")
WANTED_WORKERS = _face(
    "wanted_workers", "Workers that a lane has work for, as far as APIs' limits let it through.",
    "lane",
)  # fmt: skip
HELD_BACK = _face(
    "held_back_runs", "Due runs for which APIs' limits have no room: more workers would not help"
    " them.", "lane",
)  # fmt: skip
CODE_WAITS = _face(
    "code_wait_runs", "Runs that wait for a worker that has the function of their next step."
)
WORKERS = _face("workers", "Worker processes in the table.")
REPLICA_LAG = _face(
    "replica_lag_seconds", "How old what the read replica shows is; +Inf while it is out of reach."
    " No series without `database_read_url`.",
)  # fmt: skip
WORKER_SILENCE = _face("worker_silence_seconds", "The oldest heartbeat among them.")
DATABASE_UP = _face("database_up", "1: the database answers.")
DATABASE_SECONDS = _face("database_round_trip_seconds", "One round trip to it.")
DATABASE_CONNECTIONS = _face(
    "database_connections", "PostgreSQL's: `in_use` by all clients, and `allowed`.", "which"
)
BROKER_UP = _face("broker_up", "1: the broker answers.")
BROKER_SECONDS = _face("broker_round_trip_seconds", "One round trip to it.")
BROKER_MEMORY = _face("broker_memory_bytes", "`used`, and the `limit` (0: none).", "which")
BROKER_CLIENTS = _face("broker_clients", "Connections: `now`, and the `most` it takes.", "which")
SLO_BURN = _face(
    "slo_burn_rate", "How many times as fast as sustainable an objective's error budget is used.",
    "workflow", "objective", "window",
)  # fmt: skip
SLO_BUDGET = _face(
    "slo_budget_used_ratio", "Of an objective's error budget, over its whole window; above 1 it is"
    " missed.", "workflow", "objective",
)  # fmt: skip
SLO_ALARM = _face(
    "slo_alarm", "1: an alarm of the objective is open (urgency `page` or `ticket`).", "workflow",
    "objective", "urgency",
)  # fmt: skip

METRICS = (
    RUNS_ENDED, LINKS, ATTEMPTS, QUEUE_WAITS, GATE_WAITS, PARKED, GATE_IN_USE, GATE_WAITING,
    GATE_SLOTS, GATE_RESERVED, GATE_PACE, BREAKER, GATE_AWAY, BATCH_SECONDS, BATCH_SIZES,
    RECOVERED, ACTIVE_RUNS, LOOP_STILL, CANARY, GAVE_UP,
    RUNS, TENANT_RUNS, ESCALATIONS, ESCALATIONS_OVERDUE, QUEUE_MESSAGES, QUEUE_DUE, QUEUE_OLDEST,
    WANTED_WORKERS, HELD_BACK, CODE_WAITS, WORKERS, WORKER_SILENCE, DATABASE_UP, DATABASE_SECONDS,
    DATABASE_CONNECTIONS, REPLICA_LAG, BROKER_UP, BROKER_SECONDS, BROKER_MEMORY, BROKER_CLIENTS,
    SLO_BURN, SLO_BUDGET, SLO_ALARM,
)  # fmt: skip
