"""The wish to cancel reaches whoever has the run, or makes it due."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import FINAL, Direction, RunStatus
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import Store
from tests.store.making import ME, accepted, claimed, new_id, registered, waiting, write


def wish(**changes: Any) -> dict[str, Any]:
    return {"mode": CancelMode.UNDO, "reason": "wrong", "by": "ada", **changes}


async def test_an_owned_run_is_left_to_its_owner(store: Store) -> None:
    (run,) = await claimed(store)
    assert await store.request_cancel(run.run.id, **wish()) is None
    found = await store.run(run.run.id)
    assert (found.owner, found.epoch, found.cancel) == (ME, 1, None)
    (signals,) = await store.record([write(run, release=True)])
    assert signals is not None
    assert signals.cancel is CancelMode.UNDO


async def test_an_unowned_run_is_published(store: Store) -> None:
    (new,) = await accepted(store)
    redelivery = await store.request_cancel(new.id, **wish())
    assert redelivery is not None
    assert (redelivery.run_id, redelivery.epoch, redelivery.hop_id) == (new.id, 0, new.id)
    assert redelivery.why == "cancelled"
    await registered(store, ME)
    (taken,) = await store.claim([(new.id, 0)], owner=ME)
    assert taken.run.hop_id == new.id
    (signals,) = await store.record([write(taken)])
    assert signals is not None
    assert (signals.cancel, signals.cancel_reason) == (CancelMode.UNDO, "wrong")


async def test_a_waiting_run_need_not_wait_any_more(store: Store) -> None:
    (run,) = await waiting(store, 3600)
    assert await store.claim([(run.run.id, 1)], owner=ME) == []
    assert await store.request_cancel(run.run.id, **wish()) is not None
    assert await store.take_due() == []  # it has been published already
    assert len(await store.claim([(run.run.id, 1)], owner=ME)) == 1


@pytest.mark.parametrize(
    ("direction", "status"),
    [(Direction.FORWARD, RunStatus.RUNNING), (Direction.BACKWARD, RunStatus.COMPENSATING)],
)
async def test_a_paused_run_goes_on(store: Store, direction: Direction, status: RunStatus) -> None:
    (run,) = await claimed(store)
    await store.record([write(run, status=RunStatus.PAUSED, direction=direction, release=True)])
    assert await store.request_cancel(run.run.id, **wish()) is not None
    (taken,) = await store.claim([(run.run.id, 1)], owner=ME)
    assert taken.run.status is status


async def test_the_wish_is_audited_with_who_and_why(store: Store) -> None:
    (new,) = await accepted(store)
    await store.request_cancel(new.id, **wish(mode=CancelMode.STOP))
    last = (await store.audit(new.id))[-1]
    assert (last.seq, last.kind, last.actor) == (2, "run.cancel_requested", "ada")
    assert last.data == {"mode": "stop", "reason": "wrong"}


@pytest.mark.parametrize("status", [*sorted(FINAL), RunStatus.ESCALATED])
async def test_a_settled_run_is_a_conflict(store: Store, status: RunStatus) -> None:
    (run,) = await claimed(store)
    await store.record([write(run, status=status, release=True)])
    with pytest.raises(Conflict, match=f"status {status}"):
        await store.request_cancel(run.run.id, **wish())
    assert len(await store.audit(run.run.id)) == 1


async def test_an_unknown_run_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.request_cancel(new_id(), **wish())


async def test_one_that_has_moved_on_is_not_cancelled_for_who_saw_it_before(store: Store) -> None:
    (run,) = await claimed(store)
    seen = await store.run(run.run.id)
    await store.record([write(run, status=RunStatus.PAUSED, release=True)])
    with pytest.raises(Conflict, match="paused, audit record"):
        await store.request_cancel(run.run.id, **wish(), seen=seen)
    assert [each.kind for each in await store.audit(run.run.id)] == ["run.accepted"]
    now = await store.run(run.run.id)
    assert await store.request_cancel(run.run.id, **wish(), seen=now) is not None
