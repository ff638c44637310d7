"""A worker with the smallest engine: started as `celery -A tiny_worker worker` by the tests.

What a hop does stands in its label: `noop`, `fail`, `hold` (until the drain), `inline` (three
steps shown through step events). Every delivered hop is written to the Redis list `seen`.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time

import redis
import uvloop
from msgspec.structs import asdict, replace

from orchestrator.ports import ActiveRun, Done, Hint, Hop, StepEnd
from orchestrator.worker.app import make_app
from orchestrator.worker.canary import Canary
from orchestrator.worker.messages import hint_publisher
from orchestrator.worker.taking import TakingMany

BROKER_URL = os.environ["TINY_BROKER_URL"]
RECORDS = os.environ.get("TINY_RECORDS", "1") == "1"


class TinyRuntime:
    """One uvloop loop in a thread."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._held: dict[str, tuple[ActiveRun, Done]] = {}
        self._redis = redis.Redis.from_url(BROKER_URL)

    def start(self, *, name: str) -> None:
        self._thread.start()
        self._redis.rpush("started", name)
        listening = app.canary.run_passes(
            hint_publisher(app), can_take=app.can_take, on_deaf=app.give_up
        )
        asyncio.run_coroutine_threadsafe(listening, self._loop)

    def deliver(self, hop: Hop, done: Done) -> None:
        self._loop.call_soon_threadsafe(self._take, hop, done)

    @property
    def fit(self) -> bool:
        return True

    def active(self) -> list[ActiveRun]:
        return [run for run, _ in list(self._held.values())]

    def drain(self, *, grace_seconds: float) -> None:
        self._redis.rpush("drained", json.dumps([grace_seconds, len(self._held)]))
        for hop_id in list(self._held):
            _, done = self._held.pop(hop_id)
            done(None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _take(self, hop: Hop, done: Done) -> None:
        if RECORDS:
            self._redis.rpush("seen", json.dumps(asdict(hop)))
        app.step_events.step_started(_hint(hop), by_message=True)
        match hop.label.rpartition(".")[2]:
            case "fail":
                done(RuntimeError("the API said no"))
            case "hold":
                self._held[hop.hop_id] = _active(hop), done
            case "inline":
                _end(hop)
                self._inline(hop)
                done()
            case "sleep":
                self._loop.call_later(0.01, self._end, hop, done)
            case _:
                self._end(hop, done)

    def _end(self, hop: Hop, done: Done) -> None:
        _end(hop)
        done()

    def _inline(self, hop: Hop) -> None:
        run_id, epoch = hop.runs[0]
        step = Hint(
            run_id=run_id, epoch=epoch, hop_id="", parent_hop_id=hop.hop_id,
            label="", task=hop.task, queue=hop.queue,
        )  # fmt: skip
        parent = hop.hop_id
        for number, ok in enumerate([True, True, False], start=1):
            step = replace(
                step,
                hop_id=f"{hop.hop_id}-{number}",
                parent_hop_id=parent,
                label=f"chain.s{number}",
            )
            app.step_events.step_started(step)
            end, detail = (StepEnd.SUCCEEDED, "") if ok else (StepEnd.FAILED, "no")
            app.step_events.step_ended(step, end, seconds=0.001, detail=detail)
            parent = step.hop_id


def _end(hop: Hop) -> None:
    app.step_events.step_ended(_hint(hop), StepEnd.SUCCEEDED, seconds=0.001)


def _hint(hop: Hop) -> Hint:
    run_id, epoch = hop.runs[0]
    return Hint(
        run_id=run_id, epoch=epoch, hop_id=hop.hop_id, parent_hop_id=hop.parent_hop_id,
        label=hop.label, task=hop.task, queue=hop.queue,
    )  # fmt: skip


def _active(hop: Hop) -> ActiveRun:
    run_id, epoch = hop.runs[0]
    return ActiveRun(
        run_id=run_id, epoch=epoch, hop_id=hop.hop_id, parent_hop_id=hop.parent_hop_id,
        label=hop.label, task=hop.task, queue=hop.queue, since=time.time(),
    )  # fmt: skip


if os.environ.get("TINY_DEAF"):
    _ask = TakingMany._brpop_start

    def _ask_unless_deaf(self: TakingMany, timeout: float | None = None) -> None:
        """As if a broken connection had made it forget to ask."""
        if not app.runtime._redis.exists("deaf"):
            _ask(self, timeout)

    TakingMany._brpop_start = _ask_unless_deaf

app = make_app(
    canary=Canary(
        every_seconds=float(os.environ.get("TINY_CANARY", "5")),
        deadline_seconds=float(os.environ.get("TINY_DEADLINE", "30")),
    ),
    broker_url=os.environ.get("TINY_APP_BROKER_URL", BROKER_URL),
    concurrency=int(os.environ.get("TINY_CONCURRENCY", "500")),
    python_tasks=["tasks.price"],
    shutdown_grace_seconds=2.0,
    event_budget_per_second=int(os.environ.get("TINY_EVENTS", "500")),
    runtime_factory=TinyRuntime,
)
if folder := os.environ.get("TINY_FOLDER"):  # kombu's file-system broker
    app.conf.broker_transport_options |= {
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": folder,
    }
