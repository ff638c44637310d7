"""Search: by what people know of a run, through indexes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from orchestrator.core.states import RunStatus
from orchestrator.ports import RunFilter, Store
from orchestrator.store import open_store
from orchestrator.store.choosing_runs import runs_chosen
from orchestrator.store.engine import open_database
from tests.store.making import accepted, claimed, escalated, new_id, new_run, published, write

CAUSE = "step charge: 402 from payments-2, card_declined (request 7f3a) at https://pay.example/v1"


async def found(store: Store, searched: str, **which: Any) -> set[str]:
    return {run.id for run in await store.runs(RunFilter(text=searched, **which))}


async def test_each_place_in_which_it_may_stand(store: Store) -> None:
    version, other = await published(store), await published(store, "refund")
    keyed = new_run(version, idempotency_key="order-17")
    named = new_run(version, tenant="acme", attributes=(("customer", "Ada Lovelace"),))
    same_key = new_run(version, tenant="acme", idempotency_key="order-17")
    refund = new_run(other)
    await store.accept([keyed, named, same_key, refund])
    (failed,) = await claimed(store)
    failure = write(failed, status=RunStatus.COMPENSATED, cause=CAUSE, release=True)
    await store.record([failure])

    everything = {keyed.id, named.id, same_key.id, refund.id, failed.run.id}
    assert await found(store, keyed.id) == {keyed.id}
    assert keyed.id in await found(store, f" {keyed.id[:13].upper()} ")
    assert await found(store, "refund") == {refund.id}
    assert await found(store, "order") == everything - {refund.id}
    assert await found(store, "order-17") == {keyed.id, same_key.id}
    assert await found(store, "order-17", tenant="acme") == {same_key.id}
    for some in ("Ada Lovelace", "Ada", "Ada L"):
        assert await found(store, some) == {named.id}, some
    for some in ("declined", "card_declined", "CARD Declin", "402", "pay example v1", "7f3a", "at"):
        assert await found(store, some) == {failed.run.id}, some
    for some in ("order-1", "Lovelace", "ada", "nothing", "declined 403", "%", "_", "\U0010ffff"):
        assert await found(store, some) == set(), some


async def test_together_with_everything_else_and_in_pages(store: Store) -> None:
    runs = await claimed(store, 5)
    for run in runs[:4]:
        ending = {"status": RunStatus.COMPENSATED, "cause": CAUSE, "release": True}
        await store.record([write(run, **ending)])
    failed = [run.run.id for run in runs[:4]]
    assert await found(store, "declined", status=frozenset({RunStatus.COMPENSATED})) == {*failed}
    assert await found(store, "declined", status=frozenset({RunStatus.RUNNING})) == set()
    assert await found(store, "declined", status=frozenset()) == set()
    assert await found(store, "declined", workflow="order", tenant="default") == {*failed}
    assert await found(store, "declined", ids=(failed[0],)) == {failed[0]}
    assert await found(store, "declined", attributes={"a": "b"}) == set()
    assert await store.count_things(RunFilter(text="declined")) == 4
    seen: list[str] = []
    before = None
    while page := await store.runs(RunFilter(text="declined", limit=3, before=before)):
        seen += [run.id for run in page]
        before = page[-1].id
    assert seen == sorted(failed, reverse=True)


async def test_why_an_operator_is_needed(store: Store) -> None:
    ((_, run),) = await escalated(store)
    detail = (await store.escalations_of(run.run.id))[0].detail
    assert await found(store, detail) == {run.run.id}


async def test_texts_that_databases_might_stumble_over(store: Store) -> None:
    await accepted(store)
    for some in ("'", "a & b | !c <-> d:*", "\\", "\x00", "\ud800", "ß ﬁ İ", "x " * 100, "🐘"):
        assert await found(store, some) == set(), some


@pytest.mark.postgres
async def test_rare_words_are_found_by_their_index(postgres_url: str) -> None:
    store, database = open_store(postgres_url), open_database(postgres_url)
    await accepted(store, 3000)
    (run,) = await accepted(store, 1)
    async with database.engine.begin() as connection:
        await connection.execute(text(
            "UPDATE runs SET status = 'compensated', settled_at = created_at,"
            " cause = 'step s' || (abs(hashtext(id)) % 500) || ' was refused'"
        ))  # fmt: skip
        await connection.execute(
            text("UPDATE runs SET cause = 'quite another one' WHERE id = :id"), {"id": run.id}
        )
        await connection.execute(text(
            "INSERT INTO run_attributes (run_id, name, value, tenant)"
            " SELECT id, 'customer', substr(id, 30), tenant FROM runs"
        ))  # fmt: skip
        await connection.execute(text("ANALYZE"))
    for which, index in (
        ({"text": "quite another"}, "runs_by_cause"),
        ({"text": "order-17"}, "runs_tenant_idempotency_key"),
        ({"text": "order-17", "tenant": "default"}, "runs_tenant_idempotency_key"),
        ({"text": "nowhere"}, "run_attributes_by_value"),
        ({"text": new_id()}, "runs_pkey"),
    ):
        chosen, named = runs_chosen(RunFilter(**which), database.dialect)
        asked = text(f"EXPLAIN SELECT runs.id {chosen} ORDER BY runs.id DESC LIMIT :most")
        plan = "\n".join(str(row[-1]) for row in await database.rows(asked, most=50, **named))
        assert index in plan, plan
        assert "Seq Scan on runs" not in plan, plan
    assert [each.id for each in await store.runs(RunFilter(text="quite another"))] == [run.id]
    await database.close()
    await store.close()


HOSTILE = [
    "'; DROP TABLE runs; --", "' OR '1'='1", '" OR ""="', "order') OR 1=1 --", "%", "_%", "\\",
    "$1", ":name", "?", "order\\' OR 1=1 --", "*", "1' UNION SELECT token FROM access_keys --",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
async def test_a_value_is_never_a_part_of_the_statement(store: Store, value: str) -> None:
    """In whatever place of a filter it stands, it finds what is called so, and nothing else."""
    version = await published(store)
    (run, other) = new_run(version), new_run(version)
    named = replace(
        run, tenant=value, actor=value, idempotency_key=value, attributes=(("customer", value),)
    )
    await store.accept([named, other])
    for which in (
        RunFilter(workflow=value), RunFilter(under=value), RunFilter(rerun_of=value),
        RunFilter(ids=(value,)), RunFilter(attributes={value: "x"}),
    ):  # fmt: skip
        assert await store.runs(which) == [], which
    for which in (
        RunFilter(tenant=value), RunFilter(actor=value), RunFilter(attributes={"customer": value}),
    ):  # fmt: skip
        assert [each.id for each in await store.runs(which)] == [named.id], which
    assert {each.id for each in await store.runs(RunFilter())} == {named.id, other.id}
