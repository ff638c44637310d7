"""Several undos of one step: which it is depends on how the step went."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, Response
from orchestrator.core.plan import Compensation, CompensationKind, Effects, Plan
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.core.states import Direction, RunStatus
from orchestrator.definitions.discovery.writing import accept, pending
from orchestrator.definitions.document import WORKFLOWS, read_document
from orchestrator.definitions.loading import export_module, load_document, load_module
from orchestrator.definitions.problems import RequestRefused
from orchestrator.definitions.program import Program
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import InvalidDefinition, Problem
from tests.unit.definitions.playing import Played, play
from tests.unit.definitions.small_api import API, GET, HEAD, registry

READ = """\
      - {stepId: before, operationId: getThing,
         parameters: [{name: id, in: path, value: $inputs.id}],
         successCriteria: [{condition: '$statusCode == 200 || $statusCode == 404'}],
         outputs: {was: $response.body}}
"""
PUT = """\
      - stepId: put
        operationId: putThing
        parameters: [{name: id, in: path, value: $inputs.id}, {name: X-Who, in: header, value: me}]
        requestBody: {payload: {new: true}}
        outputs: {status: $statusCode}
        x-compensation:
"""
DELETE = """\
          - operationId: dropThing
            parameters: [{name: id, in: path, value: $inputs.id}]
            onlyIf: [{condition: $steps.put.outputs.status == 201}]
"""
RESTORE = """\
          - operationId: putThing
            parameters:
              - {name: id, in: path, value: $inputs.id}
              - {name: X-Who, in: header, value: me}
            requestBody: {payload: $steps.before.outputs.was}
            onlyIf: [{condition: $steps.put.outputs.status == 200}]
"""
NOTHING = """\
          - {none: it was the same already, onlyIf: [{condition: $steps.put.outputs.status == 204}]}
"""
IF_200, IF_201 = (
    f"            onlyIf: [{{condition: $steps.put.outputs.status == {status}}}]\n"
    for status in (200, 201)
)
LAST = GET.replace("stepId: a", "stepId: last") + "}\n"
STEPS = READ + PUT + DELETE + RESTORE + NOTHING + LAST


def api(status: int, then: int = 404) -> Callable[[FrozenRequest], Response]:
    """Answers the first PUT with a status, and the last step with another."""
    puts: list[FrozenRequest] = []
    gets: list[FrozenRequest] = []

    def answer(request: FrozenRequest) -> Response:
        if request.method == "PUT":
            puts.append(request)
            return Response(status=status if len(puts) == 1 else 200, body=b"{}")
        if request.method == "DELETE":
            return Response(status=204)
        gets.append(request)
        found = 200 if len(gets) == 1 else then
        return Response(status=found, body=b'{"old": 1}')

    return answer


def played(plan: Callable[..., Plan], status: int, steps: str = STEPS) -> Played:
    return play(plan(steps), api(status), {"id": "7"})


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (201, ["DELETE /things/7"]),
        (200, ["PUT /things/7"]),
        (204, []),
    ],
)
def test_the_first_case_that_holds_undoes_it(
    plan: Callable[..., Plan], status: int, sent: list[str]
) -> None:
    run = played(plan, status)
    assert run.status is RunStatus.COMPENSATED
    assert run.sent[3:] == sent
    assert "put'" in run.visits


def test_a_way_that_nobody_thought_of_needs_a_person(plan: Callable[..., Plan]) -> None:
    run = played(plan, 202)
    assert run.status is RunStatus.ESCALATED
    assert run.sent[3:] == []
    facts = Facts(run_id="r", inputs={"id": "7"}, outputs={"put": {"status": 202}})
    with pytest.raises(RequestRefused) as caught:
        Program(plan(STEPS)).prepare(1, Direction.BACKWARD, facts)
    assert caught.value.problems[0].found.startswith("none of: $steps.put.outputs.status == 201; ")


@pytest.mark.parametrize("status", [202, 204])
def test_where_no_case_is_due_there_is_nothing_to_ask(
    plan: Callable[..., Plan], status: int
) -> None:
    verify = "            x-verify: {operationId: listThings}\n"
    program = Program(plan(READ + PUT + DELETE + verify + RESTORE + verify + NOTHING + LAST))
    facts = Facts(run_id="r", inputs={"id": "7"}, outputs={"put": {"status": status}})
    with pytest.raises(RequestRefused):
        program.prepare_verify(1, Direction.BACKWARD, facts)
    made = replace(facts, outputs={"put": {"status": 201}})
    assert program.prepare_verify(1, Direction.BACKWARD, made).target == "/things"


def test_a_last_case_without_a_condition_is_for_the_rest(plan: Callable[..., Plan]) -> None:
    rest = RESTORE.replace(IF_200, "")
    assert played(plan, 202, READ + PUT + DELETE + rest + LAST).sent[3:] == ["PUT /things/7"]


def test_what_the_core_decides_by_is_the_most_careful_of_all(plan: Callable[..., Plan]) -> None:
    keyed = DELETE + "            x-effects: keyed\n            x-timeout: 5\n"
    found = compensation(plan(READ + PUT + keyed + RESTORE + NOTHING + LAST))
    assert [call.effects for call in found.calls] == [Effects.UNKEYED] * 3
    assert {call.timeout_seconds for call in found.calls} == {None}
    again = "            onFailure: [{name: r, type: retry, retryLimit: 1}]\n"
    found = compensation(plan(READ + PUT + DELETE + again + RESTORE + LAST))
    assert {call.retry.max_attempts for call in found.calls} == {2}


def compensation(plan: Plan) -> Compensation:
    found = next(step.compensation for step in plan.steps if step.id == "put")
    assert found is not None
    return found


def test_a_follow_up_among_them_makes_it_one(plan: Callable[..., Plan]) -> None:
    found = compensation(
        plan(READ + PUT + DELETE + RESTORE + "            kind: follow-up\n" + LAST)
    )
    assert found.kind is CompensationKind.FOLLOW_UP


def test_it_survives_being_stored(plan: Callable[..., Plan]) -> None:
    found = plan(STEPS)
    assert plan_from_json(plan_to_json(found)) == found
    one = plan(READ + PUT + DELETE.replace("- op", "  op") + LAST)
    assert "otherwise" not in plan_to_json(one)


@pytest.mark.parametrize(
    ("cases", "place", "found"),
    [
        ("          []\n", "/steps/1", "without one"),
        (NOTHING + DELETE, "/steps/1", "without one"),
        (
            DELETE.replace(IF_201, "")
            + RESTORE, "/x-compensation/0", "no onlyIf",
        ),
        (
            DELETE + "          - {operationId: price, requestBody: {payload: {amount: 1}}}\n",
            "/x-compensation/1", "of tasks",
        ),
        (
            DELETE + "            x-verify: {operationId: listThings}\n" + RESTORE,
            "/x-compensation/1", "some with and some without",
        ),
        (DELETE + RESTORE.replace("outputs.was", "outputs.gone"), "/1/requestBody", "gone"),
        (DELETE + RESTORE.replace("outputs.status", "outputs.nope"), "/1/onlyIf", "nope"),
        (DELETE + "          - 7\n", "/x-compensation/1", "7"),
        (DELETE + "          - {none: why, kind: reverse}\n", "/x-compensation/1/kind", "kind"),
    ],
)  # fmt: skip
def test_cases_that_are_none(
    problems: Callable[..., list[Problem]], cases: str, place: str, found: str
) -> None:
    noted = problems(READ + PUT + cases + LAST, tasks=registry())
    assert any(place in one.place and found in one.found for one in noted), noted


def test_each_derived_case_is_accepted_by_itself(tmp_path: Path) -> None:
    (tmp_path / "things.yaml").write_text(API)
    derived = "            x-derived: {rule: r, confidence: 0.9, evidence: [e]}\n"
    path = tmp_path / "w.arazzo.yaml"
    path.write_text(HEAD + READ + PUT + DELETE + derived + RESTORE + derived + LAST)
    with pytest.raises(InvalidDefinition) as caught:
        load_document(path)
    assert [one.found for one in caught.value.problems] == ["derived by r, accepted by nobody"] * 2
    document = read_document(path, limits=WORKFLOWS)
    path.write_text(accept(document, pending(document), by="ada", at="2026-01-01T00:00:00Z"))
    assert load_document(path)


MODULE = """
from orchestrator import Api, ApiWorkflow

things = Api("things", "things.yaml")
at = {"id": "$inputs.id"}
restore = things.call("putThing", path=at, header={"X-Who": "me"}, body={"a": 1})
w = ApiWorkflow("w", inputs={"id": str}).step(
    "put",
    things.call("putThing", path=at, header={"X-Who": "me"}, body={}, outputs={"s": "$statusCode"}),
    undo=[
        things.call("dropThing", path=at).when("$steps.put.outputs.s == 201"),
        restore.when("$steps.put.outputs.s == 200"),
    ],
    no_undo="it was the same already",
)
"""


def test_in_python_as_in_a_document(tmp_path: Path) -> None:
    (tmp_path / "things.yaml").write_text(API)
    module, written = tmp_path / "w.py", tmp_path / "w.arazzo.yaml"
    module.write_text(MODULE)
    written.write_text(export_module(module, tasks=TaskRegistry()))
    (made,) = load_module(module, tasks=TaskRegistry())
    (read,) = load_document(written)
    assert made.plan == read.plan
    kinds: list[Any] = [call.template["kind"] for call in compensation(read.plan).calls]
    assert kinds == ["http", "http", "nothing"]
