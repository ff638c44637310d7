"""The worker's parts alone."""

from __future__ import annotations

import ssl
import threading
from typing import Any

import pytest
from celery.events.state import State, Task
from hints import a_hint
from msgspec.structs import replace

from orchestrator.ports import (
    COMPENSATE_TASK,
    DEAD_LETTER_QUEUE,
    FORWARD_TASK,
    JOB_TASK,
    Hint,
    Hop,
    StepEnd,
)
from orchestrator.worker.app import make_app
from orchestrator.worker.audience import Audience
from orchestrator.worker.drops import Drops
from orchestrator.worker.envelope import ForeignMessage, hop_of, read_runs
from orchestrator.worker.events import Budget, StepEventStream
from orchestrator.worker.main_thread import MainThread


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_budget_refills_with_time_and_saves_up_one_second() -> None:
    clock = Clock()
    budget = Budget(10, clock)
    assert [budget.take(3) for _ in range(4)] == [True, True, True, False]

    clock.now += 0.2
    assert budget.take(3)
    assert not budget.take(1)

    clock.now += 60
    assert budget.take(10)
    assert not budget.take(1)


def test_a_budget_of_nothing_gives_nothing() -> None:
    assert not Budget(0, Clock()).take(1)


class Dispatcher:
    """Records events; has what the stream asks of Celery's consumer, too."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.fields: list[dict[str, Any]] = []
        self.event_dispatcher = self

    def send(self, kind: str, *, uuid: str, **fields: Any) -> None:
        self.sent.append((kind, uuid))
        self.fields.append(fields)

    def flush(self) -> None:
        raise ConnectionError("gone")


def a_stream(budget: int) -> tuple[StepEventStream, Dispatcher]:
    stream = StepEventStream(MainThread(), Audience(), budget_per_second=budget)
    dispatcher = Dispatcher()
    stream.attach(dispatcher)
    return stream, dispatcher


def test_a_step_within_the_budget_is_shown_from_start_to_end() -> None:
    stream, dispatcher = a_stream(6)
    hint = a_hint()

    stream.step_started(hint)
    stream.step_ended(hint, StepEnd.SUCCEEDED, seconds=0.5)

    kinds = ["task-received", "task-started", "task-succeeded"]
    assert dispatcher.sent == [(kind, hint.hop_id) for kind in kinds]
    assert dispatcher.fields[0]["root_id"] == hint.run_id
    assert dispatcher.fields[0]["parent_id"] == hint.parent_hop_id
    assert dispatcher.fields[0]["name"] == hint.label
    assert dispatcher.fields[2]["runtime"] == 0.5


def test_a_step_whose_start_was_shown_gets_its_end_whatever_the_budget() -> None:
    stream, dispatcher = a_stream(6)
    shown, left_out = a_hint(), a_hint()
    stream.step_started(shown)
    stream.step_started(left_out)

    stream.step_ended(left_out, StepEnd.SUCCEEDED, seconds=0.1)
    stream.step_ended(shown, StepEnd.SUCCEEDED, seconds=0.1)

    assert {uuid for _, uuid in dispatcher.sent} == {shown.hop_id}
    assert dispatcher.sent[-1] == ("task-succeeded", shown.hop_id)
    assert stream.dropped == 1


@pytest.mark.parametrize(
    ("queue", "end"), [("x.forward", StepEnd.FAILED), ("x.compensation", StepEnd.SUCCEEDED)]
)
def test_failures_and_compensations_are_always_shown(queue: str, end: StepEnd) -> None:
    stream, dispatcher = a_stream(0)
    hint = a_hint(queue=queue)

    stream.step_started(hint)
    stream.step_ended(hint, end, seconds=0.1, detail="declined")

    kinds = ["task-received", "task-started", f"task-{end}"]
    assert [kind for kind, _ in dispatcher.sent] == kinds
    assert stream.dropped == 0


def test_the_end_of_a_step_that_a_message_brought_is_shown_whatever_the_budget() -> None:
    stream, dispatcher = a_stream(0)
    hint = a_hint()

    stream.step_started(hint, by_message=True)
    stream.step_ended(hint, StepEnd.RETRIED, seconds=0.1, detail="waiting")

    assert dispatcher.sent == [("task-retried", hint.hop_id)]
    assert dispatcher.fields[0]["exception"] == "waiting"


def test_a_message_beyond_the_budget_is_left_out_until_its_step_fails_or_lasts() -> None:
    stream, dispatcher = a_stream(3)
    shown, short, lasts, fails = (a_hint() for _ in range(4))
    assert [stream.message_taken(hop(hint)) for hint in (shown, short, lasts, fails)] == [
        True, False, False, False,
    ]  # fmt: skip
    for hint in (shown, short, lasts, fails):
        stream.step_started(hint, by_message=True)
    for hint in (shown, short):
        stream.step_ended(hint, StepEnd.SUCCEEDED, seconds=0.1)
    stream.step_ended(fails, StepEnd.FAILED, seconds=0.1)
    stream._budget = Budget(3)
    stream.catch_up()

    whole = ["task-received", "task-started", "task-failed"]
    assert dispatcher.sent == [
        ("task-succeeded", shown.hop_id),
        *((kind, fails.hop_id) for kind in whole),
        *((kind, lasts.hop_id) for kind in whole[:2]),
    ]
    assert stream.dropped == 1


def test_messages_come_before_inline_steps_and_undoing_before_any_budget() -> None:
    stream, dispatcher = a_stream(6)
    stream.step_started(first := a_hint())
    stream.step_started(a_hint())
    assert {uuid for _, uuid in dispatcher.sent} == {first.hop_id}, "half is for messages"
    assert stream.message_taken(hop(a_hint()))
    assert not stream.message_taken(hop(a_hint()))
    assert stream.message_taken(hop(a_hint(queue="default.compensation")))
    every = StepEventStream(MainThread(), Audience(), budget_per_second=0, every_message=True)
    assert every.message_taken(hop(a_hint()))


def hop(hint: Hint) -> Hop:
    return Hop(
        hop_id=hint.hop_id, parent_hop_id=hint.parent_hop_id, runs=((hint.run_id, hint.epoch),),
        label=hint.label, task=hint.task, queue=hint.queue,
    )  # fmt: skip


def test_a_step_that_lasts_is_shown_when_there_is_budget_again() -> None:
    stream, dispatcher = a_stream(6)
    first, lasts, ends, left = (a_hint() for _ in range(4))
    for hint in (first, lasts, ends, left):
        stream.step_started(hint)
    assert stream.message_taken(hop(a_hint())), "the rest of the budget"
    stream.step_ended(ends, StepEnd.SUCCEEDED, seconds=0.1)
    stream.step_left(left)
    stream.catch_up()
    assert {uuid for _, uuid in dispatcher.sent} == {first.hop_id}

    stream._budget = Budget(30)
    stream.catch_up()
    stream.step_ended(lasts, StepEnd.SUCCEEDED, seconds=2.0)

    kinds = ["task-received", "task-started", "task-succeeded"]
    assert dispatcher.sent[2:] == [(kind, lasts.hop_id) for kind in kinds]


def test_a_step_revived_by_a_person_is_no_longer_over() -> None:
    stream, dispatcher = a_stream(0)
    hint = a_hint()
    stream.step_started(hint, by_message=True)
    stream.step_revived(hint)
    state = State()
    task = Task(uuid=hint.hop_id, cluster_state=state, state="FAILURE")
    for kind, _ in dispatcher.sent:
        task.event(kind.removeprefix("task-"), timestamp=1.0)
    assert task.state == "STARTED"


def test_while_nobody_listens_nothing_is_told_or_remembered() -> None:
    audience = Audience()
    stream = StepEventStream(MainThread(), audience, budget_per_second=3)
    stream.attach(dispatcher := Dispatcher())
    watched, unseen = a_hint(), a_hint()
    stream.step_started(watched)
    dispatcher.sent.clear()

    audience.present = False
    stream.step_started(unseen)
    stream.step_ended(unseen, StepEnd.FAILED, seconds=0.1)
    stream.catch_up()
    audience.present = True
    stream.step_ended(watched, StepEnd.SUCCEEDED, seconds=0.1)

    assert dispatcher.sent == []
    assert stream.dropped == 1, "its start is forgotten, so its end is left out"


def test_a_failure_and_an_undo_begun_unseen_are_shown_to_who_came_since() -> None:
    audience = Audience()
    stream = StepEventStream(MainThread(), audience, budget_per_second=0)
    stream.attach(dispatcher := Dispatcher())
    hint = a_hint()
    audience.present = False
    stream.step_started(hint, by_message=True)

    audience.present = True
    stream.step_ended(hint, StepEnd.FAILED, seconds=0.1)

    kinds = ["task-received", "task-started", "task-failed"]
    assert [kind for kind, _ in dispatcher.sent] == kinds


def test_without_a_dispatcher_events_go_nowhere() -> None:
    stream, dispatcher = a_stream(9)
    stream.flush()  # its failure stays inside
    dispatcher.enabled = False
    stream.step_started(a_hint())
    assert dispatcher.sent == []


class Hub:
    """Celery's event loop, turned by hand."""

    def __init__(self) -> None:
        self.ready: set[Any] = set()

    def call_soon(self, callback: Any) -> None:
        self.ready.add(callback)


def test_calls_wait_for_the_event_loop_and_wake_it_once() -> None:
    main_thread, hub, done = MainThread(), Hub(), []
    main_thread.attach(hub)
    threads = [
        threading.Thread(target=main_thread.call, args=(done.append, number)) for number in range(9)
    ]
    for thread in threads:
        thread.start()
        thread.join(5)
    main_thread.call(lambda: 1 / 0)
    main_thread.call(done.append, "after a failure")
    assert done == []
    assert len(hub.ready) == 1

    hub.ready.pop()()

    assert done == [*range(9), "after a failure"]


def test_parked_calls_are_kept() -> None:
    main_thread, done = MainThread(), []
    main_thread.call(done.append, 1)
    main_thread.park()
    main_thread.call(done.append, 2)
    assert done == [1]

    main_thread.run_pending()

    assert done == [1, 2]


def test_a_message_becomes_a_hop() -> None:
    headers = {"task": FORWARD_TASK, "id": "h1", "parent_id": "h0", "shadow": "checkout.charge"}
    args = [{"v": 1, "runs": [["r1", 3], ["r2", 4]]}]
    delivery_info = {"routing_key": "default.forward"}
    wanted = Hop(
        hop_id="h1", parent_hop_id="h0", runs=(("r1", 3), ("r2", 4)), label="checkout.charge",
        task=FORWARD_TASK, queue="default.forward",
    )  # fmt: skip
    assert hop_of(headers, args, delivery_info) == wanted
    unlabelled = hop_of(headers | {"shadow": None}, args, delivery_info)
    assert unlabelled == replace(wanted, label=FORWARD_TASK)


@pytest.mark.parametrize(
    "args", [None, [], [1], [{}], [{"v": 1}], [{"v": 1, "runs": [["r", True]]}], [{"v": "1"}]]
)
def test_other_arguments_are_foreign(args: object) -> None:
    with pytest.raises(ForeignMessage):
        read_runs(args)


def test_a_flood_of_garbage_is_not_a_flood_of_log_lines(caplog: Any) -> None:
    drops = Drops()
    for _ in range(2_500):
        drops.drop("not JSON", "x" * 10_000)
    assert drops.counts() == {"not JSON": 2_500}
    assert len(caplog.records) == 22
    assert max(len(record.getMessage()) for record in caplog.records) < 400


def test_the_app_consumes_its_lanes_and_never_the_dead_letters() -> None:
    app = make_app(broker_url="memory://", lanes=("default", "bulk"), python_tasks=["tasks.price"])

    assert [queue.name for queue in app.conf.task_queues] == [
        "default.forward",
        "default.urgent",
        "default.compensation",
        "bulk.forward",
        "bulk.urgent",
        "bulk.compensation",
        "maintenance",
    ]
    with pytest.raises(KeyError):
        app.amqp.queues.select([DEAD_LETTER_QUEUE])
    assert app.hop_names == {FORWARD_TASK, COMPENSATE_TASK, JOB_TASK, "tasks.price"}
    assert app.hop_names <= set(app.tasks)


@pytest.mark.parametrize("kind", ["accept_content", "result_accept_content"])
def test_only_json_is_accepted(kind: str) -> None:
    assert make_app(broker_url="memory://").conf[kind] == ["json"]


def test_an_app_shares_nothing_with_the_next() -> None:
    one, two = make_app(broker_url="memory://"), make_app(broker_url="memory://")
    assert one.drops is not two.drops
    assert one.main_thread is not two.main_thread
    assert one.conf.broker_url == two.conf.broker_url


@pytest.mark.parametrize(
    ("url", "requirement"),
    [
        ("rediss://broker.test/0", ssl.CERT_REQUIRED),
        ("rediss://broker.test/0?ssl_cert_reqs=CERT_NONE", ssl.CERT_NONE),
    ],
)
def test_encryption_looks_at_the_certificate(url: str, requirement: ssl.VerifyMode) -> None:
    app = make_app(broker_url=url)
    assert app.connection().ssl["ssl_cert_reqs"] == requirement
