"""The shop's document and the workflows over it, each with one defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

POSTS = ("claim", "send", "sell", "hold", "free", "take", "release", "pay", "note", "count")
GETS = ("quote", "find", "look", "listing", "ping", "stock")
KEYED = {"x-idempotency": {"in": "header", "name": "Idempotency-Key"}}

Step = dict[str, Any]


def openapi() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    answers = {
        "200": {
            "description": "done",
            "content": {"application/json": {"schema": {
                "type": "object", "required": ["id", "amount"],
                "properties": {"id": {"type": "string"}, "amount": {"type": "integer"}},
            }}},
        },
        **{status: {"description": "refused"} for status in ("404", "409", "422", "429")},
    }  # fmt: skip
    for name in POSTS:
        body = {"content": {"application/json": {"schema": {
            "type": "object", "properties": {"n": {"type": "integer"}},
        }}}}  # fmt: skip
        key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}
        paths[f"/{name}"] = {
            "post": {"operationId": name, "requestBody": body, "parameters": [key],
                     "responses": answers}
        }  # fmt: skip
    for name in GETS:
        number = {"name": "n", "in": "query", "schema": {"type": "integer"}}
        paths[f"/{name}"] = {
            "get": {"operationId": name, "parameters": [number], "responses": answers}
        }
    return {"openapi": "3.1.0", "info": {"title": "Shop", "version": "1"}, "paths": paths}


def post(name: str, *, undo: str = "", api: str = "shop", keyed: bool = True, **more: Any) -> Step:
    step: Step = {
        "stepId": name, "operationId": f"$sourceDescriptions.{api}.{name}",
        "requestBody": {"contentType": "application/json", "payload": {"n": "$inputs.n"}},
    } | more  # fmt: skip
    if keyed:
        step |= KEYED
    if undo:
        step["x-compensation"] = {
            "operationId": f"$sourceDescriptions.{api}.{undo}", **KEYED,
            "requestBody": step["requestBody"],
        }  # fmt: skip
    else:
        step["x-compensation"] = {"none": "a note is not undone"}
    return step


def get(name: str, **more: Any) -> Step:
    return {
        "stepId": name, "operationId": f"$sourceDescriptions.shop.{name}",
        "parameters": [{"name": "n", "in": "query", "value": "$inputs.n"}],
    } | more  # fmt: skip


def again(limit: int, *conditions: str) -> list[dict[str, Any]]:
    action: dict[str, Any] = {"name": "again", "type": "retry", "retryAfter": 0.02}
    if conditions:
        action["criteria"] = [{"condition": one} for one in conditions]
    return [action | {"retryLimit": limit}]


RATES = {"shop": "1000/second", "meter": "1000/second", "narrow": "12/second"}

WORKFLOWS: dict[str, list[Step]] = {
    "clean": [get("ping"), post("note")],
    "tight": [get("quote", onFailure=again(0), **{"x-timeout": 2.0})],
    "vain": [post("claim", undo="release", onFailure=again(4, "$statusCode == 409"))],
    "greedy": [post("send", undo="release", api="meter")],
    "loose": [get("find", **{"x-timeout": 5.0})],
    "failing": [post("sell", undo="release")],
    "stuck": [post("hold", undo="free"), post("sell", undo="release")],
    "lame": [post("take", undo="release"), post("sell", undo="release")],
    "doubtful": [post("pay", undo="release", keyed=False)],
    "waiting": [get("look"), get("listing")],
    "narrow": [post("count", undo="release", api="narrow")],
    "drifting": [get("stock", successCriteria=[{"condition": "$statusCode <= 203"}])],
}


def write_config(folder: Path, url: str) -> None:
    """`apis/` and `workflows/`, a document for each workflow."""
    (folder / "apis").mkdir(parents=True)
    (folder / "workflows").mkdir()
    for name, rate in RATES.items():
        data = {
            "api": name, "base_url": url, "allow_private_addresses": True, "connections": 100,
            "breaker": False, "rate": rate,
        }  # fmt: skip
        (folder / "apis" / f"{name}.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    (folder / "workflows" / "shop.yaml").write_text(
        yaml.dump(openapi(), Dumper=_Plain, sort_keys=False)
    )
    sources = [{"name": name, "url": "shop.yaml", "type": "openapi"} for name in RATES]
    for name, steps in WORKFLOWS.items():
        document = {
            "arazzo": "1.0.1", "info": {"title": name, "version": "1"},
            "sourceDescriptions": sources,
            "workflows": [{
                "workflowId": name, "steps": steps,
                "inputs": {"type": "object", "properties": {"n": {"type": "integer"}}},
            }],
        }  # fmt: skip
        text = yaml.dump(document, Dumper=_Plain, sort_keys=False)
        (folder / "workflows" / f"{name}.arazzo.yaml").write_text(text)


class _Plain(yaml.SafeDumper):
    """Without aliases, as people write."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
