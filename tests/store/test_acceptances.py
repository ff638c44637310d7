"""Who has accepted derived compensations: kept for ever, newest first."""

from __future__ import annotations

from orchestrator.ports import NewAcceptance, Store


def new(workflow: str, step: str, **more: str) -> NewAcceptance:
    return NewAcceptance(
        workflow=workflow, step=step, digest="d" * 64, by=more.get("by", "ada"),
        compensation={"operationId": "undo", "x-derived": {"confidence": 0.9}},
        reason=more.get("reason", "looked at, ž\x00"),
    )  # fmt: skip


async def test_acceptances_are_kept_newest_first(store: Store, other: Store) -> None:
    assert await store.acceptances("order") == []
    before = await store.now()
    first, second = await store.note_acceptances([new("order", "reserve"), new("order", "pay")])
    assert before <= first.at <= second.at <= await store.now()
    assert (first.step, second.step, first.by) == ("reserve", "pay", "ada")
    assert first.compensation == {"operationId": "undo", "x-derived": {"confidence": 0.9}}
    assert "\x00" not in first.reason
    (again,) = await store.note_acceptances([new("order", "pay", by="bob", reason="")])
    await store.note_acceptances([new("other", "pay")])
    assert await other.acceptances("order") == [again, second, first]
    assert await other.acceptances("order", limit=1) == [again]
