"""The APIs that tests generate from OpenAPI documents keep to those documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.integration.arazzo.described import example_of, operations
from tests.integration.arazzo.generated import Answer, GeneratedApi, Seen

DATA = Path(__file__).parents[2] / "data"
FOLDERS = ["wso2-petstore", "petstore-crud", "jaredce-criteria", "maestro-1.1.0", "stripe-mock"]
DOCUMENTS = sorted(
    path
    for folder in FOLDERS
    for path in (DATA / folder).iterdir()
    if "openapi" in path.name or path.name.endswith("-api.yaml")
)  # fmt: skip


def request(operation_id: str, path: str, body: Any = None, **names: str) -> Seen:
    return Seen(operation_id=operation_id, path=path, names=names, query={}, headers={}, body=body)


def ask(api: GeneratedApi, seen: Seen) -> Answer:
    one = next(one for one in api.operations if one.operation_id == seen.operation_id)
    return api.answer(one, seen)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_answered_fits_the_schema_of_the_answer(path: Path) -> None:
    found = [one for one in operations(path) if one.answer is not None]
    assert found
    for one in found:
        Draft202012Validator(one.answer_schema).validate(one.example())


def test_schemas_without_examples_have_plain_values() -> None:
    schema = {"type": "object", "properties": {
        "a": {"type": "array", "items": {"enum": ["x", "y"]}}, "b": {"oneOf": [{"type": "number"}]},
        "c": {"type": "integer", "minimum": 7}, "d": {"type": "string", "format": "date-time"},
        "e": {"const": 3}, "f": {"type": "boolean"},
    }}  # fmt: skip
    assert example_of(schema) == {
        "a": ["x"], "b": 1.5, "c": 7, "d": "2026-01-01T00:00:00Z", "e": 3, "f": True,
    }  # fmt: skip


def test_what_is_created_can_be_read_changed_and_deleted_once() -> None:
    api = GeneratedApi(DATA / "petstore-crud" / "swagger-petstore.openapi.json")
    order = {"petId": 7, "quantity": 1}
    made = ask(api, request("placeOrder", "/store/order", order))
    number = str(made.body["id"])
    read = request("getOrderById", f"/store/order/{number}", orderId=number)
    gone = request("deleteOrder", f"/store/order/{number}", orderId=number)
    assert (made.status, {**made.body, **order}) == (200, made.body)
    assert ask(api, read).body == made.body
    assert [ask(api, seen).status for seen in (gone, read, gone)] == [200, 404, 404]
    ask(api, request("createUser", "/user", {"username": "ada", "email": "a@b.org"}))
    ask(api, request("updateUser", "/user/ada", {"email": "c@d.org"}, username="ada"))
    found = ask(api, request("getUserByName", "/user/ada", username="ada"))
    assert found.body["email"] == "c@d.org"


def test_a_request_that_the_document_does_not_allow_is_refused() -> None:
    api = GeneratedApi(DATA / "maestro-1.1.0" / "shop-openapi.yaml")
    wrong = ask(api, request("addToCart", "/cart/items", {"productId": "p-1", "quantity": 0}))
    odd = ask(api, request("getProduct", "/products/1", productId="1"))
    assert (wrong.status, odd.status) == (400, 400)
    assert api.held == {}


def test_an_answer_bears_the_name_of_its_request_and_scripts_come_first() -> None:
    api = GeneratedApi(DATA / "maestro-1.1.0" / "shop-openapi.yaml")
    one = next(one for one in api.operations if one.operation_id == "processPayment")
    bodies = [asked for asked, _ in one.named]
    api.script("processPayment", Answer(status=503, when=lambda seen: seen.names["orderId"] == "x"))
    found = [
        ask(api, request("processPayment", f"/orders/{order}/payment", body, orderId=order))
        for order in ("x", "y") for body in bodies
    ]  # fmt: skip
    assert [answer.status for answer in found] == [503, 200, 200, 200]
    assert [answer.body["status"] for answer in found[1:]] == ["REFUSED", "OK", "REFUSED"]
    with pytest.raises(AssertionError):
        api.script("payNothing", Answer())
