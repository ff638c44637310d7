"""A real receiver of OTLP gets the whole trace of a run, whatever became of the run's workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.states import RunStatus
from orchestrator.core.tracing import attempt_span_id, span_id
from orchestrator.ports import AttemptContext
from orchestrator.ports.tracing import Tracing
from orchestrator.service.chronicle import segments_of
from orchestrator.service.tracing import TraceTeller
from orchestrator.telemetry.otlp import OtlpSpans
from tests.integration.engine.house import House, dying_at
from tests.integration.engine.test_waits import send, waiting_plan, waits
from tests.integration.engine.world import Fate, Kind, Shop, shop_plan
from tests.otlp import Got, Receiver, receiving, whole

KEYED = (Kind.KEYED, Kind.KEYED)
THEIRS = "0af7651916cd43dd8448eb211c80319c"
OUTSIDE = "b7ad6b7169203331"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@asynccontextmanager
async def telling(house: House, receiver: Receiver) -> AsyncIterator[TraceTeller]:
    sink = OtlpSpans(receiver.address, version="1", timeout_seconds=1.0)
    teller = TraceTeller(house.store, sink, programs=house.programs, broker="redis")
    yield teller
    await teller.aclose()


async def told(house: House, receiver: Receiver) -> None:
    async with telling(house, receiver) as teller:
        assert await teller.one_pass() is False


def only(spans: list[Got], name: str) -> Got:
    (found,) = [span for span in spans if span.name == name]
    return found


async def undone(house: House) -> str:
    """Three steps, of which the second needs two attempts and the third is refused."""
    house.shop.will("o-1", "s2", Fate.BUSY)
    house.shop.will("o-1", "s3", Fate.REFUSED)
    run_id = await house.submit(shop_plan([KEYED] * 3))
    assert (await house.settle(run_id)).status is RunStatus.COMPENSATED
    return run_id


async def test_a_run_that_was_undone_is_one_whole_trace(house: House, receiver: Receiver) -> None:
    house.tracing = Tracing(ratio=0)
    await _undone_is_whole(house, receiver)


@pytest.mark.postgres
async def test_the_same_on_a_server(postgres_house: House, receiver: Receiver) -> None:
    postgres_house.tracing = Tracing(ratio=0)
    await _undone_is_whole(postgres_house, receiver)


async def _undone_is_whole(house: House, receiver: Receiver) -> None:
    run_id = await undone(house)
    await told(house, receiver)
    await told(house, receiver)  # nothing is told twice
    spans = receiver.spans
    whole(spans)
    assert receiver.paths == ["/v1/traces"]
    assert {span.trace for span in spans} == {run_id.replace("-", "")}
    root = only(spans, "run order")
    assert (root.parent, root.failed) == ("", True)
    assert root.attributes["orchestrator.run.status"] == "compensated"
    assert root.attributes["orchestrator.run.id"] == run_id
    assert root.resource["service.name"] == "orchestrator"
    steps = {span.name: span for span in spans if span.parent == root.id}
    assert set(steps) == {
        "receive default.forward", "s1", "s2", "s3", "undo s2", "undo s1",
    }  # fmt: skip
    assert steps["receive default.forward"].kind == "consumer"
    assert [span.name for span in spans if span.parent == steps["undo s1"].id] == [
        "DELETE order.s1.undo"
    ]
    calls = [span for span in spans if span.kind == "client"]
    assert len(calls) == len(house.shop.sent) == 6
    first, second = [span for span in calls if span.parent == steps["s2"].id]
    assert first.failed
    assert first.attributes["error.type"] == "503"
    assert (second.failed, second.attributes["http.response.status_code"]) == (False, 200)
    assert second.attributes["http.request.resend_count"] == 1
    assert second.attributes["url.path"] == "/orders/o-1/s2"
    assert any(span.name == "wait retry" and span.parent == steps["s2"].id for span in spans)
    refused = only(spans, "POST order.s3")
    assert (refused.failed, refused.attributes["error.type"]) == (True, "422")


async def test_a_run_that_outlives_its_worker_is_one_trace(
    house: House, receiver: Receiver
) -> None:
    house.tracing = Tracing(ratio=1)
    run_id = await house.submit(
        shop_plan([KEYED] * 2), traceparent=f"00-{THEIRS}-{OUTSIDE}-01", tracestate=STATE
    )
    with dying_at(lambda at: at.point == "after_answer" and at.at is not None and at.at[0] == 1):
        run = await house.settle(run_id)
    assert (run.status, len(house.shop.sent)) == (RunStatus.SUCCEEDED, 3)
    await told(house, receiver)
    whole(receiver.spans, outside=OUTSIDE)
    assert {(span.trace, span.state) for span in receiver.spans} == {(THEIRS, STATE)}
    root = only(receiver.spans, "run order")
    assert not root.failed
    assert "run.recovered" in root.events
    first, second = [span for span in receiver.spans if span.name == "POST order.s2"]
    assert first.why == "lost with its worker"
    assert first.attributes["orchestrator.worker"] != second.attributes["orchestrator.worker"]
    assert second.links == (first.id,)
    assert (second.failed, only(receiver.spans, "s2").failed) == (False, False)
    assert first.ended <= second.begun


async def test_what_a_person_decides_goes_on_in_the_same_trace(
    house: House, receiver: Receiver
) -> None:
    house.tracing = Tracing(ratio=0)
    house.shop.will("o-1", "s1.undo", Fate.REFUSED)
    house.shop.will("o-1", "s2", Fate.REFUSED)
    run_id = await house.submit(shop_plan([KEYED] * 2))
    assert (await house.settle(run_id)).status is RunStatus.ESCALATED
    await told(house, receiver)
    whole(receiver.spans)
    assert only(receiver.spans, "run order").attributes["orchestrator.run.status"] == "escalated"
    assert only(receiver.spans, "undo s1").failed
    before = len(receiver.spans)
    await told(house, receiver)
    assert len(receiver.spans) == before
    await house.decide_truthfully(run_id, "o-1")
    await told(house, receiver)
    whole(receiver.spans)
    new = receiver.spans[before:]
    resumed = [span for span in new if span.name == "resumed order"]
    root = only(receiver.spans, "run order")
    assert {span.parent for span in resumed} == {root.id}
    assert resumed[0].links == (root.id,)
    assert resumed[-1].attributes["orchestrator.run.status"] == "compensated"
    assert resumed[0].begun >= root.ended
    await told(house, receiver)
    assert len(receiver.spans) == before + len(new)


async def test_a_run_that_waits_shows_what_is_done_so_far(house: House, receiver: Receiver) -> None:
    house.tracing = Tracing(ratio=1)
    run_id = await waits(house, waiting_plan())
    await told(house, receiver)
    await told(house, receiver)  # nothing is told twice
    assert {span.name for span in receiver.spans} == {
        "receive default.forward", "s1", "POST order.s1",
    }  # fmt: skip
    root = span_id(run_id, "run")
    assert {span.parent for span in receiver.spans if span.name != "POST order.s1"} == {root}
    await send(house, run_id)
    assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    await told(house, receiver)
    whole(receiver.spans)
    assert only(receiver.spans, "run order").id == root
    waited = {span.parent for span in receiver.spans if span.name == "wait answer"}
    assert waited == {only(receiver.spans, "s2").id}


async def test_a_run_that_is_not_chosen_shows_nothing_until_it_fails(
    house: House, receiver: Receiver
) -> None:
    house.tracing = Tracing(ratio=0)
    house.shop.will("o-1", "s3", Fate.REFUSED)
    run_id = await waits(house, waiting_plan())
    await told(house, receiver)
    assert receiver.spans == []
    await send(house, run_id)
    assert (await house.settle(run_id)).status is RunStatus.COMPENSATED
    await told(house, receiver)
    whole(receiver.spans)
    assert {"s1", "s2", "s3", "undo s1"} <= {span.name for span in receiver.spans}


async def test_few_are_kept_but_all_that_failed(house: House, receiver: Receiver) -> None:
    house.tracing = Tracing(ratio=0)
    await undone(house)
    plain = await house.submit(shop_plan([KEYED]), "o-2")
    kept = await house.submit(
        shop_plan([KEYED]), "o-3", traceparent=f"00-{THEIRS}-{OUTSIDE}-01"
    )  # fmt: skip
    for run_id in (plain, kept):
        assert (await house.settle(run_id)).status is RunStatus.SUCCEEDED
    await told(house, receiver)
    names = {span.attributes.get("orchestrator.run.id") for span in receiver.spans}
    assert len(receiver.traces()) == 2
    assert kept in names
    assert plain not in names


async def test_what_was_not_taken_is_told_again(house: House, receiver: Receiver) -> None:
    house.tracing = Tracing(ratio=1)
    run_id = await house.submit(shop_plan([KEYED]))
    await house.settle(run_id)
    receiver.answers = [400]
    await told(house, receiver)
    assert receiver.spans == []
    await told(house, receiver)
    assert receiver.paths == ["/v1/traces"], "not at once"
    await house.execute("UPDATE traces SET due_at = (SELECT created_at FROM runs)")
    await told(house, receiver)
    whole(receiver.spans)


async def test_without_tracing_nothing_is_kept_to_be_told(house: House, receiver: Receiver) -> None:
    await undone(house)
    await told(house, receiver)
    assert receiver.paths == []


async def test_a_sender_names_the_span_that_is_told_of(house: House, receiver: Receiver) -> None:
    """Its id is made twice: for the header, and from the journal."""
    house.tracing = Tracing(ratio=0)
    sent: list[str] = []
    worker = await house.worker()
    ask = house.shop.send

    class Listening(Shop):
        async def send(
            self, api: str, request: FrozenRequest, context: AttemptContext, *,
            timeout_seconds: float | None,
        ) -> Response:  # fmt: skip
            assert context.trace_headers is not None
            sent.extend(value for _, value in context.trace_headers())
            return await ask(api, request, context, timeout_seconds=timeout_seconds)

    worker.deps = replace(worker.deps, http=Listening())
    run_id = await undone(house)
    await told(house, receiver)
    calls = [span for span in receiver.spans if span.kind == "client"]
    assert [f"00-{c.trace}-{c.id}-00" for c in sorted(calls, key=lambda c: c.begun)] == sent
    run = await house.store.run(run_id)
    (segment,) = segments_of(run.created_at, await house.store.audit(run_id))
    (first, *_) = segment.visits
    assert attempt_span_id(run_id, *first.at, first.tries[0].begun_at) == sent[0].split("-")[2]


async def test_a_run_of_an_agent_tells_what_led_to_it(house: House, receiver: Receiver) -> None:
    house.tracing = Tracing(ratio=1)
    looked = (
        {"at": "2026-03-04T05:06:00+00:00", "question": "buy a book", "found": ["order", "gift"]},
        {"at": "2026-03-04T05:06:01+00:00", "described": "order"},
        {"at": "2026-03-04T05:06:02+00:00", "chose": "order", "model": "m-1"},
    )
    run_id = await house.submit(shop_plan([KEYED]), looked=looked, actor="shopper")
    await house.settle(run_id)
    await told(house, receiver)
    root = only(receiver.spans, "run order")
    assert root.events[:3] == ("agent.search", "agent.describe", "agent.execute")
    assert {name: text for name, text in root.attributes.items() if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "order",
        "gen_ai.tool.call.id": run_id, "gen_ai.agent.name": "shopper",
        "gen_ai.request.model": "m-1",
    }  # fmt: skip
    assert "buy a book" not in repr(receiver.spans)
