"""Every document that others have written: it compiles, or it is refused with these words."""
# ruff: noqa: E501 - each row of the tables is read as one line

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.definitions.checking.checker import check_file
from orchestrator.definitions.checking.report import Severity
from orchestrator.definitions.loading import load_document
from orchestrator.errors import InvalidDefinition
from orchestrator.service.checking import find_documents

DATA = Path(__file__).parents[2] / "data"
_NO_REUSE = "a request body object (contentType, payload, replacements): there are no components that a body could refer to"
_EITHER = "either a reference (with a value, where it is a parameter's), or the object itself"

VALID: dict[str, str] = {
    "jaredce-criteria/jsonPath.json": "getPets",
    "jaredce-criteria/regex.json": "deleteCurrentUser-apiKey",
    "jaredce-criteria/simple.json": "deleteCurrentUser-apiKey",
    "jaredce-criteria/xPath.json": "getPets",
    "jentic/workflows/openbanking.org.uk~confirmation-funds-openapi/workflows.arazzo.json": "funds-availability-check revoke-funds-confirmation-consent",
    "jentic/workflows/royalmail.com~click-and-drop/workflows.arazzo.json": "create-single-order-and-retrieve-label-oba-customers bulk-create-orders-and-update-status retrieve-specific-order-and-generate-label-oba-customers create-order-retrieve-detailed-info-update-status-channel-shipper-only create-and-immediately-delete-order-channel-shipper-only",
    "maestro-1.1.0/checkout-branching.arazzo.yaml": "checkout-with-branching",
    "maestro-1.1.0/shop.arazzo.yaml": "happy-path-checkout payment-refused-path",
    "museum/arazzo/museum-api.arazzo.yaml": "get-museum-hours events-crud",
    "museum/arazzo/museum-tickets.arazzo.yaml": "get-museum-tickets",
    "oai-1.0.0/LoginAndRetrievePets.arazzo.yaml": "loginUserRetrievePet",
    "oai-1.0.0/oauth.arazzo.yaml": "refresh-token-flow client-credentials-flow authorization-code-flow",
    "petstore-crud/swagger-petstore-crud.mended.arazzo.yaml": "crud-pet crud-order crud-user",
    "stripe-mock/checkout.arazzo.yaml": "checkout",
    "stripe-mock/two-charges.arazzo.yaml": "checkout",
    "wso2-petstore/01-basic-sequential.mended.arazzo.yaml": "create_get_delete_pet",
    "wso2-petstore/02-goto-and-end-actions.arazzo.yaml": "goto_on_success end_on_success goto_on_failure",
    "wso2-petstore/04-expressions-outputs.arazzo.yaml": "expression_tests",
    "wso2-petstore/05-nested-workflow.arazzo.yaml": "setup_pet verify_and_cleanup_pet order_with_dependency",
    "wso2-petstore/06-success-criteria.mended.arazzo.yaml": "success_criteria_tests",
    "wso2-petstore/07-operation-path.arazzo.yaml": "operation_path_test",
    "wso2-petstore/09-request-body-replacements.arazzo.yaml": "request_body_tests",
    "wso2-petstore/10-parameter-types.arazzo.yaml": "parameter_tests",
}
REFUSED: dict[str, list[tuple[str, str, str]]] = {
    "jentic/workflows/pinecone.io/workflows.arazzo.json": [
        (
            "workflows.arazzo.json:165 (/workflows/1/steps/1/requestBody/payload/ids)",
            "'$steps.query-similar-vectors.outputs.matches[*].id'",
            "a name, then .field, [0] or #/pointer; none for several values, as [*] is in JSONPath",
        ),
    ],
    "oai-1.0.0/ExtendedParametersExample.arazzo.yaml": [
        (
            "ExtendedParametersExample.arazzo.yaml:8 (/sourceDescriptions/0/url)",
            "./animals.yaml, but oai-1.0.0/animals.yaml: No such file or directory",
            "an OpenAPI document that can be read",
        ),
    ],
    "oai-1.0.0/FAPI-PAR.arazzo.yaml": [
        (
            "FAPI-PAR.arazzo.yaml:102 (/workflows/0/steps/0/operationId)",
            "'$sourceDescriptions.auth-api.PAR'",
            "an operation of auth-api; did you mean Par?",
        ),
    ],
    "oai-1.0.0/pet-coupons.arazzo.yaml": [
        (
            "pet-coupons.arazzo.yaml:40 (/workflows/0/steps/1/parameters/0)",
            "path parameter pet_id",
            "a parameter of the path /pet/{petId}/coupons",
        ),
        (
            "pet-coupons.arazzo.yaml:36 (/workflows/0/steps/1)",
            "no petId",
            "a value for the path parameter petId",
        ),
    ],
    "petstore-crud/swagger-petstore-crud.arazzo.yaml": [
        (
            "swagger-petstore-crud.arazzo.yaml:33 (/workflows/0/steps/0/requestBody/reference)",
            "reference",
            _NO_REUSE,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:53 (/workflows/0/steps/1/parameters/0/reference)",
            "reference beside in, name",
            _EITHER,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:71 (/workflows/0/steps/2/parameters/0/reference)",
            "reference beside in, name",
            _EITHER,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:99 (/workflows/1/steps/0/requestBody/reference)",
            "reference",
            _NO_REUSE,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:119 (/workflows/1/steps/1/parameters/0/reference)",
            "reference beside in, name",
            _EITHER,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:137 (/workflows/1/steps/2/parameters/0/reference)",
            "reference beside in, name",
            _EITHER,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:165 (/workflows/2/steps/0/requestBody/reference)",
            "reference",
            _NO_REUSE,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:185 (/workflows/2/steps/1/parameters/0/reference)",
            "reference beside in, name",
            _EITHER,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:203 (/workflows/2/steps/2/parameters/0/reference)",
            "reference beside in, name",
            _EITHER,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:212 (/workflows/2/steps/2/requestBody/reference)",
            "reference",
            _NO_REUSE,
        ),
        (
            "swagger-petstore-crud.arazzo.yaml:230 (/workflows/2/steps/3/parameters/0/reference)",
            "reference beside in, name",
            _EITHER,
        ),
    ],
    "usearazzo-petstore/petstore-order-workflow.arazzo.yaml": [
        (
            "petstore-order-workflow.arazzo.yaml:92 (/workflows/0/steps/2/requestBody/payload/shipDate)",
            "'$datetime.iso8601'",
            "$inputs.NAME, $steps.ID.outputs.NAME, $workflows.ID.outputs.NAME, $statusCode, $response.body#/POINTER, $response.header.NAME, $request.body#/POINTER, $request.(header|query|path).NAME, $url or $method",
        ),
    ],
    "wso2-petstore/01-basic-sequential.arazzo.yaml": [
        (
            "01-basic-sequential.arazzo.yaml:24 (/workflows/0/inputs/properties/petName/required)",
            "True",
            "the names of what is required, as an array beside `properties`",
        ),
    ],
    "wso2-petstore/03-retry-action.arazzo.yaml": [
        (
            "03-retry-action.arazzo.yaml:83 (/workflows/1/outputs/shouldNotExist)",
            "$steps.shouldNotRun.outputs.inventory",
            "an output of step shouldNotRun: it has none",
        ),
    ],
    "wso2-petstore/06-success-criteria.arazzo.yaml": [
        (
            "06-success-criteria.arazzo.yaml:56 (/workflows/0/steps/2/successCriteria/1/condition)",
            "'CriteriaTestPet' in '$response.body#/name == CriteriaTestPet'",
            "an expression that begins with $, a quoted string, a number, true, false, null, or an operator",
        ),
        (
            "06-success-criteria.arazzo.yaml:71 (/workflows/0/steps/3/successCriteria/0)",
            "no context",
            "the field context",
        ),
    ],
}


def test_the_tables_name_every_document() -> None:
    found = {path.relative_to(DATA).as_posix() for path in find_documents([str(DATA)])}
    assert {name for name in found if not name.startswith("oai-schema-tests/")} == {
        *VALID,
        *REFUSED,
    }


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str) -> None:
    loaded = load_document(DATA / name, effects_may_stay=True)
    assert [each.plan.workflow for each in loaded] == VALID[name].split()


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        load_document(DATA / name, effects_may_stay=True)
    found = [
        (each.place, each.found.replace(f"{DATA}/", ""), each.wanted)
        for each in caught.value.problems
    ]
    assert found == REFUSED[name]


@pytest.mark.parametrize("name", [*VALID, *REFUSED])
def test_a_check_has_errors_where_publishing_refuses(name: str) -> None:
    report = check_file(DATA / name, effects_may_stay=True)
    errors = [each for each in report.findings if each.severity is Severity.ERROR]
    found = {f"{Path(name).name}:{each.line} ({each.pointer})" for each in errors}
    assert found == {place for place, _, _ in REFUSED.get(name, ())}
