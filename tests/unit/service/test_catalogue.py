"""What workflows there are is read when there are new ones, and not before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.plan import Call, Effects, Plan, PlanStep
from orchestrator.ports import NewAliasChange
from orchestrator.ports.finding import About
from orchestrator.search import HybridFinder
from orchestrator.service.catalogue import Catalogue
from orchestrator.service.wording import about_of
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.unit.vectors import KeptVectors

DOCUMENT = """
arazzo: 1.0.1
workflows:
- workflowId: refund
  summary: Give the money back
  description: For shoppers who are unhappy.
  steps:
  - {stepId: pay-back, description: Moves cash}
"""


class CountingStore(MemoryStore):
    """Writes down what is asked of it."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self.asked: list[str] = []

    async def _pass(self, name: str, *args: Any, **more: Any) -> Any:
        self.asked.append(name)
        return await super()._pass(name, *args, **more)


class LearningFinder(HybridFinder):
    """Writes down what it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.learnt: list[list[str]] = []

    def learn(self, things: Sequence[About]) -> None:
        self.learnt.append([each.name for each in things])
        super().learn(things)


class Place:
    """A catalogue over an empty store, with a clock that stands."""

    def __init__(self) -> None:
        self.store = CountingStore(MemoryDatabase(lambda: datetime.now(UTC)))
        self.finder = LearningFinder()
        self.seconds = 0.0
        self.succeeded: dict[str, dict[str, int]] = {}
        self.catalogue = Catalogue(
            self.store, lambda: self.finder, monotonic=lambda: self.seconds,
            successes=self.successes, vectors=KeptVectors(),
        )  # fmt: skip

    async def successes(self, most: int) -> dict[str, dict[str, int]]:
        assert most > 1000
        return dict(self.succeeded)

    async def publish(self, name: str, title: str, document: str = "") -> None:
        await self.store.publish(
            plan(name, title), document=document, by="ada", operations="Sends money"
        )

    async def find(self, question: str, tenant: str = "acme") -> list[str]:
        found = await self.catalogue.find(
            question, limit=5, allowed=lambda _: True, tenant=tenant
        )  # fmt: skip
        return [entry.workflow for entry, _ in found]


def plan(name: str, title: str) -> Plan:
    template = {"kind": "http", "method": "POST", "path": "/refunds/{id}"}
    call = Call(label=f"{name}.pay-back", api="bank", effects=Effects.KEYED, template=template)
    schema = {
        "properties": {"payment": {"description": "which"}, "note": {}},
        "required": ["payment"],
    }
    return Plan(
        workflow=name, title=title, steps=(PlanStep(id="pay-back", call=call),),
        inputs_schema=schema, outputs={"receipt": "$steps.pay-back.outputs.id"},
    )  # fmt: skip


async def test_what_is_published_is_found_within_a_second() -> None:
    place = Place()
    assert await place.find("refund") == []
    await place.publish("refund", "Give the money back")
    assert await place.find("refund") == []
    place.seconds = 1.0
    assert await place.find("refund") == ["refund"]


async def test_nothing_is_read_while_nothing_is_published() -> None:
    place = Place()
    await place.publish("refund", "Give the money back")
    await place.find("refund")
    place.store.asked.clear()
    for _ in range(3):
        await place.find("refund")
    assert place.store.asked == []
    place.seconds = 1.0
    await place.find("refund")
    await place.find("refund")
    assert place.store.asked == ["changes_published"]


async def test_only_new_versions_are_learnt() -> None:
    place = Place()
    await place.publish("refund", "Give the money back")
    await place.publish("order", "Buy goods")
    await place.find("refund")
    await place.publish("order", "Buy flowers")
    place.seconds = 1.0
    assert await place.find("flowers") == ["order"]
    assert [sorted(each) for each in place.finder.learnt] == [["order", "refund"], ["order"]]


async def test_without_a_question_there_are_the_first_by_name() -> None:
    place = Place()
    for name in ("c", "a", "b"):
        await place.publish(name, "")
    some = await place.catalogue.some(limit=1, allowed=lambda name: name != "a")
    assert [each.workflow for each in some] == ["b"]
    assert some[0].inputs == ["payment", "note?"]
    assert some[0].outputs == ["receipt"]


async def test_a_workflow_is_known_by_its_plan_and_by_its_document() -> None:
    place = Place()
    await place.publish("refund", "Give the money back", DOCUMENT)
    about = about_of(await place.store.workflow("refund"))
    assert about == About(
        name="refund", title="Give the money back", description="For shoppers who are unhappy.",
        apis="bank", steps="pay-back Moves cash", inputs="payment which note ", outputs="receipt",
        operations="refund.pay-back  POST /refunds/{id} Sends money",
    )  # fmt: skip
    assert await place.find("unhappy shoppers") == ["refund"]


async def test_documents_that_are_python_say_nothing_more() -> None:
    place = Place()
    for place_, document in enumerate(("workflows: [", "from workflows import *", "workflows: 3")):
        await place.publish("refund", f"Number {place_}", document)
        assert about_of(await place.store.workflow("refund")).description == ""


async def test_what_the_tenant_has_used_with_success_comes_first_after_some_minutes() -> None:
    place = Place()
    for name in ("pay-one", "pay-two"):
        await place.publish(name, "Pay a bill")
    assert await place.find("pay a bill") == ["pay-one", "pay-two"]
    place.succeeded = {"acme": {"pay-two": 3}}
    place.seconds = 299.0
    assert await place.find("pay a bill") == ["pay-one", "pay-two"]
    place.seconds = 300.0
    assert await place.find("pay a bill") == ["pay-two", "pay-one"]
    assert await place.find("pay a bill", tenant="other") == ["pay-one", "pay-two"]


async def test_what_is_found_is_what_a_run_would_get() -> None:
    place = Place()
    await place.publish("order", "Buy goods")
    await place.publish("order", "Buy flowers")
    assert await place.find("flowers") == ["order"]
    stable = NewAliasChange(workflow="order", alias="stable", version=1, by="ada")
    await place.store.change_alias(stable)
    place.seconds = 1.0
    (entry,) = await place.catalogue.some(limit=5, allowed=lambda _: True)
    assert entry.title == "Buy goods"
