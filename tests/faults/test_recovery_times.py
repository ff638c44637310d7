"""Work goes on in bounded time when a worker or the broker is lost; stale owners write nothing.

The bounds are the promised ones, which a busy machine keeps as well; `orchestrator bench recovery`
measures how much better it is.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

import pytest

from orchestrator.store import open_store
from tests.faults.chaos.recovery import on_stage
from tests.faults.chaos.stage import Mood, Stage
from tests.faults.chaos.stale_writes import digests, try_stale_writes
from tests.faults.chaos.takeover import Takeover, empty_the_broker, lose_a_worker, scene
from tests.otlp import Got, Receiver, receiving, whole
from tests.steady import HeldStill
from tests.store import making

RUNS = 100
ALL_WITHIN_SECONDS = 15.0
HINTS_WITHIN_SECONDS = 10.0

TRACES_WITHIN_SECONDS = 60.0
LOST = "lost with its worker"

MOOD = Mood(latency_seconds=(0.8, 1.2))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    name = {"sqlite": "sqlite_url", "postgres": "migrated_postgres_dsn"}[request.param]
    found: str = request.getfixturevalue(name)
    return found


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("database_name", "number"),
    [
        pytest.param("sqlite", signal.SIGKILL, marks=pytest.mark.long),
        ("postgres", signal.SIGSTOP),
    ],
)
def test_the_runs_of_a_lost_worker_go_on(
    database_name: str, number: signal.Signals, held_still: HeldStill
) -> None:
    plain = scene(database_name, runs=RUNS, mood=MOOD)
    with receiving() as receiver:
        traced = {
            "otlp_endpoint": receiver.address, "trace_ratio": 1, "otlp_metrics_seconds": 1,
        }  # fmt: skip
        seen = replace(plain, settings={**plain.settings, **traced})

        async def lose_one(stage: Stage) -> Takeover:
            lost = await lose_a_worker(stage, RUNS, number)
            await _come(receiver, RUNS)
            return lost

        found = on_stage(seen, lose_one)
    assert found["held"] > 0
    assert _counted(receiver) > 0
    assert _carried_on(receiver.traces()) == found["in_flight"]
    assert found["never"] == found["unsettled"] == 0
    assert found["repeated_others"] == 0, "steps were repeated that were not in flight"
    held_still(found["max"] <= ALL_WITHIN_SECONDS, f"{found['max']} s")


async def _come(receiver: Receiver, traces: int) -> None:
    async with asyncio.timeout(TRACES_WITHIN_SECONDS):
        while len(receiver.traces()) < traces:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.1)


def _counted(receiver: Receiver) -> float:
    """Runs of a worker that is gone, as the metrics of those who took them over have them."""
    last = {
        (point.instance, *sorted(point.labels)): point.value
        for points in receiver.points for point in points
        if point.name == "orchestrator_recovered_runs" and ("what", "dead") in point.labels
    }  # fmt: skip
    return sum(last.values())


def _carried_on(traces: dict[str, list[Got]]) -> int:
    """Attempts that were lost and gone on with; each run is one whole trace, whoever drove it."""
    carried_on = 0
    for spans in traces.values():
        whole(list({span.id: span for span in spans}.values()))  # who sends twice sends the same
        lost = {span.id for span in spans if span.why == LOST}
        after = [span for span in spans if span.links]
        assert {link for span in after for link in span.links} <= lost
        carried_on += len(after)
    return carried_on


@pytest.mark.long
@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_wake_ups_that_were_all_lost_come_again(held_still: HeldStill) -> None:
    found = on_stage(
        scene("postgres", runs=RUNS, mood=MOOD), lambda stage: empty_the_broker(stage, RUNS)
    )
    assert found["never"] == found["unsettled"] == 0
    held_still(found["max"] <= HINTS_WITHIN_SECONDS, f"{found['max']} s")


def test_stale_owners_write_nothing(database_url: str) -> None:
    found = asyncio.run(try_stale_writes(database_url, 2_000))
    assert (found.tried, found.applied, found.tables_changed) == (2_000, 0, ())


def test_a_write_that_is_not_stale_is_seen_by_the_digests(database_url: str) -> None:
    """Otherwise the test above would show nothing."""
    asyncio.run(try_stale_writes(database_url, 0))
    before = digests(database_url)
    asyncio.run(_write_once(database_url))
    changed = {name for name, digest in digests(database_url).items() if digest != before[name]}
    assert {"runs", "audit"} <= changed


async def _write_once(database_url: str) -> None:
    store = open_store(database_url)
    try:
        (run,) = await making.claimed(store, owner="worker-third")
        await store.record([making.write(run, audit=(making.audit(2),))])
    finally:
        await store.close()
