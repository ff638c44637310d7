"""Maps over data: a run for each of many items, some at a time, undone in reverse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator.core.events import CancelMode
from orchestrator.core.maps import ItemOutcome
from orchestrator.core.plan import OnCancel, Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.definitions.maps import Each, map_call, undo_of_map
from orchestrator.ports import NewPause, RunFilter, RunRecord
from orchestrator.ports.maps import MapRecord
from orchestrator.store import codec
from orchestrator.store.payloads import PayloadKeys, new_key
from tests.integration.engine.family import ORDER, family, leaf, publish
from tests.integration.engine.house import House, new_id
from tests.integration.engine.world import Fate

ROUNDS = 80
ATTEMPTS = 4  # of each call
ITEM = {"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}}
DATA = [f"i-{n}" for n in range(6)]


def payment(**changes: Any) -> Plan:
    """What is done for each item: two steps, each keyed and with an undo."""
    return leaf("payment", inputs_schema=ITEM, **changes)


def each(child: Plan, items: Sequence[Any] = DATA, **said: Any) -> PlanStep:
    """A step that does it for these items."""
    how = Each(over={"items": list(items)}, item="order", **{"parallel": 2, **said})
    call = map_call("order.pay", child, how, {})
    return PlanStep(id="pay", call=call, compensation=undo_of_map("order.pay.undo", how))


def order(*steps: PlanStep | str, **changes: Any) -> Plan:
    return family(*steps, maps=True, **changes)


async def begun(house: House, plan: Plan, *others: Plan) -> str:
    await publish(house, *others)
    return await house.submit(plan)


async def settled(house: House, run_id: str, *, busy: bool = False) -> RunRecord:
    """Work and sweep until nothing is under way but what waits for a person."""
    still = FINAL if not busy else {*FINAL, RunStatus.ESCALATED, RunStatus.WAITING}
    for _ in range(ROUNDS):
        await house.work()
        everybody = await house.store.runs(RunFilter(limit=None))
        if all(run.status in still for run in everybody) and not await house.store.open_maps():
            return await house.store.run(run_id)
        await house.sweep()
        lost = await house.store.take_lost(silent_seconds=-1, limit=500)
        await house.redeliverer.publish(lost)
    raise AssertionError([(run.workflow, run.status, run.cause) for run in everybody])


async def the_map(house: House, run_id: str) -> MapRecord:
    return (await house.store.maps_of(run_id))[0]


async def counts(house: House, run_id: str) -> dict[str, Any]:
    """What the step gave."""
    return dict((await house.store.steps(run_id))[0].forward.outputs or {})


async def check(
    house: House, run_id: str, items: Sequence[str] = DATA, *, in_turn: bool = True
) -> None:
    """What holds once all has settled, whoever died when; `in_turn`: one is undone at a time."""
    run = await house.store.run(run_id)
    assert house.shop.other_bytes == []
    for item in items:
        applied = house.shop.applied[item]
        assert len(applied) == len(set(applied)), f"done twice: {applied}"
        done = [name for name in applied if not name.endswith(".undo")]
        undone = [name.removesuffix(".undo") for name in applied if name.endswith(".undo")]
        assert undone in ([], done[::-1]), applied
    maps = await house.store.maps_of(run_id)
    for found in maps:
        assert not found.is_open
        shown = await house.store.map_items(found.id, limit=1000)
        assert [item.index for item in shown] == sorted({item.index for item in shown})
        outcomes = Counter(item.outcome for item in shown)
        ended = outcomes[ItemOutcome.SUCCEEDED] + outcomes[ItemOutcome.UNDONE]
        assert (found.counts.succeeded, found.counts.failed) == (
            ended, outcomes[ItemOutcome.FAILED]
        )  # fmt: skip
        assert (found.counts.running, found.counts.next) == (0, len(shown))
        places = sorted(item.place for item in shown if item.place is not None)
        assert places == list(range(1, len(places) + 1))
    if run.status is RunStatus.COMPENSATED:
        standing = [found for found in maps if await house.store.count_to_undo(found.id)]
        assert [found.undoes is None for found in standing] == [False] * len(standing)
        if in_turn:
            check_reversed(house, await house.store.map_items(maps[0].id, limit=1000), items)
    audit = await house.store.audit(run_id)
    assert [record.seq for record in audit] == list(range(1, len(audit) + 1))


def check_reversed(house: House, shown: Sequence[Any], items: Sequence[str]) -> None:
    """Items that were undone with the map: the latest to complete first."""
    undone = [item for item in shown if item.outcome is ItemOutcome.UNDONE]
    wanted = [items[item.index] for item in sorted(undone, key=lambda item: -(item.place or 0))]
    seen = dict.fromkeys(
        sent.order for sent in house.shop.sent
        if sent.name.endswith(".undo") and sent.order in wanted
    )  # fmt: skip
    assert list(seen) == wanted


async def test_each_item_is_done_once_and_counted(house: House) -> None:
    child = payment()
    plan = with_digest(
        replace(order(each(child), "s2"), outputs={"paid": "$steps.pay.outputs.succeeded"})
    )
    run_id = await begun(house, plan, child)
    run = await settled(house, run_id)
    assert (run.status, run.outputs) == (RunStatus.SUCCEEDED, {"paid": 6})
    assert await counts(house, run_id) == {
        "total": 6, "succeeded": 6, "failed": 0, "outcome": "complete",
    }  # fmt: skip
    assert [house.shop.applied[item] for item in DATA] == [["c1", "c2"]] * 6
    await check(house, run_id)
    (item,) = await house.store.map_items((await the_map(house, run_id)).id, after=4)
    one = await house.store.run(item.run_id)
    assert (one.parent_id, one.item, one.map_id, one.inputs) == (
        run_id, 5, (await the_map(house, run_id)).id, {"order": "i-5"},
    )  # fmt: skip
    assert await house.store.runs(RunFilter(parent=run_id)) == [], "they are found by their map"


async def test_no_more_run_at_once_than_may(house: House) -> None:
    child = payment()
    most = 0

    async def watch(_: str) -> None:
        nonlocal most
        runs = await house.store.runs(RunFilter(workflow="payment", limit=None))
        most = max(most, sum(run.status not in FINAL for run in runs))

    house.shop.on_send = watch
    run_id = await begun(house, order(each(child, parallel=3)), child)
    assert (await settled(house, run_id)).status is RunStatus.SUCCEEDED
    assert most == 3


async def test_items_may_be_numbers(house: House) -> None:
    child = leaf("payment", "c1")
    schema = {"type": "object", "required": ["n", "at"], "properties": {
        "n": {"type": "integer"}, "at": {"type": "integer"}, "order": {"type": "string"},
    }}  # fmt: skip
    child = with_digest(replace(child, inputs_schema=schema))
    how = Each(over={"count": 3}, item="n", index="at", parallel=2)
    call = map_call("order.pay", child, how, {"order": "$inputs.order"})
    step = PlanStep(id="pay", call=call, compensation=undo_of_map("order.pay.undo", how))
    run_id = await begun(house, order(step), child)
    assert (await settled(house, run_id)).status is RunStatus.SUCCEEDED
    shown = await house.store.map_items((await the_map(house, run_id)).id)
    inputs = [(await house.store.run(item.run_id)).inputs for item in shown]
    assert inputs == [{"order": ORDER, "n": n, "at": n} for n in range(3)]


async def test_none_at_all_lands_at_once(house: House) -> None:
    child = payment()
    run_id = await begun(house, order(each(child, []), "s2"), child)
    assert (await settled(house, run_id)).status is RunStatus.SUCCEEDED
    assert (await counts(house, run_id))["total"] == 0
    await check(house, run_id, [])


async def test_some_may_fail_and_the_outcome_says_so(house: House) -> None:
    child = payment()
    for item in DATA[1], DATA[4]:
        house.shop.will(item, "c2", Fate.REFUSED)
    run_id = await begun(house, order(each(child, most_failures="34%"), "s2"), child)
    assert (await settled(house, run_id)).status is RunStatus.SUCCEEDED
    assert await counts(house, run_id) == {
        "total": 6, "succeeded": 4, "failed": 2, "outcome": "partial",
    }  # fmt: skip
    assert house.shop.applied[DATA[1]] == ["c1", "c1.undo"]
    failed = await house.store.map_items(
        (await the_map(house, run_id)).id, outcome=ItemOutcome.FAILED
    )
    assert [item.index for item in failed] == [1, 4]
    assert "422" in failed[0].cause
    await check(house, run_id)


async def test_an_item_that_is_none_has_failed_alone(house: House) -> None:
    child, data = payment(), ["i-0", {"order": 3}, "i-2"]
    run_id = await begun(house, order(each(child, data, most_failures=1)), child)
    assert (await settled(house, run_id)).status is RunStatus.SUCCEEDED
    shown = await house.store.map_items((await the_map(house, run_id)).id)
    assert [item.outcome for item in shown] == ["succeeded", "failed", "succeeded"]
    refused = await house.store.run(shown[1].run_id)
    assert (refused.status, refused.started_at) == (RunStatus.COMPENSATED, None)
    assert "/order" in refused.cause
    await check(house, run_id, ["i-0", "i-2"])


async def test_too_many_failures_stop_it_and_what_succeeded_is_undone(house: House) -> None:
    child = payment()
    house.shop.will(DATA[3], "c2", Fate.REFUSED)
    run_id = await begun(house, order("s1", each(child), "s3"), child)
    run = await settled(house, run_id)
    assert run.status is RunStatus.COMPENSATED
    assert run.cause.startswith("1 of 6 items failed, at most 0 may: ")
    assert house.shop.applied[DATA[5]] == []
    assert house.shop.applied[ORDER] == ["s1", "s1.undo"]
    assert house.shop.applied[DATA[0]] == ["c1", "c2", "c2.undo", "c1.undo"]
    await check(house, run_id)


async def test_a_later_failure_undoes_it_in_its_place(house: House) -> None:
    child = payment()
    house.shop.will(ORDER, "s3", Fate.REFUSED)
    run_id = await begun(house, order("s1", each(child, parallel=3), "s2", "s3"), child)
    assert (await settled(house, run_id)).status is RunStatus.COMPENSATED
    assert all(house.shop.applied[item][-2:] == ["c2.undo", "c1.undo"] for item in DATA)
    undos = [sent.order for sent in house.shop.sent if sent.name.endswith(".undo")]
    assert (undos[0], undos[-1]) == (ORDER, ORDER)
    await check(house, run_id)


async def test_a_cancel_reaches_what_runs_and_begins_no_more(house: House) -> None:
    child = payment()
    run_id = await begun(house, order("s1", each(child)), child)

    async def cancel(name: str) -> None:
        if name == "c2" and not house.shop.times(DATA[1], "c1"):
            redelivery = await house.store.request_cancel(
                run_id, mode=CancelMode.UNDO, reason="no", by="ada"
            )
            await house.redeliverer.publish([redelivery] if redelivery else [])

    house.shop.on_send = cancel
    run = await settled(house, run_id)
    assert (run.status, house.shop.applied[DATA[5]]) == (RunStatus.COMPENSATED, [])
    assert all(not a or a[-1] == "c1.undo" for a in map(house.shop.applied.get, DATA))
    await check(house, run_id)


async def test_what_may_end_by_itself_is_left_to_and_nothing_follows(house: House) -> None:
    child = payment()
    run_id = await begun(house, order(each(child, on_cancel=OnCancel.WAIT)), child)
    await (await house.worker()).drive(house.broker.hints.popleft())
    redelivery = await house.store.request_cancel(
        run_id, mode=CancelMode.UNDO, reason="no", by="ada"
    )
    assert redelivery is not None
    await house.redeliverer.publish([redelivery])
    assert (await settled(house, run_id)).status is RunStatus.COMPENSATED
    found = await the_map(house, run_id)
    assert found.counts.next < len(DATA)
    assert (found.counts.succeeded, found.counts.failed) == (found.counts.next, 0)
    await check(house, run_id)


async def test_an_undo_that_fails_holds_the_rest(house: House) -> None:
    child = payment()
    house.shop.will(ORDER, "s2", Fate.REFUSED)
    run_id = await begun(house, order(each(child, DATA[:3], parallel=1), "s2"), child)
    house.shop.will(DATA[1], "c2.undo", *[Fate.BUSY] * ATTEMPTS)
    run = await settled(house, run_id, busy=True)
    assert run.status is RunStatus.WAITING
    assert house.shop.applied[DATA[2]] == ["c1", "c2", "c2.undo", "c1.undo"]
    assert house.shop.applied[DATA[0]] == ["c1", "c2"]
    (escalation,) = await house.store.escalations_of(
        (await house.store.runs(RunFilter(status=frozenset({RunStatus.ESCALATED}))))[0].id
    )
    await house.escalations.retry(escalation.id, by="ada", reason="mended")
    assert (await settled(house, run_id)).status is RunStatus.COMPENSATED
    await check(house, run_id, DATA[:3])


async def test_a_pause_stops_its_items_and_they_go_on_afterwards(house: House) -> None:
    child = payment()
    run_id = await begun(house, order(each(child), "s2"), child)
    wanted = [NewPause(id=new_id(), by="ada", reason="look first", run_id=run_id)]

    async def pause(name: str) -> None:
        if name == "c2" and wanted:
            await house.store.pause(wanted.pop())

    house.shop.on_send = pause
    sent = -1
    while sent < len(house.shop.sent):
        sent = len(house.shop.sent)
        await house.work()
        await house.sweep()
    (made,) = await house.store.pauses()
    assert (await house.store.run(run_id)).status is RunStatus.PAUSED
    assert 0 < (await the_map(house, run_id)).counts.next < len(DATA)
    await house.store.end_pause(made.id, by="ada", reason="looked")
    await house.redeliverer.publish(await house.store.release_paused())
    assert (await settled(house, run_id)).status is RunStatus.SUCCEEDED
    await check(house, run_id)


async def test_items_are_begun_and_undone_with_keys_that_change_meanwhile(house: House) -> None:
    child = payment()
    old, new = new_key(), new_key()
    house.shop.will(ORDER, "s2", Fate.REFUSED)
    try:
        codec.seal_with(PayloadKeys.read([old]))
        run_id = await begun(house, order(each(child), "s2"), child)
        for _ in range(3):
            await (await house.worker()).drive(house.broker.hints.popleft())
        assert 0 < (await the_map(house, run_id)).counts.next < len(DATA)
        house.retire()  # and with it what it knows of the map's items
        codec.seal_with(PayloadKeys.read([new, old]))
        assert await house.store.reseal_payloads()
        codec.seal_with(PayloadKeys.read([new]))
        assert (await settled(house, run_id)).status is RunStatus.COMPENSATED
        await check(house, run_id)
    finally:
        codec.seal_with(None)
