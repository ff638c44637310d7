"""Documents of others run on a worker, and together take every kind of action and criterion.

As they are, but for three that are not valid (mended beside the original) and those whose undos the
test wants to see. The APIs are generated from their OpenAPI documents; what was taken is read off
the audit of the runs, not off the documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.core.states import RunStatus
from orchestrator.ports import RunRecord
from orchestrator.service.runs import RunView
from orchestrator.service.submitting import Submission
from orchestrator.wiring_services import Services
from tests.integration.arazzo.generated import ALWAYS, Answer, GeneratedApi, serve
from tests.integration.stripe.stack import settle, stack

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "data"
APIS = {
    "petstore": "wso2-petstore/petstore-openapi.yaml",
    "swagger-petstore-openapi-3-0": "petstore-crud/swagger-petstore.openapi.json",
    "users-openAPI": "jaredce-criteria/users-openapi.json",
    "pets-openAPI": "jaredce-criteria/pet-openapi.json",
    "checkout-api": "maestro-1.1.0/checkout-branching-api.yaml",
    "shop-api": "maestro-1.1.0/shop-openapi.yaml",
    "stripe": "stripe-mock/stripe-mock.openapi.yaml",
}


UNCHANGED = (
    "wso2-petstore/01-basic-sequential.mended.arazzo.yaml",
    "wso2-petstore/04-expressions-outputs.arazzo.yaml",
    "wso2-petstore/06-success-criteria.mended.arazzo.yaml",
    "wso2-petstore/07-operation-path.arazzo.yaml",
    "wso2-petstore/09-request-body-replacements.arazzo.yaml",
    "wso2-petstore/10-parameter-types.arazzo.yaml",
    "petstore-crud/swagger-petstore-crud.mended.arazzo.yaml",
    "maestro-1.1.0/shop.arazzo.yaml",
    "jaredce-criteria/simple.json",
    "jaredce-criteria/regex.json",
    "jaredce-criteria/jsonPath.json",
    "jaredce-criteria/xPath.json",
)
WITH_UNDO = (
    "wso2-petstore/02-goto-and-end-actions.arazzo.yaml",
    "wso2-petstore/03-retry-action.arazzo.yaml",
    "wso2-petstore/05-nested-workflow.arazzo.yaml",
    "maestro-1.1.0/checkout-branching.arazzo.yaml",
    "stripe-mock/two-charges.arazzo.yaml",
)
JUMPS = "jumps.arazzo.yaml"
WITH_EFFECT = {"deletePet", "placeOrder", "processPayment", "confirmOrder", "cancelOrder"}
USER = {"username": "ada", "password": "secret", "tags": ["tag1", "tag2"]}
REFUSED = "order-refused"
XML = "<pets><pet><id>{}</id></pet></pets>"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run that is wanted, by the document and the workflow."""

    document: str
    workflow: str
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Played:
    """What became of all of them, by name."""

    runs: Mapping[str, RunRecord]
    views: Mapping[str, RunView]
    apis: Mapping[str, GeneratedApi]

    def chain(self, name: str) -> str:
        """The steps that a run visited and undid."""
        view = self.views[name]
        backward = [f"{link.step_id}'" for link in view.backward]
        return " ".join([*(link.step_id for link in view.forward), *backward])

    def outcomes(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Every record of how a step ended, with the name of its run."""
        return [
            (name, record.data) for name, view in self.views.items()
            for record in view.audit if record.kind.startswith("step.") and "reason" in record.data
        ]  # fmt: skip


CASES: Mapping[str, Case] = {
    "sequential": Case(document=UNCHANGED[0], workflow="create_get_delete_pet",
                       inputs={"petName": "Rex", "petStatus": "sold"}),
    "expressions": Case(document=UNCHANGED[1], workflow="expression_tests"),
    "criteria": Case(document=UNCHANGED[2], workflow="success_criteria_tests"),
    "paths": Case(document=UNCHANGED[3], workflow="operation_path_test"),
    "bodies": Case(document=UNCHANGED[4], workflow="request_body_tests"),
    "parameters": Case(document=UNCHANGED[5], workflow="parameter_tests"),
    "crud-pet": Case(document=UNCHANGED[6], workflow="crud-pet"),
    "crud-order": Case(document=UNCHANGED[6], workflow="crud-order"),
    "crud-user": Case(document=UNCHANGED[6], workflow="crud-user"),
    "shop": Case(document=UNCHANGED[7], workflow="happy-path-checkout"),
    "shop-busy": Case(document=UNCHANGED[7], workflow="payment-refused-path",
                      inputs={"orderId": "order-busy"}),
    "shop-broken": Case(document=UNCHANGED[7], workflow="payment-refused-path",
                        inputs={"orderId": "order-never"}),
    "simple": Case(document=UNCHANGED[8], workflow="deleteCurrentUser-apiKey", inputs=USER),
    "regex": Case(document=UNCHANGED[9], workflow="deleteCurrentUser-apiKey", inputs=USER),
    "regex/no": Case(document=UNCHANGED[9], workflow="deleteCurrentUser-apiKey",
                     inputs={**USER, "username": "eve"}),
    "jsonpath": Case(document=UNCHANGED[10], workflow="getPets", inputs=USER),
    "jsonpath/no": Case(document=UNCHANGED[10], workflow="getPets",
                        inputs={**USER, "tags": ["none"]}),
    "xpath": Case(document=UNCHANGED[11], workflow="getPets",
                  inputs={**USER, "tags": ["xml"]}),
    "xpath/no": Case(document=UNCHANGED[11], workflow="getPets",
                     inputs={**USER, "tags": ["xml-none"]}),
    "goto": Case(document=WITH_UNDO[0], workflow="goto_on_success"),
    "end": Case(document=WITH_UNDO[0], workflow="end_on_success"),
    "goto-failed": Case(document=WITH_UNDO[0], workflow="goto_on_failure"),
    "retry": Case(document=WITH_UNDO[1], workflow="retry_then_goto_fallback"),
    "retry-end": Case(document=WITH_UNDO[1], workflow="expect_error_retry_then_end"),
    "nested": Case(document=WITH_UNDO[2], workflow="verify_and_cleanup_pet"),
    "depending": Case(document=WITH_UNDO[2], workflow="order_with_dependency"),
    "paid": Case(document=WITH_UNDO[3], workflow="checkout-with-branching",
                 inputs={"orderId": "order-paid"}),
    "refused": Case(document=WITH_UNDO[3], workflow="checkout-with-branching",
                    inputs={"orderId": REFUSED}),
    "charges": Case(document=WITH_UNDO[4], workflow="checkout"),
    "charges/declined": Case(document=WITH_UNDO[4], workflow="checkout",
                             inputs={"source2": "tok_chargeDeclined"}),
    "charges/500": Case(document=WITH_UNDO[4], workflow="checkout", inputs={"source2": "tok_500"}),
    "hand-over": Case(document=JUMPS, workflow="hand_over"),
    "fall-back": Case(document=JUMPS, workflow="fall_back"),
    "through": Case(document=JUMPS, workflow="log_in_and_again"),
}  # fmt: skip


def script(apis: Mapping[str, GeneratedApi]) -> None:
    """What the APIs do that their documents do not tell: failures, and answers that depend."""

    def order(name: str) -> Any:
        return lambda seen: seen.names["orderId"] == name

    def tagged(tag: str) -> Any:
        return lambda seen: seen.query["tags"] == [tag]

    def pet(number: str) -> Any:
        return lambda seen: seen.names["petId"] == number

    pets, shop, stripe = apis["petstore"], apis["shop-api"], apis["stripe"]
    apis["pets-openAPI"].held["/pet"]["1"] = {"id": 1, "name": "Rex", "photoUrls": []}
    pets.held["/pet"]["15"] = {"id": 15, "name": "Fallback", "photoUrls": []}
    pets.script(
        "getPetById",
        Answer(status=401, when=pet("4711")),
        Answer(status=404, when=pet("4711")),
        Answer(body={"id": 4711, "name": "Late", "photoUrls": []}, when=pet("4711")),
    )
    pets.script("loginUser", Answer(body="logged in user session: 1", times=ALWAYS))
    pets.script("placeOrder", Answer(status=400, body={"message": "no orders today"}))
    apis["pets-openAPI"].script(
        "findPetsByTags",
        Answer(body=[], when=tagged("none")),
        Answer(text=XML.format(1), media="application/xml", when=tagged("xml")),
        Answer(text=XML.format(2), media="application/xml", when=tagged("xml-none")),
    )
    token = {"AccessToken": "eyJh.eyJz.c2ln"}
    apis["users-openAPI"].script(
        "loginUser",
        Answer(body={"AccessToken": "no token"}, when=lambda seen: seen.body["username"] == "eve"),
        Answer(body=token, times=ALWAYS),
    )
    shop.script(
        "processPayment",
        Answer(status=503, headers={"Retry-After": "0.2"}, when=order("order-busy")),
        Answer(status=503, headers={"Retry-After": "0.1"}, times=3, when=order("order-never")),
    )
    apis["checkout-api"].script(
        "processPayment", Answer(body={"status": "REFUSED"}, when=order(REFUSED))
    )
    stripe.script("PostCharges", *(
        Answer(status=status, body={"error": {"code": code}}, times=ALWAYS, when=source(code))
        for code, status in {"tok_chargeDeclined": 402, "tok_500": 500}.items()
    ))  # fmt: skip


def source(name: str) -> Any:
    return lambda seen: seen.body["source"] == name


async def play(folder: Path, services: Services, apis: Mapping[str, GeneratedApi]) -> Played:
    """Publish all documents, and run every case to its end."""
    versions = {}
    for name in (*UNCHANGED, *WITH_UNDO, JUMPS):
        path = with_undo(folder, name) if name in WITH_UNDO else DATA / name
        path = HERE / name if name == JUMPS else path
        for one in await services.workflows.publish(path, by="test", effects_may_stay=True):
            versions[name, one.version.workflow] = one.version.version
    runs = await settle(services, [
        Submission(
            workflow=case.workflow, version=versions[case.document, case.workflow],
            inputs=case.inputs, idempotency_key=name,
        )
        for name, case in CASES.items()
    ])  # fmt: skip
    views = {name: await services.runs.show(run.id) for name, run in runs.items()}
    return Played(runs=runs, views=views, apis=apis)


def with_undo(folder: Path, name: str) -> Path:
    """A copy of a document that says what undoes each of its steps, with its APIs beside it."""
    written = yaml.safe_load((DATA / name).read_text())
    for step in (step for one in written["workflows"] for step in one["steps"]):
        undo = undo_of(step)
        if undo is not None:
            step["x-compensation"] = undo
        if step.get("operationId") == "PostCharges":
            step["x-idempotency"] = {"in": "header", "name": "Idempotency-Key"}
    for one in written["workflows"]:  # an output of a step that gives none: rightly refused
        one.get("outputs", {}).pop("shouldNotExist", None)
    for described in written["sourceDescriptions"]:
        described["url"] = str((DATA / name).parent / described["url"])
    path = folder / Path(name).name
    path.write_text(yaml.safe_dump(written))
    return path


def undo_of(step: Mapping[str, Any]) -> Mapping[str, Any] | None:
    outputs = f"$steps.{step['stepId']}.outputs"
    match step.get("operationId"):
        case "addPet":
            return {
                "operationId": "deletePet",
                "parameters": [{"name": "petId", "in": "path", "value": f"{outputs}.petId"}],
            }
        case "PostCharges":
            return {
                "operationId": "PostRefunds",
                "x-idempotency": {"in": "header", "name": "Idempotency-Key"},
                "requestBody": {
                    "contentType": "application/x-www-form-urlencoded",
                    "payload": {"charge": f"{outputs}.id"},
                },
            }
        case operation if operation in WITH_EFFECT:
            return {"none": "the test looks at what it did"}
        case _:
            return None


def configured(folder: Path, url: str) -> Path:
    """A configuration folder with all APIs."""
    (folder / "apis").mkdir(parents=True)
    for name in APIS:
        api = {"api": name, "base_url": f"{url}/{name}", "allow_private_addresses": True}
        (folder / "apis" / f"{name}.yaml").write_text(yaml.safe_dump(api))
    return folder


async def test_documents_from_the_wild(tmp_path: Path) -> None:
    async with serve({name: DATA / path for name, path in APIS.items()}) as (apis, url):
        script(apis)
        config = configured(tmp_path / "config", url)
        async with stack(tmp_path / "state", config, [], {}) as services:
            played = await play(tmp_path, services, apis)
    endings = {name: run.status.value for name, run in played.runs.items()}
    assert {name: end for name, end in endings.items() if end != RunStatus.SUCCEEDED} == ENDINGS
    assert {name: played.chain(name) for name in CHAINS} == CHAINS
    assert {name: played.runs[name].outputs for name in OUTPUTS} == OUTPUTS
    assert kinds_of_actions(played) == ACTIONS
    assert kinds_of_criteria(played) == {"simple", "regex", "jsonpath", "xpath"}
    assert_retries_waited_as_told(played)
    assert_the_apis_saw_what_was_wanted(apis)


def kinds_of_actions(played: Played) -> set[str]:
    """Every kind of action that some run followed."""
    found = set()
    for _, data in played.outcomes():
        action = data.get("action")
        if action is not None:
            to = action.get("to")
            place = "" if to is None else " workflow" if to in CALLED else " step"
            found.add(f"{action['on']} {action['type']}{place}")
    return found


def kinds_of_criteria(played: Played) -> set[str]:
    """Kinds that held in some run and did not in another, as the reasons of the latter tell."""
    broken = set()
    for _, data in played.outcomes():
        _, not_, said = data["reason"].partition("not ")
        if not_:
            kind = said.partition(" ")[0]
            broken.add("simple" if kind.startswith("$") else kind)
    assert all(played.runs[kind].status is RunStatus.SUCCEEDED for kind in CRITERIA_THAT_HOLD)
    return broken


def assert_retries_waited_as_told(played: Played) -> None:
    """`retryAfter` where nothing is said, and what the API asks for where it does."""

    def waits(name: str) -> list[float]:
        return [
            event["retry_after_seconds"] for run, data in played.outcomes() if run == name
            for event in data.get("events", ()) if event.get("retryable")
        ]  # fmt: skip

    assert waits("retry-end") == [1, 1, 1]
    assert waits("shop-busy") == [0.2]
    assert waits("shop-broken") == [0.1, 0.1, 0.1]


def assert_the_apis_saw_what_was_wanted(apis: Mapping[str, GeneratedApi]) -> None:
    pets, stripe = apis["petstore"], apis["stripe"]
    left = sorted(pet["name"] for pet in pets.held["/pet"].values())
    assert left == ["EndTestPet", "ExpressionTestPet", "Fallback", "HandedOver", "Rex"]
    assert pets.calls("getInventory") == []
    assert [
        one.headers["api_key"] for one in pets.calls("deletePet") if "api_key" in one.headers
    ] == ["special-api-key-123"]
    searches = apis["pets-openAPI"].calls("findPetsByTags")
    assert {tuple(one.query["tags"]) for one in searches} >= {("tag1", "tag2")}
    assert {one.headers["Authorization"] for one in searches} == {"eyJh.eyJz.c2ln"}
    declined = [one.body for one in stripe.calls("PostCharges") if one.body["amount"] == 700]
    assert sorted(one["source"] for one in declined) == ["tok_500"] * 3 + [
        "tok_chargeDeclined", "tok_visa",
    ]  # fmt: skip
    refunded = [one.body["charge"] for one in stripe.calls("PostRefunds")]
    assert len(refunded) == 1
    assert refunded[0] in stripe.held["/v1/charges"]
    acts = sorted(f"{one.operation_id} {one.names['orderId']}" for one in apis["checkout-api"].seen)
    assert acts == [
        "cancelOrder order-refused", "confirmOrder order-paid",
        "processPayment order-paid", "processPayment order-refused",
    ]  # fmt: skip
    for api in apis.values():
        api.assert_scripts_are_used()


CRITERIA_THAT_HOLD = ("simple", "regex", "jsonpath", "xpath")
CALLED = {"to:look_around"}
ACTIONS = {
    "success end", "success goto step", "success goto workflow",
    "failure end", "failure goto step", "failure goto workflow",
    "failure retry", "failure retry step", "failure retry workflow",
}  # fmt: skip
ENDINGS = {
    # A server error leaves it in doubt whether there is a charge, also after the last retry.
    "charges/500": "escalated",
    "charges/declined": "compensated",
    "crud-user": "compensated",  # the document reads a user by id, the API by name
    "depending": "compensated",
    "jsonpath/no": "compensated",
    "regex/no": "compensated",
    "retry-end": "compensated",
    "shop-broken": "compensated",
    "xpath/no": "compensated",
}
CHAINS = {
    "goto": "createPet cleanupPet",
    "end": "createPet",
    "goto-failed": "tryGetNonExistent fallbackStep",
    "retry": "tryGetPet fallbackStep",
    "nested": "setupPetWorkflow/$inputs setupPetWorkflow/createPet setupPetWorkflow"
              " verifyPet cleanupPet",
    "depending": "workflow:setup_pet/$inputs workflow:setup_pet/createPet workflow:setup_pet"
                 " placeOrderStep workflow:setup_pet/createPet'",
    "paid": "pay confirm-order",
    "refused": "pay cancel-order",
    "charges/declined": "charge1 charge2 charge1'",
    "hand-over": "createPet to:look_around/$inputs to:look_around/find to:look_around",
    "fall-back": "missing to:look_around/$inputs to:look_around/find to:look_around",
    "through": "logIn fetch logIn fetch to:look_around/$inputs to:look_around/find"
               " to:look_around fetch",
}  # fmt: skip
OUTPUTS: Mapping[str, Mapping[str, Any]] = {
    "goto-failed": {"fallbackResult": 200},
    "paid": {"finalPaymentStatus": "OK"},
    "shop": {"totalSpent": 499.8, "transactionId": "tx-9f2c1"},
    "bodies": {
        "replacedName": "ReplacedPet", "replacedCategory": "ReplacedCategory",
        "templateName": "ReplacedPet-v2",
    },
}  # fmt: skip
