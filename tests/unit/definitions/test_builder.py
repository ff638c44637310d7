"""Workflows written in Python become the same plans."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pytest

import orchestrator
from orchestrator import RetryPolicy, TaskContext, Workflow, step, task
from orchestrator.core.exchange import Facts, FrozenRequest, Outcome, Response
from orchestrator.core.plan import CompensationKind, Effects, Plan
from orchestrator.core.states import Direction
from orchestrator.definitions.builder import plan_and_warnings, plan_of
from orchestrator.definitions.loading import load_path
from orchestrator.definitions.program import Program
from orchestrator.definitions.task_modules import load_tasks
from orchestrator.definitions.tasks import TaskRegistry, task_of
from orchestrator.errors import InvalidDefinition, InvalidInput


class Reservation(TypedDict):
    reservation_id: str


@task(effects="keyed")
def reserve(item: str, quantity: int, context: TaskContext) -> Reservation:
    return {"reservation_id": f"{item}-{context.run_id}"}


@task(effects="keyed")
def release(reservation_id: str) -> None: ...


@task(effects="keyed", retry=RetryPolicy(max_attempts=3), timeout=7)
async def charge(amount: int) -> dict[str, Any]:
    return {"id": "c"}


@task(effects="keyed")
async def refund(id: str, amount: int) -> None: ...  # noqa: A002 - as users name it


@task
async def ship(reservation_id: str, note: str = "none") -> None: ...


@task(effects="none")
def find_charge(amount: int) -> dict[str, Any] | None: ...


def arguments(plan: Plan, index: int, direction: Direction, facts: Facts) -> dict[str, Any]:
    request = Program(plan).prepare(index, direction, facts)
    assert isinstance(request, FrozenRequest)
    found: dict[str, Any] = json.loads(request.body)
    return found


INPUTS = {"item": str, "quantity": int, "amount": int}
ORDER = (
    Workflow("order", inputs=INPUTS)
    .step(reserve, compensate=release)
    .step(charge, compensate=refund)
    .step(ship, pivot=True)
)
FACTS = Facts(
    run_id="r",
    inputs={"item": "tea", "quantity": 2, "amount": 700},
    outputs={"reserve": {"reservation_id": "r1"}, "charge": {"id": "c1"}},
)


def test_arguments_are_wired_by_name() -> None:
    plan = plan_of(ORDER)
    forward, backward = Direction.FORWARD, Direction.BACKWARD
    assert arguments(plan, 0, forward, FACTS) == {"item": "tea", "quantity": 2}
    assert arguments(plan, 1, forward, FACTS) == {"amount": 700}
    assert arguments(plan, 2, forward, FACTS) == {"reservation_id": "r1"}
    assert arguments(plan, 0, backward, FACTS) == {"reservation_id": "r1"}
    assert arguments(plan, 1, backward, FACTS) == {"id": "c1", "amount": 700}


def test_the_plan() -> None:
    plan = plan_of(ORDER)
    assert [s.call.label for s in plan.steps] == ["order.reserve", "order.charge", "order.ship"]
    assert [s.call.effects for s in plan.steps] == [Effects.KEYED, Effects.KEYED, Effects.UNKEYED]
    assert plan.pivot_index == 2
    assert plan.steps[1].call.retry.max_attempts == 3
    assert plan.steps[1].call.timeout_seconds == 7
    assert plan.steps[1].call.task_name == f"{__name__}.charge"
    assert plan.digest == plan_of(ORDER).digest
    assert (
        plan.digest != plan_of(Workflow("order", INPUTS).step(reserve, compensate=release)).digest
    )


def test_inputs_become_a_schema() -> None:
    program = Program(plan_of(ORDER))
    assert program.check_inputs(FACTS.inputs) == FACTS.inputs
    with pytest.raises(InvalidInput) as caught:
        program.check_inputs({"item": 1, "quantity": 2, "amount": 3})
    assert "/item" in str(caught.value)


def test_without_inputs_what_nothing_returns_is_asked_for() -> None:
    workflow = Workflow("order").step(reserve, compensate=release).step(ship, pivot=True)
    plan, _ = plan_and_warnings(workflow)
    assert plan.inputs_schema["required"] == ["item", "quantity"]
    assert set(plan.inputs_schema["properties"]) == {"item", "quantity", "note"}
    assert arguments(plan, 1, Direction.FORWARD, FACTS) == {"reservation_id": "r1"}


def test_an_input_that_an_untyped_step_may_return_is_pointed_out() -> None:
    workflow = Workflow("w").step(charge, no_compensation="x").step(ship, no_compensation="x")
    _, warnings = plan_and_warnings(workflow)
    assert any("reservation_id becomes an input, since charge does not say" in w for w in warnings)


def test_an_explicit_mapping_wins() -> None:
    workflow = Workflow("w", inputs=INPUTS).step(
        charge, id="pay", with_={"amount": "$inputs.quantity"},
        compensate=refund, compensate_with={"id": "charge-{$inputs.item}"},
    )  # fmt: skip
    plan = plan_of(workflow)
    assert arguments(plan, 0, Direction.FORWARD, FACTS) == {"amount": 2}
    assert arguments(plan, 0, Direction.BACKWARD, FACTS) == {"id": "charge-tea", "amount": 2}


def test_a_literal_of_zero_reaches_the_compensation() -> None:
    workflow = Workflow("w").step(charge, with_={"amount": 0}, compensate=refund)
    facts = Facts(run_id="r", inputs={}, outputs={"charge": {"id": "c1"}})
    assert arguments(plan_of(workflow), 0, Direction.BACKWARD, facts) == {"id": "c1", "amount": 0}


def test_the_latest_step_that_returned_it_counts() -> None:
    workflow = (
        Workflow("w", inputs=INPUTS)
        .step(reserve, id="first", compensate=release)
        .step(reserve, id="second", compensate=release)
        .step(charge, compensate=refund)
        .step(ship, pivot=True)
    )
    outputs = {"first": {"reservation_id": "1"}, "second": {"reservation_id": "2"}, "charge": {}}
    facts = Facts(run_id="r", inputs=FACTS.inputs, outputs=outputs)
    plan = plan_of(workflow)
    assert arguments(plan, 3, Direction.FORWARD, facts) == {"reservation_id": "2"}
    facts.outputs["charge"]["reservation_id"] = "3"
    assert arguments(plan, 3, Direction.FORWARD, facts) == {"reservation_id": "3"}


def test_a_verification() -> None:
    workflow = Workflow("w", inputs=INPUTS).step(charge, compensate=refund, verify=find_charge)
    program = Program(plan_of(workflow))
    request = program.prepare_verify(0, Direction.FORWARD, FACTS)
    assert request.body == b'{"amount":700}'
    answers = {b'{"id": "c"}': Outcome.LANDED, b"null": Outcome.NOT_LANDED}
    for body, outcome in answers.items():
        found = program.judge(
            0, Direction.FORWARD, FACTS, request, Response(status=200, body=body), verify=True
        )
        assert found.outcome is outcome


def test_options_of_a_step() -> None:
    made = step(
        charge, id="pay", compensate=refund, kind="follow-up", timeout=2, retry=RetryPolicy()
    )
    plan = plan_of(Workflow("w", inputs=INPUTS, deadline=60, lane="slow").step(made))
    found = plan.steps[0]
    assert (found.id, found.call.timeout_seconds, found.call.retry) == ("pay", 2, RetryPolicy())
    assert found.compensation is not None
    assert found.compensation.kind is CompensationKind.FOLLOW_UP
    assert (plan.deadline_seconds, plan.lane) == (60, "slow")


def plain(amount: int) -> None: ...


@dataclass
class Shape:
    amount: int
    note: str = ""


def test_inputs_from_a_dataclass() -> None:
    plan = plan_of(Workflow("w", inputs=Shape).step(charge, compensate=refund))
    assert plan.inputs_schema["required"] == ["amount"]


@pytest.mark.parametrize(
    ("workflow", "place", "found", "wanted"),
    [
        (Workflow("w").step(plain), "step plain", "no task", "@task"),
        (Workflow("w").step(charge), "step charge", "without a compensation", "x-compensation"),
        (Workflow("w w").step(charge, compensate=refund), "workflow w w", "'w w'", "letters"),
        (Workflow("w", inputs={"x": int}).step(charge, compensate=refund), "step charge",
         "nothing that gives amount", "with_"),
        (Workflow("w").step(charge, with_={"amout": 1}, compensate=refund), "step charge",
         "the argument amout", "amount"),
        (Workflow("w", INPUTS).step(charge, with_={"amount": "$inputs.amout"}, compensate=refund),
         "/arguments/amount", "$inputs.amout", "a declared input"),
        (Workflow("w", INPUTS).step(charge, with_={"amount": "$steps.x.outputs.y"},
         compensate=refund), "/arguments/amount", "$steps.x.outputs.y", "a step of"),
        (Workflow("w", INPUTS).step(charge, with_={"amount": "$wrong"}, compensate=refund),
         "step charge", "$wrong", "$inputs"),
        (Workflow("w", INPUTS).step(charge, compensate=refund).step(charge, compensate=refund),
         "step charge", "again", "once"),
        (Workflow("w", INPUTS).step(charge, pivot=True).step(charge, id="b", compensate=refund),
         "step b", "after the pivot", "forward"),
        (Workflow("w", INPUTS).step(charge, compensate=refund, verify=charge), "verify",
         "effects keyed", "none"),
        (Workflow("w"), "workflow w", "0 steps", "1 to 500"),
        (Workflow("w", inputs=5).step(ship, pivot=True), "inputs /type", "'unknown'", ""),
        (Workflow("w", INPUTS, outputs={"x": "$steps.nope.outputs.x"}).step(ship, pivot=True,
         with_={"reservation_id": "1"}), "/outputs/x", "nope", "a step of"),
    ],
)  # fmt: skip
def test_refused(workflow: Workflow, place: str, found: str, wanted: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        plan_of(workflow)
    problems = caught.value.problems
    assert any(place in p.place and found in p.found and wanted in p.wanted for p in problems), (
        problems
    )


def test_functions_that_workers_do_not_know_are_refused() -> None:
    made = task_of(reserve)
    assert made is not None
    with pytest.raises(InvalidDefinition) as caught:
        plan_of(ORDER, tasks=TaskRegistry([made]))
    assert len(caught.value.problems) == 4
    assert "no worker would know" in caught.value.problems[0].found


def test_a_python_file_with_workflows(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(
        "from orchestrator import Workflow, task\n"
        "@task(effects='none')\ndef look(x: int) -> None: ...\n"
        "one = Workflow('one').step(look)\ntwo = Workflow('two').step(look)\n"
    )
    with pytest.raises(InvalidDefinition) as caught:
        load_path(tmp_path)
    assert {"flows.look" in p.found for p in caught.value.problems} == {True}


def test_public_names() -> None:
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name) is not None
    assert "app" in dir(orchestrator)
    with pytest.raises(AttributeError):
        orchestrator.nothing  # noqa: B018 - asking is the test


def test_a_package_of_tasks_is_published_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "triptasks"
    package.mkdir()
    (package / "trips.py").write_text(
        "from orchestrator import Workflow, task\n"
        "@task(effects='none')\ndef look(x: int) -> None: ...\n"
        "trip = Workflow('trip').step(look)\n"
    )
    (package / "__init__.py").write_text("from triptasks.trips import trip\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = load_tasks(["triptasks"])
    loaded = load_path(package, tasks=registry)
    assert [item.plan.workflow for item in loaded] == ["trip"]
    assert "trip = Workflow" in load_path(package / "trips.py", tasks=registry)[0].document
    (package / "other.py").write_text(
        "from orchestrator import Workflow\nfrom triptasks.trips import look\n"
        "trip = Workflow('trip', title='another').step(look)\n"
    )
    with pytest.raises(InvalidDefinition) as caught:
        load_path(package, tasks=registry)
    assert "another workflow trip" in caught.value.problems[0].found
