"""A small API and a workflow over it of which nothing bad can be said."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.definitions.checking.checker import check_file
from orchestrator.definitions.checking.maturity import Deployment
from orchestrator.definitions.checking.report import DocumentReport

_ORDER = {
    "type": "object", "required": ["id", "total"],
    "properties": {"id": {"type": "string"}, "total": {"type": "number"}},
}  # fmt: skip
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_JSON = "application/json"


def _operation(name: str, status: str = "200", **more: Any) -> dict[str, Any]:
    answer = {"description": "", "content": {_JSON: {"schema": {"$ref": "#/components/schemas/O"}}}}
    responses = {status: answer, "404": {"description": "no such thing"}}
    return {"operationId": name, "responses": responses, **more}


_BODY = {
    "required": True,
    "content": {_JSON: {"schema": {
        "type": "object", "required": ["item"], "additionalProperties": False,
        "properties": {
            "item": {"type": "string"}, "amount": {"type": "integer"},
            "size": {"enum": ["small", "large"]}, "order": {"$ref": "#/components/schemas/O"},
        },
    }}},
}  # fmt: skip
API: dict[str, Any] = {
    "openapi": "3.0.3", "info": {"title": "shop", "version": "1"},
    "paths": {
        "/orders": {"post": _operation("createOrder", "201", requestBody=_BODY)},
        "/orders/{id}": {
            "parameters": [_ID],
            "get": _operation("getOrder", parameters=[
                {"name": "depth", "in": "query", "schema": {"type": "integer"}}
            ]),
            "delete": {"operationId": "deleteOrder", "responses": {"204": {"description": ""}}},
        },
        "/orders/{id}/mail": {"post": _operation("sendMail", parameters=[_ID])},
        "/payments": {"post": _operation("charge", parameters=[
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}},
            {"name": "order", "in": "query", "required": True, "schema": {"type": "string"}},
        ])},
        "/payments/{id}/refund": {"post": _operation("refund", parameters=[_ID])},
    },
    "components": {"schemas": {"O": _ORDER}},
}  # fmt: skip

KEY = {"in": "header", "name": "Idempotency-Key"}


def step(name: str, operation: str, **more: Any) -> dict[str, Any]:
    """A step that gives the id of what it is answered with."""
    return {
        "stepId": name,
        "operationId": operation,
        "outputs": {"id": "$response.body#/id"},
        **more,
    }


def path_id(expression: str) -> list[dict[str, Any]]:
    """The path parameter that most operations take."""
    return [{"name": "id", "in": "path", "value": expression}]


def undo(operation: str, expression: str) -> dict[str, Any]:
    """An `x-compensation` that takes an id."""
    return {"operationId": operation, "parameters": path_id(expression), "x-idempotency": KEY}


GOOD: dict[str, Any] = {
    "arazzo": "1.0.1",
    "info": {"title": "shop", "version": "1"},
    "sourceDescriptions": [{"name": "shop", "url": "shop.json", "type": "openapi"}],
    "workflows": [{
        "workflowId": "buy", "x-deadline": 60, "x-owner": "orders", "x-rehearsed": "2026-01-01",
        "inputs": {"type": "object", "properties": {"item": {"type": "string"}}},
        "steps": [
            step("order", "createOrder", **{
                "requestBody": {"contentType": _JSON, "payload": {"item": "$inputs.item"}},
                "x-idempotency": KEY,
                "x-compensation": undo("deleteOrder", "$steps.order.outputs.id"),
            }),
            step("pay", "charge", **{
                "parameters": [
                    {"name": "order", "in": "query", "value": "$steps.order.outputs.id"}
                ],
                "x-idempotency": KEY,
                "x-compensation": undo("refund", "$steps.pay.outputs.id"),
            }),
            step("look", "getOrder", parameters=path_id("$steps.order.outputs.id")),
        ],
        "outputs": {"order": "$steps.look.outputs.id"},
    }],
}  # fmt: skip

Change = Callable[[dict[str, Any], list[dict[str, Any]]], object]
"""Spoils a document: is given its workflow and the steps of it."""


def spoilt(change: Change) -> dict[str, Any]:
    """A copy of GOOD with a change."""
    document = copy.deepcopy(GOOD)
    flow = document["workflows"][0]
    change(flow, flow["steps"])
    return document


def check(folder: Path, document: Any, *, limits: tuple[str, ...] = ("shop",)) -> DocumentReport:
    """Write document and API into a folder, and check."""
    (folder / "shop.json").write_text(json.dumps(API))
    path = folder / "buy.arazzo.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document, indent=1))
    return check_file(path, deployment=Deployment(limits=limits))


CASES_OF_SARIF: list[Change] = [
    lambda w, s: s[0].pop("x-compensation"),
    lambda w, s: s[1].update(operationId="chrge"),
    lambda w, s: w.update(outputs={"x": "$steps.look.outputs.y"}),
]
"""An error, a warning and a note come of them."""
