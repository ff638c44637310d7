"""What operators change of APIs: merged with the file, checked, recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.core.plan import Plan
from orchestrator.engine.api_files import ApiFolder
from orchestrator.errors import Conflict, InvalidInput, InvalidSetting, NotFound
from orchestrator.ports import ApiOverride, NewApiChange, WorkflowVersion
from orchestrator.service.apis import Apis, ApiView
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from orchestrator.worker.absent import AbsentBroker
from tests.store.making import plan

WHY = {"by": "ada", "reason": "they asked"}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(MemoryDatabase(lambda: datetime.now(UTC)))


@pytest.fixture
def apis(store: MemoryStore, tmp_path: Path) -> Apis:
    (tmp_path / "shop.yaml").write_text("rate: 9/second\nconcurrency: 3\n")

    def read() -> ApiFolder:
        folder = ApiFolder(tmp_path)
        folder.take(folder.read())
        return folder

    return Apis(store, read, AbsentBroker("no gate here"))


def calling(api: str, *, asking: str | None = None) -> Plan:
    """One step that calls this API, and another one when it is in doubt."""
    made = plan(steps=1, digest=f"{api}-{asking}")
    step = made.steps[0]
    asks = None if asking is None else replace(step.call, api=asking)
    call = replace(step.call, api=api, verify=asks)
    return replace(made, steps=(replace(step, call=call, compensation=None),))


def overridden(view: ApiView) -> dict[str, object]:
    return {field.name: field.value for field in view.fields if field.change is not None}


async def test_set_adds_and_reset_takes_back(apis: Apis) -> None:
    await apis.set("shop", {"rate": "5/second"}, **WHY)
    view = await apis.set("shop", {"concurrency": 2, "weights.acme": 3}, **WHY)
    assert overridden(view) == {"rate": "5/second", "concurrency": 2, "weights.acme": 3}
    view = await apis.reset("shop", ["rate"], **WHY)
    assert overridden(view) == {"concurrency": 2, "weights.acme": 3}
    assert view.value("rate") == "9/second"
    view = await apis.reset("shop", [], **WHY)
    assert overridden(view) == {}
    with pytest.raises(Conflict, match="found overridden: nothing"):
        await apis.reset("shop", [], **WHY)


async def test_the_record_says_what_held_and_holds(apis: Apis) -> None:
    await apis.set("shop", {"rate": "5/second"}, by="ada", reason=" calm down ")
    view = await apis.reset("shop", ["rate"], by="bob", reason="all well")
    reset, change = view.changes
    assert (change.before, change.after) == ({"rate": "9/second"}, {"rate": "5/second"})
    assert (change.by, change.reason, change.version) == ("ada", "calm down", 1)
    assert (reset.before, reset.after) == ({"rate": "5/second"}, {"rate": "9/second"})


async def test_a_hold_and_its_end(apis: Apis) -> None:
    view = await apis.hold("shop", by="ada", reason="it burns")
    assert view.held is not None
    assert view.held.reason == "it burns"
    with pytest.raises(Conflict, match="held already"):
        await apis.hold("shop", **WHY)
    assert (await apis.set("shop", {"concurrency": 1}, **WHY)).held is not None
    assert (await apis.reset("shop", [], **WHY)).held is not None, "a reset releases nothing"
    view = await apis.release("shop", **WHY)
    assert view.held is None
    assert [change.kind for change in view.changes] == ["release", "reset", "set", "hold"]
    with pytest.raises(Conflict, match="not held"):
        await apis.release("shop", **WHY)


async def test_nothing_is_changed_without_a_reason_or_with_wrong_values(
    apis: Apis, store: MemoryStore
) -> None:
    with pytest.raises(InvalidInput, match="--reason"):
        await apis.set("shop", {"concurrency": 1}, by="ada", reason=" ")
    with pytest.raises(InvalidInput, match="no field"):
        await apis.set("shop", {}, **WHY)
    with pytest.raises(InvalidSetting, match="set concurrency: found 0"):
        await apis.set("shop", {"rate": "1/second", "concurrency": 0}, **WHY)
    assert await store.api_overrides() == []


async def test_an_api_is_known_by_file_change_or_workflow(apis: Apis, store: MemoryStore) -> None:
    with pytest.raises(NotFound, match="wanted one of shop"):
        await apis.show("bank")
    await store.publish(calling("bank", asking="ledger"), document="", by="ada")
    overview = await apis.overview()
    assert [each.api for each in overview.apis] == ["bank", "ledger", "shop"]
    with pytest.raises(NotFound):
        await apis.hold("tasks", **WHY)


async def test_plans_are_read_when_there_is_another_one(
    apis: Apis, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, readings = store.workflows, 0

    async def counted() -> list[WorkflowVersion]:
        nonlocal readings
        readings += 1
        return await read()

    monkeypatch.setattr(store, "workflows", counted)
    await store.publish(calling("bank"), document="", by="ada")
    for _ in range(3):
        assert [each.api for each in (await apis.overview()).apis] == ["bank", "shop"]
    assert readings == 1
    await store.publish(calling("post"), document="", by="ada")
    assert [each.api for each in (await apis.overview()).apis] == ["post", "shop"]
    assert readings == 2


async def test_who_was_slower_tries_again_on_what_is_there(
    apis: Apis, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, changes = store.change_api, 0

    async def slower(change: NewApiChange) -> ApiOverride:
        nonlocal changes
        changes += 1
        if changes == 1:  # somebody else comes between
            await apis.set("shop", {"concurrency": 1}, **WHY)
        return await made(change)

    monkeypatch.setattr(store, "change_api", slower)
    view = await apis.set("shop", {"rate": "5/second"}, **WHY)
    assert overridden(view) == {"rate": "5/second", "concurrency": 1}
