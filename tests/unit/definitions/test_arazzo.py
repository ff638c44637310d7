"""Arazzo documents: what they become."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, NothingToUndo, Outcome, Response
from orchestrator.core.plan import CompensationKind, Effects, Plan
from orchestrator.core.retry import RetryPolicy
from orchestrator.core.states import Direction
from orchestrator.definitions.loading import Loaded, load_document, load_path
from orchestrator.definitions.program import Program
from orchestrator.errors import InvalidDefinition, InvalidInput, NotFound, Problem
from tests.unit.definitions.small_api import GET, MAKE, NONE, price, registry

DATA = Path(__file__).parents[2] / "data"
Problems = Callable[..., list[Problem]]
Plans = Callable[..., Plan]


def one(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


# --- the payments example -------------------------------------------------------------------------


@pytest.fixture
def checkout() -> Plan:
    return load_document(DATA / "stripe-mock/checkout.arazzo.yaml")[0].plan


def test_the_plan_of_a_document(checkout: Plan) -> None:
    charge, receipt = checkout.steps
    assert (checkout.workflow, checkout.lane, checkout.deadline_seconds) == (
        "checkout",
        "payments",
        300,
    )
    assert charge.call.label == "checkout.charge"
    assert (charge.call.api, charge.call.effects) == ("stripe", Effects.KEYED)
    assert receipt.call.effects is Effects.NONE
    assert charge.call.retry.max_attempts == 3
    assert receipt.call.retry == RetryPolicy()
    assert charge.compensation is not None
    assert charge.compensation.kind is CompensationKind.REVERSE
    assert charge.compensation.call.label == "checkout.charge.undo"
    assert charge.compensation.call.retry.max_attempts == 11
    assert charge.call.template["baseUrl"] == "http://127.0.0.1:8001"
    assert len(checkout.digest) == 64


def test_from_inputs_to_outputs(checkout: Plan) -> None:
    program = Program(checkout)
    inputs = program.check_inputs({"order": "o 1"})
    assert inputs == {"order": "o 1", "amount": 500, "source": "tok_visa"}
    facts = Facts(run_id="r", inputs=inputs)
    request = program.prepare(0, Direction.FORWARD, facts)
    assert isinstance(request, FrozenRequest)
    assert request.target == "/v1/charges"
    assert ("Idempotency-Key", request.key) in request.headers
    assert request.body == (
        b"amount=500&currency=usd&source=tok_visa&metadata[order]=o%201&metadata[note]=order%20o%201"
    )
    answer = Response(status=200, body=b'{"id": "ch_1", "status": "succeeded"}')
    outputs = program.judge(0, Direction.FORWARD, facts, request, answer).outputs
    assert outputs == {"id": "ch_1", "status": "succeeded"}
    after = Facts(
        run_id="r", inputs=inputs, outputs={"charge": outputs, "receipt": {"amount": 500}}
    )
    read = program.prepare(1, Direction.FORWARD, after)
    assert isinstance(read, FrozenRequest)
    assert (read.method, read.target, read.body) == ("GET", "/v1/charges/ch_1", b"")
    assert program.outputs(after) == {"charge": "ch_1", "amount": 500}
    assert program.outputs(facts) == {}


def test_the_undo(checkout: Plan) -> None:
    program = Program(checkout)
    facts = Facts(run_id="r", inputs={}, outputs={"charge": {"id": "ch_1", "status": "succeeded"}})
    request = program.prepare(0, Direction.BACKWARD, facts)
    assert isinstance(request, FrozenRequest)
    assert (request.target, request.body) == ("/v1/refunds", b"charge=ch_1")
    forward = program.prepare(
        0, Direction.FORWARD, Facts(run_id="r", inputs={"order": "o", "amount": 1, "source": "t"})
    )
    assert isinstance(forward, FrozenRequest)
    assert forward.key != request.key
    again = Response(status=400, body=b'{"error": {"code": "charge_already_refunded"}}')
    assert program.judge(0, Direction.BACKWARD, facts, request, again).outcome is Outcome.LANDED
    failed = Facts(run_id="r", inputs={}, outputs={"charge": {"id": "ch_1", "status": "failed"}})
    assert isinstance(program.prepare(0, Direction.BACKWARD, failed), NothingToUndo)


def test_inputs_are_checked_with_their_places(checkout: Plan) -> None:
    with pytest.raises(InvalidInput) as caught:
        Program(checkout).check_inputs({"amount": 0, "source": 5})
    assert {problem.place for problem in caught.value.problems} == {"/", "/amount", "/source"}


# --- forms of steps -------------------------------------------------------------------------------


def test_a_function_is_a_step(plan: Plans) -> None:
    made = plan(
        "      - stepId: p\n        operationId: $sourceDescriptions.tasks.price\n"
        "        requestBody: {payload: {amount: 5}}\n"
        "        outputs: {total: $response.body#/total}\n",
        tasks=registry(),
    )
    call = made.steps[0].call
    assert (call.api, call.effects, call.task_name) == (
        "tasks",
        Effects.NONE,
        f"{price.__module__}.price",
    )
    request = Program(made).prepare(0, Direction.FORWARD, Facts(run_id="r", inputs={}))
    assert isinstance(request, FrozenRequest)
    assert request.body == b'{"amount":5}'


def test_an_operation_path(plan: Plans) -> None:
    made = plan(
        "      - stepId: g\n"
        "        operationPath: '{$sourceDescriptions.things.url}#/paths/~1things~1{id}/get'\n"
        "        parameters: [{name: id, in: path, value: $inputs.id}]\n"
    )
    assert made.steps[0].call.template["path"] == "/things/{id}"


def test_styles_come_from_the_api(plan: Plans) -> None:
    made = plan(
        "      - stepId: l\n        operationId: listThings\n        parameters:\n"
        "          - {name: tag, in: query, value: $inputs.tags}\n"
        "          - {name: plain, in: query, value: $inputs.tags}\n"
        "          - {name: filter, in: query, value: {a: {b: 1}}}\n"
    )
    facts = Facts(run_id="r", inputs={"tags": ["x", "y"]})
    request = Program(made).prepare(0, Direction.FORWARD, facts)
    assert isinstance(request, FrozenRequest)
    assert request.target == "/things?tag=x&tag=y&plain=x,y&filter[a][b]=1"


def test_replacements_and_written_out_json(plan: Plans) -> None:
    made = plan(
        "      - stepId: m\n        operationId: makeThing\n"
        "        x-compensation: {none: fine}\n        requestBody:\n"
        '          payload: \'{"a": {"b": 1}, "id": "{$inputs.id}"}\'\n'
        "          replacements: [{target: /a/b, value: $inputs.note}]\n"
    )
    facts = Facts(run_id="r", inputs={"id": 'q"uote', "note": "n"})
    request = Program(made).prepare(0, Direction.FORWARD, facts)
    assert isinstance(request, FrozenRequest)
    assert request.body == b'{"a":{"b":"n"},"id":"q\\"uote"}'


def test_effects(plan: Plans) -> None:
    made = plan(
        MAKE + NONE + "}\n" + MAKE.replace("stepId: m", "stepId: n") + ", x-effects: none}\n"
        + MAKE.replace("stepId: m", "stepId: k") + NONE
        + ", x-idempotency: {by: client-id, alreadyDone: [409]}}\n"
    )  # fmt: skip
    effects = [step.call.effects for step in made.steps]
    assert effects == [Effects.UNKEYED, Effects.NONE, Effects.KEYED]


def test_a_verification_reads_the_same_outputs(plan: Plans) -> None:
    verify = (
        ", x-verify: {operationId: getThing, "
        "parameters: [{name: id, in: path, value: $inputs.id}]}}"
    )
    made = plan(MAKE + NONE + verify)
    program = Program(made)
    facts = Facts(run_id="r", inputs={"id": "x"})
    request = program.prepare_verify(0, Direction.FORWARD, facts)
    assert request.target == "/things/x"
    answer = Response(status=200, body=b'{"id": "x9"}')
    found = program.judge(0, Direction.FORWARD, facts, request, answer, verify=True)
    assert (found.outcome, found.outputs) == (Outcome.LANDED, {"id": "x9"})


def test_a_compensation_from_the_components(load: Callable[..., Loaded]) -> None:
    components = (
        "components:\n  x-compensations:\n    drop: {operationId: dropThing, kind: follow-up,\n"
        "      parameters: [{name: id, in: path, value: $inputs.id}]}\n"
    )
    steps = MAKE + ", x-compensation: {reference: $components.x-compensations.drop}}\n"
    compensation = load(steps + components).plan.steps[0].compensation
    assert compensation is not None
    assert compensation.kind is CompensationKind.FOLLOW_UP
    assert compensation.call.template["method"] == "DELETE"


def test_workflow_wide_parameters_and_failure_actions(plan: Plans) -> None:
    made = plan(
        GET + "}\n"
        + "      - {stepId: b, operationId: getThing,\n"
        + "         onFailure: [{name: r, type: retry, retryLimit: 1}],\n"
        + "         parameters: [{name: id, in: path, value: own}]}\n"
        + "    parameters:\n      - {name: id, in: path, value: shared}\n"
        + "      - {name: X-All, in: header, value: y}\n"
        + "    failureActions: [{name: r, type: retry, retryLimit: 4}]\n"
    )  # fmt: skip
    program, facts = Program(made), Facts(run_id="r", inputs={"id": "mine"})
    sent = [program.prepare(index, Direction.FORWARD, facts) for index in (0, 1)]
    assert [r.target for r in sent if isinstance(r, FrozenRequest)] == [
        "/things/mine",
        "/things/own",
    ]
    assert all(isinstance(r, FrozenRequest) and r.headers == (("X-All", "y"),) for r in sent)
    assert [s.call.retry.max_attempts for s in made.steps] == [5, 2]


def test_warnings(load: Callable[..., Loaded]) -> None:
    warnings = load(MAKE + NONE + ", x-colour: red}").warnings
    assert any("x-colour is not known" in text for text in warnings)
    assert any("w.m is unkeyed and cannot be verified" in text for text in warnings)


def test_the_digest_depends_on_the_content_alone(load: Callable[..., Loaded]) -> None:
    first = load(GET + "}\n").plan
    assert load("      # a comment\n" + GET + "}\n").plan.digest == first.digest
    assert load(GET + ", x-timeout: 5}\n").plan.digest != first.digest
    assert load(GET + ", x-start-within: 5}\n").plan.digest != first.digest


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_is_all_or_nothing(tmp_path: Path, plan: Plans) -> None:
    plan(GET + "}")
    assert [item.plan.workflow for item in load_path(tmp_path)] == ["w"]
    (tmp_path / "b.arazzo.yml").write_text((tmp_path / "w.arazzo.yaml").read_text() + MAKE + "}")
    with pytest.raises(InvalidDefinition) as caught:
        load_path(tmp_path)
    assert one(list(caught.value.problems)).place.startswith("b.arazzo.yml:")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_path(tmp_path)


def test_one_workflow_of_a_document() -> None:
    loaded = load_document(DATA / "stripe-mock/checkout.arazzo.yaml", workflow_id="checkout")
    assert len(loaded) == 1
    with pytest.raises(InvalidDefinition) as caught:
        load_document(DATA / "stripe-mock/checkout.arazzo.yaml", workflow_id="other")
    assert "one of: checkout" in one(list(caught.value.problems)).wanted


def test_json_documents_have_lines(tmp_path: Path, plan: Plans) -> None:
    import json

    from orchestrator.definitions.document import parse_document

    plan(GET + "}")
    value: Any = parse_document((tmp_path / "w.arazzo.yaml").read_text(), name="w").value
    path = tmp_path / "j.arazzo.json"
    path.write_text(json.dumps(value, indent=1))
    assert load_document(path)
    value["workflows"][0]["steps"][0]["colour"] = 1
    path.write_text(json.dumps(value, indent=1))
    with pytest.raises(InvalidDefinition) as caught:
        load_document(path)
    assert (
        one(list(caught.value.problems)).place == "j.arazzo.json:50 (/workflows/0/steps/0/colour)"
    )
