"""Submitting in bulk: what is checked first, what is told afterwards, what goes to the broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Workflow, step, task
from orchestrator.core.saga import Saga
from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Conflict, InvalidInput, NotFound, Overloaded, Unavailable
from orchestrator.ports import Accepted, Hint, NewAliasChange, NewRun, RunFilter
from orchestrator.service.admission import Admission
from orchestrator.service.submitting import (
    LARGEST_INSERT,
    Submission,
    Submitter,
    _canonical,
)
from orchestrator.testing.memory.broker import MemoryBroker, MemoryHints
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase

MAX_INPUT_BYTES = 200


@task(effects="keyed")
async def reserve(number: int, note: str) -> None:
    """Never called here."""


ORDER = Workflow("order", inputs={"number": int, "note": str}).step(
    step(reserve, id="reserve", no_compensation="not undone here")
)


class House:
    """A submitter over stores in memory, and what can be seen of it."""

    def __init__(self, *, most: int = 10**6, most_of_tenant: int | None = None) -> None:
        self.database = MemoryDatabase(lambda: datetime.now(UTC))
        self.store = MemoryStore(self.database)
        self.broker = MemoryBroker()
        self.programs = Programs(self._plan)
        numbers = count(1)
        self.submitter = Submitter(
            self.store, self.store, self.programs, MemoryHints(self.broker),
            new_id=lambda: f"id-{next(numbers):08}", max_input_bytes=MAX_INPUT_BYTES,
            admission=Admission(
                self.store, max_pending_runs=most, max_pending_runs_per_tenant=most_of_tenant
            ),
        )  # fmt: skip

    async def _plan(self, workflow_id: str) -> Any:
        return (await self.store.workflow_by_id(workflow_id)).plan

    async def publish(self, title: str = "") -> None:
        await self.store.publish(
            replace(plan_of(ORDER), title=title, digest=""), document="", by="ada"
        )

    async def alias(self, alias: str, version: int | None, share: float = 0.0) -> None:
        await self.store.change_alias(
            NewAliasChange(workflow="order", alias=alias, version=version, share=share, by="ada")
        )

    async def begun(self, *wishes: Submission) -> list[tuple[int, str]]:
        """What became of each: its version, and the alias that its first record tells of."""
        answers = await self.submitter.submit(wishes)
        runs = [await self.store.run(each.run_id) for each in answers]
        told = [await self.store.audit(each.run_id, limit=1) for each in answers]
        return [
            (run.version, record.data.get("alias", ""))
            for run, (record,) in zip(runs, told, strict=True)
        ]

    def hints(self) -> list[Hint]:
        return [hint for queue in self.broker.hints.values() for hint in queue]


@pytest.fixture
async def house() -> House:
    made = House()
    await made.publish()
    return made


INPUTS = {"number": 1, "note": "x"}


def wishes(many: int, **more: Any) -> list[Submission]:
    return [
        Submission(
            workflow="order", inputs={"number": n, "note": "x"}, idempotency_key=f"k-{n}", **more
        )
        for n in range(many)
    ]


async def test_each_new_run_is_woken_up_as_any_other_hint_would(house: House) -> None:
    answers = await house.submitter.submit(wishes(3))
    plan = plan_of(ORDER)
    assert house.hints() == [
        Hint.at(Saga.new(plan), run_id=each.run_id, epoch=0, lane=plan.lane) for each in answers
    ]


@pytest.mark.parametrize("more", [{"priority": 5}, {"deadline_seconds": 10.0}])
async def test_a_run_that_goes_ahead_of_others_has_a_queue_of_its_own(
    house: House, more: dict[str, Any]
) -> None:
    await house.submitter.submit([*wishes(1, **more), Submission(workflow="order", inputs=INPUTS)])
    assert [hint.queue for hint in house.hints()] == ["default.urgent", "default.forward"]


async def test_many_are_answered_in_their_order_and_each_is_woken_once(house: House) -> None:
    many = 3 * LARGEST_INSERT + 7
    answers = await house.submitter.submit(wishes(many))
    found = [await house.store.run(each.run_id) for each in answers]
    assert [run.inputs["number"] for run in found] == list(range(many))
    assert sorted(hint.run_id for hint in house.hints()) == sorted(each.run_id for each in answers)

    again = await house.submitter.submit(wishes(many))
    assert again == [Accepted(run_id=each.run_id, repeated=True) for each in answers]
    assert len(house.hints()) == many


async def test_runs_have_the_attributes_of_their_workflow_and_their_own(house: House) -> None:
    labelled = replace(ORDER, name="labelled", attributes={"number": "$inputs.number"})
    await house.store.publish(plan_of(labelled), document="", by="ada")
    wish = Submission(workflow="labelled", inputs=INPUTS, attributes={"ticket": "T-7"})
    answers = await house.submitter.submit([wish, Submission(workflow="order", inputs=INPUTS)])
    ids = [each.run_id for each in answers]
    assert await house.store.attributes(ids) == {ids[0]: {"number": "1", "ticket": "T-7"}}

    with pytest.raises(InvalidInput) as refused:
        await house.submitter.submit([wish, replace(wish, attributes={"Ticket": "T-8"})])
    assert refused.value.problems[0].place == "submission 1, attribute 'Ticket'"
    assert len(await house.store.runs(RunFilter())) == 2


async def test_nothing_is_nothing(house: House) -> None:
    assert await house.submitter.submit([]) == []


async def test_one_wrong_at_the_end_and_nothing_is_written(house: House) -> None:
    many = 2 * LARGEST_INSERT
    wrong = Submission(workflow="order", inputs={"number": "seven", "note": ""})
    with pytest.raises(InvalidInput) as refused:
        await house.submitter.submit([*wishes(many), wrong])
    assert refused.value.problems[0].place == f"submission {many}, /number"

    unknown = Submission(workflow="nothing")
    with pytest.raises(NotFound):
        await house.submitter.submit([*wishes(many), unknown])
    assert await house.store.runs(RunFilter()) == []
    assert house.hints() == []


async def test_inputs_that_are_too_large_are_refused_with_their_size(house: House) -> None:
    large = Submission(workflow="order", inputs={"number": 1, "note": "é" * 100})
    size = len(json.dumps(large.inputs, separators=(",", ":"), ensure_ascii=False).encode())
    with pytest.raises(InvalidInput) as refused:
        await house.submitter.submit([large])
    assert refused.value.problems[0].found == f"{size} bytes"
    fitting = replace(large, inputs={"number": 1, "note": "é" * (100 - (size - 199) // 2)})
    assert len(await house.submitter.submit([fitting])) == 1


async def test_a_key_in_use_for_something_else_refuses_its_chunk_and_ends_the_others(
    house: House,
) -> None:
    many = 4 * LARGEST_INSERT
    taken = replace(wishes(1)[0], idempotency_key=f"k-{LARGEST_INSERT + 5}")
    await house.submitter.submit([taken])

    with pytest.raises(Conflict):
        await house.submitter.submit(wishes(many))

    assert len(asyncio.all_tasks()) == 1, "nothing goes on behind the caller's back"
    accepted = len(house.database.runs) - 1
    assert accepted % LARGEST_INSERT == 0, "a chunk is accepted whole or not at all"
    assert accepted < many
    assert len(house.hints()) == accepted + 1, "what was accepted was also published"


async def test_a_caller_who_leaves_is_not_kept(house: House) -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def stuck(runs: Sequence[NewRun]) -> list[Accepted]:
        begun.set()
        await never.wait()
        return []

    house.store.accept = stuck  # a database that does not answer
    waiting = asyncio.create_task(house.submitter.submit(wishes(3 * LARGEST_INSERT)))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, timeout=5)
    assert len(asyncio.all_tasks()) == 1


async def test_an_absent_broker_costs_time_and_no_run(house: House) -> None:
    house.broker.away = True
    answers = await house.submitter.submit(wishes(2))
    assert [each.repeated for each in answers] == [False, False]
    assert len(house.database.runs) == 2


# --- admission ------------------------------------------------------------------------------------


async def test_too_many_waiting_are_refused_as_a_whole_and_say_when_to_come_again() -> None:
    house = House(most=10)
    await house.publish()
    await house.submitter.submit(wishes(8))

    with pytest.raises(Overloaded) as refused:
        await house.submitter.submit(wishes(3, actor="late"))

    error = refused.value
    assert isinstance(error, Unavailable), "to be tried again later"
    assert error.problems[0].place == "setting max_pending_runs"
    assert error.problems[0].found == "8 runs that wait for a worker, and 3 more"
    assert error.problems[0].wanted == "at most 10"
    assert 0 < error.retry_after_seconds <= 1
    assert len(house.database.runs) == 8
    assert len(await house.submitter.submit(wishes(2))) == 2


async def test_one_tenant_can_be_kept_from_filling_the_room() -> None:
    house = House(most=100, most_of_tenant=5)
    await house.publish()
    await house.submitter.submit(wishes(4, tenant="acme"))
    with pytest.raises(Overloaded) as refused:
        await house.submitter.submit([*wishes(1, tenant="zeta"), *wishes(2, tenant="acme")])
    assert "tenant 'acme'" in refused.value.problems[0].place
    assert len(house.database.runs) == 4
    assert len(await house.submitter.submit(wishes(5, tenant="zeta"))) == 5


async def test_a_refused_submission_takes_no_room() -> None:
    house = House(most=10)
    await house.publish()
    wrong = Submission(workflow="order", inputs={})
    for _ in range(5):
        with pytest.raises(InvalidInput):
            await house.submitter.submit([wrong] * 9)
    assert len(await house.submitter.submit(wishes(10))) == 10


async def test_counted_once_for_many_requests_and_again_when_its_time_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house, counts, clock = House(most=10), count(), [100.0]
    await house.publish()
    original = house.store.backlog

    async def counting(most: int) -> Any:
        next(counts)
        clock[0] += 0.1  # seconds that a count takes here
        return await original(most)

    house.store.backlog = counting  # so as to see it being asked
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: clock[0])

    await asyncio.gather(*(house.submitter.submit([wish]) for wish in wishes(10)))
    with pytest.raises(Overloaded) as refused:
        await house.submitter.submit(wishes(1))
    assert next(counts) == 1
    assert refused.value.retry_after_seconds == pytest.approx(5.0)  # fifty times as long

    house.database.announced.clear()  # workers have taken them up
    clock[0] += refused.value.retry_after_seconds
    assert len(await house.submitter.submit(wishes(1, tenant="zeta"))) == 1


# --- the text that digests are made of ------------------------------------------------------------

texts = st.text(alphabet=st.characters(codec=None, exclude_categories=())) | st.sampled_from(
    ["\ud800", "\x00", "\x7f", "\u2028", "3.5", "1e5", "é", "💳", '"', "\\", "/"]
)
scalars = (
    st.none() | st.booleans() | st.integers() | texts
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e16, 1e-5, 1e22, -0.0, 123456789012345680.0, 2**63, 2**64, -(2**63) - 1])
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=10
)


@given(st.dictionaries(texts, values))
def test_the_text_of_a_digest_is_what_the_standard_library_writes(value: dict[str, Any]) -> None:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert _canonical(value) == text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("value", [{"at": datetime.now(UTC)}, {"some": {1, 2}}, {"a": object()}])
def test_what_json_does_not_have_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        _canonical(value)


# --- versions -------------------------------------------------------------------------------------


def order(asked: str = "order", **more: Any) -> Submission:
    return Submission(workflow=asked, inputs=INPUTS, **more)


async def test_a_version_is_asked_for_by_number_or_alias(house: House) -> None:
    await house.publish("two")
    await house.publish("three")
    await house.alias("stable", 2)
    await house.alias("old", 1)
    wishes = [order(each) for each in ("order", "order@stable", "order@old", "order@latest")]
    by_number = [order("order@1"), order("order@v2"), order(version=3)]
    assert await house.begun(*wishes, *by_number) == [
        (2, "stable"), (2, "stable"), (1, "old"), (3, ""), (1, ""), (2, ""), (3, ""),
    ]  # fmt: skip


async def test_without_a_stable_version_runs_get_the_latest(house: House) -> None:
    await house.publish("two")
    assert await house.begun(order()) == [(2, "")]
    with pytest.raises(NotFound) as refused:
        await house.begun(order("order@stable"))
    assert "found stable; wanted one of latest, or a version: 1 to 2" in str(refused.value)


async def test_a_canary_takes_its_share_and_the_same_key_the_same_version(house: House) -> None:
    await house.publish("two")
    await house.alias("stable", 1)
    await house.alias("canary", 2, share=20.0)
    many = [order(idempotency_key=f"k-{n}") for n in range(1000)]
    begun = await house.begun(*many)
    assert set(begun) == {(1, "stable"), (2, "canary")}
    assert 150 < begun.count((2, "canary")) < 250, "five standard deviations are 63"
    assert await house.begun(*(replace(each, workflow="order@stable") for each in many)) == begun
    assert (await house.submitter.submit(many))[0].repeated
    await house.alias("canary", None)
    others = [order(idempotency_key=f"other-{n}") for n in range(100)]
    assert set(await house.begun(*others)) == {(1, "stable")}, "taken back, at once"


async def test_runs_without_keys_are_shared_out_by_their_ids(house: House) -> None:
    await house.publish("two")
    await house.alias("canary", 1, share=50.0)
    begun = await house.begun(*(order() for _ in range(100)))
    assert set(begun) == {(2, ""), (1, "canary")}


async def test_two_versions_at_once_and_none_that_is_clear_are_refused(house: House) -> None:
    for asked, version in (("order@1", 2), ("order@", None), ("order@Stable", None)):
        with pytest.raises(InvalidInput, match="which version is meant"):
            await house.submitter.submit([order(asked, version=version)])
