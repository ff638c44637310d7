"""Attributes of runs: kept with them, looked up by an index, gone with them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict
from orchestrator.ports import NewRun, RunFilter, Store
from orchestrator.store import open_store
from orchestrator.store.choosing_runs import runs_chosen
from orchestrator.store.engine import open_database
from tests.store.making import ME, accepted, new_id, new_run, published, registered, write


async def found(store: Store, **which: Any) -> set[str]:
    return {run.id for run in await store.runs(RunFilter(**which))}


async def runs_with(store: Store, *attributes: dict[str, str], **more: Any) -> list[NewRun]:
    version = await published(store)
    runs = [new_run(version, attributes=tuple(sorted(a.items())), **more) for a in attributes]
    await store.accept(runs)
    return runs


async def test_by_one_by_all_and_together_with_everything_else(store: Store) -> None:
    one, two, three = await runs_with(
        store, {"customer": "42", "region": "eu"}, {"customer": "42"}, {"customer": "4"}
    )
    (other,) = await runs_with(store, {"customer": "42"}, tenant="acme")
    await accepted(store, 2)
    await registered(store, ME)
    (done,) = await store.claim([(one.id, 0)], owner=ME)
    await store.record([write(done, status=RunStatus.SUCCEEDED, release=True)])
    mine = {"customer": "42"}
    assert await found(store, attributes=mine) == {one.id, two.id, other.id}
    assert await found(store, attributes={**mine, "region": "eu"}) == {one.id}
    assert await found(store, attributes={**mine, "region": "us"}) == set()
    assert await found(store, attributes={"region": "42"}) == set()
    assert await found(store, attributes=mine, tenant="acme") == {other.id}
    assert await found(store, attributes=mine, workflow="order") == {one.id, two.id, other.id}
    assert await found(store, attributes=mine, workflow="other") == set()
    for status, wanted in ((RunStatus.SUCCEEDED, {one.id}), (RunStatus.PENDING, {two.id})):
        which = {"attributes": mine, "status": frozenset({status}), "tenant": "default"}
        assert await found(store, **which) == wanted
    assert await found(store, attributes={"customer": "4"}, ids=(three.id,)) == {three.id}
    assert await found(store, attributes=mine, ids=(three.id,)) == set()
    assert await store.count_things(RunFilter(attributes=mine)) == 3


async def test_pages_newest_first(store: Store) -> None:
    runs = await runs_with(store, *({"region": "eu"} for _ in range(7)))
    await accepted(store, 3)
    seen: list[str] = []
    before = None
    which = {"attributes": {"region": "eu"}}
    while page := await store.runs(RunFilter(limit=3, before=before, **which)):
        seen += [run.id for run in page]
        before = page[-1].id
    assert seen == sorted((run.id for run in runs), reverse=True)


@pytest.mark.parametrize("many", [1, 2, 60])
async def test_they_are_read_and_a_repeated_submission_keeps_the_first_ones(
    store: Store, many: int
) -> None:
    runs = await runs_with(store, *({"n": str(n), "ünïcode": "ß"} for n in range(many)))
    (plain,) = await accepted(store)
    wanted = {run.id: {"n": str(n), "ünïcode": "ß"} for n, run in enumerate(runs)}
    assert await store.attributes([*wanted, plain.id, new_id()]) == wanted
    assert await store.attributes([]) == {}

    version = await published(store)
    again = [
        new_run(version, idempotency_key=run.idempotency_key, attributes=(("n", "other"),))
        for run in runs
    ]
    assert [each.repeated for each in await store.accept(again)] == [True] * many
    assert await store.attributes(list(wanted)) == wanted
    assert await found(store, attributes={"n": "other"}) == set()

    clash = new_run(
        version, idempotency_key=runs[0].idempotency_key, inputs_digest="other",
        attributes=(("n", "clash"),),
    )  # fmt: skip
    with pytest.raises(Conflict):
        await store.accept([new_run(version, attributes=(("n", "beside"),)), clash])
    assert await found(store, attributes={"n": "beside"}) == set()


async def test_the_audit_tells_their_names_and_a_digest(store: Store) -> None:
    one, same, other = await runs_with(store, {"c": "42"}, {"c": "42"}, {"c": "43"})
    told = [(await store.audit(run.id))[0].data for run in (one, same, other)]
    assert [each["attributes"] for each in told] == [["c"]] * 3
    assert "42" not in str({k: v for k, v in told[0].items() if k == "attributes"})
    digests = [each["attributes_digest"] for each in told]
    assert digests[0] == digests[1] != digests[2]
    (plain,) = await accepted(store)
    assert "attributes" not in (await store.audit(plain.id))[0].data


async def test_a_list_by_an_attribute_goes_through_its_index(url: str) -> None:
    """Where each run has a value of its own of one name, and all have the same of another."""
    store, database = open_store(url), open_database(url)
    await accepted(store, 3000)
    async with database.engine.begin() as connection:
        for name, value in (("customer", "substr(id, 30)"), ("region", "'eu'")):
            await connection.execute(
                text(
                    "INSERT INTO run_attributes (run_id, name, value, tenant)"
                    f" SELECT id, '{name}', {value}, tenant FROM runs"
                )
            )
        await connection.execute(text("ANALYZE"))
    explain = "EXPLAIN QUERY PLAN " if database.dialect.is_sqlite else "EXPLAIN "

    async def plan_of(**which: Any) -> str:
        chosen, named = runs_chosen(RunFilter(**which), database.dialect)
        asked = text(f"{explain} SELECT runs.id {chosen} ORDER BY runs.id DESC LIMIT :most")
        return "\n".join(str(row[-1]) for row in await database.rows(asked, most=50, **named))

    customer, region = {"customer": "42"}, {"region": "eu"}
    for which in (
        {"attributes": customer}, {"attributes": region}, {"attributes": customer | region},
        {"attributes": customer, "tenant": "default"}, {"attributes": region, "before": new_id()},
        {"attributes": customer, "workflow": "order"}, {"attributes": region, "workflow": "order"},
        {"attributes": customer, "status": frozenset({RunStatus.SUCCEEDED})},
    ):  # fmt: skip
        plan = await plan_of(**which)
        assert "run_attributes_by_value" in plan, plan
        assert "Seq Scan on run" not in plan, plan
        assert "SCAN run" not in plan, plan
    if not database.dialect.is_sqlite:  # a page of many comes in their order, none is sorted
        inner = (await plan_of(attributes=region)).partition("Limit")[2].partition("Limit")[2]
        assert "Sort" not in inner, inner
    await database.close()
    await store.close()
