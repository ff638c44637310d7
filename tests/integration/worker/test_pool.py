"""Slots are active runs: taken up at once, bounded, shown, handed back at a shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from typing import Any

import pytest
import redis
from celery.events.state import State
from hints import a_hint
from workbench import eventually, valkey_process

from orchestrator.embedded.address import free_port
from orchestrator.errors import InvalidSetting
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.envelope import hop_of
from orchestrator.worker.messages import RedisHints, hint_publisher
from orchestrator.worker.pool import HopPool
from tests.steady import HeldStill

FORWARD = "default.forward"


@pytest.fixture
async def publisher(app: OrchestratorApp) -> Any:
    publisher = RedisHints(app)
    yield publisher
    await publisher.close()


async def test_no_flag_and_no_variable_choose_the_pool(
    app: OrchestratorApp, start_worker: Any
) -> None:
    start_worker()

    pool = answer(app, "stats")["pool"]

    assert pool["implementation"] == "orchestrator.worker.pool:HopPool"
    assert pool["max-concurrency"] == 500


async def test_concurrency_may_be_given_on_the_command_line(
    app: OrchestratorApp, start_worker: Any
) -> None:
    start_worker(flags=("-c", "7"))
    assert answer(app, "stats")["pool"]["max-concurrency"] == 7


async def test_takes_no_more_than_its_slots_and_leaves_the_rest_on_the_queue(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any, publisher: RedisHints
) -> None:
    start_worker(TINY_CONCURRENCY="5")

    await publisher.publish([a_hint("checkout.hold") for _ in range(12)])

    eventually(lambda: client.llen("seen") == 5)
    await asyncio.sleep(0.3)
    assert client.llen("seen") == 5
    assert client.llen(FORWARD) == 7
    assert answer(app, "stats")["pool"]["held-hops"] == 0


async def test_a_slot_that_becomes_free_takes_the_next(
    client: redis.Redis, start_worker: Any, publisher: RedisHints
) -> None:
    start_worker(TINY_CONCURRENCY="3")
    await publisher.publish([a_hint("checkout.hold"), a_hint("checkout.hold")])

    await publisher.publish([a_hint("checkout.sleep") for _ in range(40)])

    eventually(lambda: client.llen("seen") == 42)


async def test_warm_shutdown_hands_back_and_loses_nothing(
    client: redis.Redis, start_worker: Any, publisher: RedisHints, held_still: HeldStill
) -> None:
    worker = start_worker(TINY_CONCURRENCY="5")
    await publisher.publish([a_hint("checkout.hold") for _ in range(12)])
    eventually(lambda: client.llen("seen") == 5)

    begin = time.monotonic()
    worker.signal(signal.SIGTERM)
    code = worker.wait(30)
    seconds = time.monotonic() - begin

    assert code == 0, worker.log.read_text()
    assert [json.loads(each) for each in client.lrange("drained", 0, -1)] == [[2.0, 5]]
    assert client.llen(FORWARD) == 7
    assert "Traceback" not in worker.log.read_text()
    held_still(seconds < 4, f"it ended after {seconds} s, with two for the runs in hand")


async def test_shutdown_while_messages_stream_in_accounts_for_each(
    client: redis.Redis, start_worker: Any, publisher: RedisHints
) -> None:
    worker = start_worker(TINY_CONCURRENCY="50")
    hints = [a_hint("checkout.sleep") for _ in range(4_000)]
    await publisher.publish(hints)
    eventually(lambda: client.llen("seen") > 200)

    worker.signal(signal.SIGTERM)

    assert worker.wait(30) == 0
    seen = {json.loads(hop)["hop_id"] for hop in client.lrange("seen", 0, -1)}
    left = {json.loads(raw)["headers"]["id"] for raw in client.lrange(FORWARD, 0, -1)}
    assert left, "the shutdown came too late to test anything"
    assert seen | left == {hint.hop_id for hint in hints}


async def test_cold_shutdown_ends_promptly_too(
    client: redis.Redis, start_worker: Any, publisher: RedisHints
) -> None:
    worker = start_worker()
    await publisher.publish([a_hint("checkout.hold") for _ in range(3)])
    eventually(lambda: client.llen("seen") == 3)

    worker.signal(signal.SIGQUIT)
    worker.wait(30)

    assert [json.loads(each)[0] for each in client.lrange("drained", 0, -1)] == [0.0]


async def test_the_broker_may_go_away_and_come_back(
    client: redis.Redis, start_worker: Any, publisher: RedisHints
) -> None:
    worker = start_worker()
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    await publisher.publish([a_hint() for _ in range(50)])

    eventually(lambda: client.llen("seen") == 50)
    assert worker.alive()


async def test_celery_counts_hops_as_started_succeeded_and_failed(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any, publisher: RedisHints
) -> None:
    with watching(app) as watched:
        start_worker()
        eventually(lambda: is_watched(app), what="the worker knows that it is watched")
        good, bad = a_hint(), a_hint("checkout.fail")

        await publisher.publish([good, bad])

        tasks = watched.until(lambda tasks: {good.hop_id, bad.hop_id} <= ended(tasks))
    assert tasks[good.hop_id].state == "SUCCESS"
    assert tasks[good.hop_id].started
    assert tasks[good.hop_id].name == "checkout.noop"
    assert tasks[good.hop_id].root_id == good.run_id
    assert tasks[good.hop_id].parent_id == good.parent_hop_id
    assert good.run_id in tasks[good.hop_id].args
    assert tasks[bad.hop_id].state == "FAILURE"
    assert "the API said no" in tasks[bad.hop_id].exception


async def test_inline_steps_appear_as_tasks_of_the_chain(
    app: OrchestratorApp, start_worker: Any, publisher: RedisHints
) -> None:
    with watching(app) as watched:
        start_worker()
        eventually(lambda: is_watched(app), what="the worker knows that it is watched")
        hint = a_hint("checkout.inline")

        await publisher.publish([hint])

        tasks = watched.until(lambda tasks: len(ended(tasks)) == 4)
    chain = [tasks[hint.hop_id], *(tasks[f"{hint.hop_id}-{n}"] for n in (1, 2, 3))]
    assert [task.root_id for task in chain] == [hint.run_id] * 4
    assert [task.parent_id for task in chain[1:]] == [task.uuid for task in chain[:-1]]
    assert [task.name for task in chain[1:]] == ["chain.s1", "chain.s2", "chain.s3"]
    assert [task.state for task in chain] == ["SUCCESS", "SUCCESS", "SUCCESS", "FAILURE"]


async def test_no_step_event_beyond_the_budget_but_each_failure(
    app: OrchestratorApp, start_worker: Any, publisher: RedisHints
) -> None:
    with watching(app) as watched:
        start_worker(TINY_EVENTS="0")
        eventually(lambda: is_watched(app), what="the worker knows that it is watched")
        hint, undo = (
            a_hint("checkout.inline"),
            a_hint("checkout.inline", queue="default.compensation"),
        )

        await publisher.publish([hint, undo])

        tasks = watched.until(lambda tasks: len(ended(tasks)) == 5)
    shown = {task.uuid for task in tasks.values()}
    assert shown == {f"{hint.hop_id}-3", undo.hop_id} | {f"{undo.hop_id}-{n}" for n in (1, 2, 3)}


async def test_events_are_made_while_somebody_listens_and_only_then(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any, publisher: RedisHints
) -> None:
    start_worker()
    eventually(lambda: client.execute_command("PUBSUB", "NUMPAT") > 0)
    eventually(lambda: not is_watched(app), what="nobody listens")
    await publisher.publish([unseen := a_hint()])
    eventually(lambda: client.llen("seen") == 1)

    with watching(app) as watched:
        eventually(lambda: is_watched(app), seconds=3, what="somebody came")
        await publisher.publish([seen := a_hint()])
        tasks = watched.until(lambda tasks: seen.hop_id in ended(tasks))
        assert watched.workers() == ["w1@test"], "heartbeats go out in any case"

    assert unseen.hop_id not in tasks
    eventually(lambda: not is_watched(app), seconds=3, what="the listener left")


async def test_who_listens_before_a_worker_starts_sees_its_first_hop(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any, publisher: RedisHints
) -> None:
    await publisher.publish([hint := a_hint()])
    with watching(app) as watched:
        eventually(lambda: client.execute_command("PUBSUB", "NUMPAT") > 0)

        start_worker(flags=("--without-heartbeat",))  # nothing else was published before

        tasks = watched.until(lambda tasks: hint.hop_id in ended(tasks))
    assert tasks[hint.hop_id].started


async def test_inspect_active_lists_the_engines_runs(
    app: OrchestratorApp, client: redis.Redis, start_worker: Any, publisher: RedisHints
) -> None:
    worker = start_worker()
    hint = a_hint("checkout.hold")
    await publisher.publish([hint, a_hint()])
    eventually(lambda: client.llen("seen") == 2)

    (request,) = answer(app, "active")

    assert request["id"] == hint.hop_id
    assert request["name"] == "checkout.hold"
    assert request["type"] == hint.task
    assert request["args"] == [{"v": 1, "runs": [[hint.run_id, hint.epoch]]}]
    assert request["root_id"] == hint.run_id
    assert request["parent_id"] == hint.parent_hop_id
    assert request["worker_pid"] == worker.pid
    assert answer(app, "reserved") == []
    state, found = answer(app, "query_task", hint.hop_id)[hint.hop_id]
    assert (state, found["name"]) == ("active", "checkout.hold")


def test_a_worker_without_an_engine_says_so() -> None:
    app = make_app(broker_url="memory://")
    pool = HopPool(1, initargs=(app, "w1@test"), app=app)

    with pytest.raises(InvalidSetting, match="runtime_factory"):
        pool.on_start()


def test_a_pool_counts_only_the_first_end_of_a_hop() -> None:
    app = make_app(broker_url="memory://", runtime_factory=_Engine)
    pool = HopPool(1, initargs=(app, "w1@test"), app=app)
    pool.start()
    requests = [_Request() for _ in range(3)]
    for request in requests:
        pool.take(request)
    engine = app.runtime
    assert isinstance(engine, _Engine)
    assert pool.reserved == 2

    first = engine.done[0]
    first(None)
    first(ValueError("again"))

    assert [request.ends for request in requests] == [[0], [], []]
    assert len(engine.done) == 2
    assert pool.reserved == 1
    pool.stop()


def test_a_message_that_cannot_be_acknowledged_takes_no_slot() -> None:
    """The broker is away: it will deliver it again, and the table knows the run."""
    app = make_app(broker_url="memory://", runtime_factory=_Engine)
    pool = HopPool(1, initargs=(app, "w1@test"), app=app)
    pool.start()

    for _ in range(3):
        pool.take(_Request(acknowledged=False))

    engine = app.runtime
    assert isinstance(engine, _Engine)
    assert (engine.done, pool.reserved) == ([], 0)
    pool.stop()


class _Request:
    """As much of a request as the pool needs."""

    def __init__(self, *, acknowledged: bool = True) -> None:
        self.hop = hop_of({"task": "t", "id": "h"}, [{"v": 1, "runs": [["r", 1]]}], {})
        self.acknowledged = acknowledged
        self.ends: list[int] = []

    def on_accepted(self, pid: int, at: float) -> None:
        assert pid == os.getpid()
        if not self.acknowledged:
            raise ConnectionError("away")

    def on_success(self, answer: tuple[int, Any, float]) -> None:
        self.ends.append(answer[0])


class _Engine:
    """An engine that ends nothing by itself."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def start(self, *, name: str) -> None:
        assert name == "w1@test"

    def deliver(self, hop: Any, done: Any) -> None:
        self.done.append(done)

    @property
    def fit(self) -> bool:
        return True

    def active(self) -> list[Any]:
        return []

    def drain(self, *, grace_seconds: float) -> None:
        return


def answer(app: OrchestratorApp, method: str, *args: Any) -> Any:
    """The only worker's answer to a question."""
    reply = getattr(app.control.inspect(timeout=3.0, limit=1), method)(*args)
    assert reply, f"{os.environ.get('PYTEST_CURRENT_TEST')}: no answer to {method}"
    return next(iter(reply.values()))


def is_watched(app: OrchestratorApp) -> bool:
    """Whether the only worker that answers sends task events; one that starts does not answer."""
    reply = app.control.inspect(timeout=1.0, limit=1).stats() or {}
    return any(stats["pool"]["watched"] for stats in reply.values())


def ended(tasks: dict[str, Any]) -> set[str]:
    return {uuid for uuid, task in tasks.items() if task.state in {"SUCCESS", "FAILURE"}}


class watching:  # noqa: N801 - reads as a phrase
    """Receives task events as Flower does."""

    def __init__(self, app: OrchestratorApp) -> None:
        self._connection = app.connection_for_read()
        self._state = State()
        self._receiver = app.events.Receiver(self._connection, handlers={"*": self._state.event})
        self._thread = threading.Thread(target=self._receive)

    def __enter__(self) -> watching:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(10)
        self._connection.release()

    def until(self, wanted: Any) -> dict[str, Any]:
        try:
            eventually(lambda: wanted(dict(self._state.tasks)), what="events")
        except AssertionError as error:
            error.add_note(str({t.name: t.state for t in self._state.tasks.values()}))
            raise
        return dict(self._state.tasks)

    def workers(self) -> list[str]:
        """Those that sent a heartbeat."""
        eventually(lambda: self._state.workers, what="heartbeats")
        return list(self._state.workers)

    def _receive(self) -> None:
        with contextlib.suppress(TimeoutError):
            self._receiver.capture(timeout=30, wakeup=False)


def test_another_pool_is_refused(broker_url: str, client: redis.Redis, start_worker: Any) -> None:
    worker = start_worker(ready=False, flags=("-P", "threads"))

    assert worker.wait(20) != 0
    log = worker.log.read_text()
    assert "found the worker pool TaskPool, wanted HopPool" in log
    assert client.llen("started") == 0


def test_the_dead_letter_queue_cannot_be_consumed(start_worker: Any) -> None:
    worker = start_worker(ready=False, flags=("-Q", "dead_letter"))

    assert worker.wait(20) != 0
    assert "dead_letter" in worker.log.read_text()


async def test_a_broker_without_an_event_loop_works_too(
    client: redis.Redis, start_worker: Any, tmp_path: Any
) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    options = {"data_folder_in": str(folder), "data_folder_out": str(folder)}
    app = make_app(broker_url="filesystem://")
    app.conf.broker_transport_options |= options | {"control_folder": str(folder)}
    worker = start_worker(
        ready=False, TINY_APP_BROKER_URL="filesystem://", TINY_FOLDER=str(folder),
        TINY_CONCURRENCY="2",
    )  # fmt: skip

    await hint_publisher(app).publish([a_hint("checkout.sleep") for _ in range(5)])

    eventually(lambda: client.llen("seen") == 5, seconds=40)
    worker.signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert "Traceback" not in worker.log.read_text()
    app.close()


async def test_a_broker_killed_and_restarted_empty_is_consumed_again(
    client: redis.Redis, start_worker: Any
) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    publisher = hint_publisher(make_app(broker_url=url))
    broker = valkey_process(port)
    worker = start_worker(ready=False, TINY_APP_BROKER_URL=url)
    try:
        await publisher.publish([a_hint("checkout.hold")])
        eventually(lambda: client.llen("seen") == 1)

        broker.signal(signal.SIGKILL)
        broker.wait(5)
        broker = valkey_process(port)
        await publisher.publish([a_hint()])

        eventually(lambda: client.llen("seen") == 2, seconds=30)
        assert worker.alive()
    finally:
        await publisher.close()
        broker.stop()


async def test_a_worker_without_its_broker_still_hands_back_and_ends(
    client: redis.Redis, start_worker: Any
) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    publisher = hint_publisher(make_app(broker_url=url))
    broker = valkey_process(port)
    worker = start_worker(ready=False, TINY_APP_BROKER_URL=url)
    try:
        await publisher.publish([a_hint("checkout.hold")])
        eventually(lambda: client.llen("seen") == 1)
        await publisher.close()
    finally:
        broker.signal(signal.SIGKILL)
        broker.wait(5)

    worker.signal(signal.SIGTERM)

    worker.wait(15)
    assert [json.loads(each)[1] for each in client.lrange("drained", 0, -1)] == [1]
