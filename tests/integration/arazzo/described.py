"""What an OpenAPI document says an API answers: its operations, and a value for each schema.

Read here a second time, without the product's own reader, so that the two may differ. Values are
the same each time: the document's examples first, then the plainest that its schema takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

METHODS = ("get", "post", "put", "patch", "delete")
_PLAIN: Mapping[str, Any] = {
    "integer": 1, "number": 1.5, "boolean": True, "string": "text", "null": None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Described:
    """One operation; its parts as the document has them, with every reference followed."""

    operation_id: str
    method: str
    path: str
    parameters: list[Mapping[str, Any]]
    bodies: Mapping[str, Any]  # media type objects by media type
    status: int  # of a success
    answer: Mapping[str, Any] | None  # the media type object of its JSON

    @property
    def answer_schema(self) -> Mapping[str, Any]:
        """Of the JSON that a success brings; {} where nothing is said."""
        found: Mapping[str, Any] = (self.answer or {}).get("schema", {})
        return found

    @property
    def named(self) -> list[tuple[Any, Any]]:
        """Request bodies and answers that bear the same name: pairs that belong together."""
        answers = (self.answer or {}).get("examples", {})
        return [
            (example["value"], answers[name]["value"])
            for media in self.bodies.values()
            for name, example in media.get("examples", {}).items() if name in answers
        ]  # fmt: skip

    def example(self) -> Any:
        """What a success brings, without knowing anything."""
        answer = self.answer or {}
        named = next(iter(answer.get("examples", {}).values()), None)
        if "example" in answer:
            return answer["example"]
        return example_of(self.answer_schema) if named is None else named["value"]


def operations(path: Path) -> list[Described]:
    """All of a document. Fixed paths first, as whoever routes by them has to try them."""
    raw = yaml.safe_load(path.read_text())
    document = _followed(raw, raw, ())
    found = [
        _described(where, method, item)
        for where, item in document["paths"].items() for method in METHODS if method in item
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.path.count("{"))


def example_of(schema: Mapping[str, Any]) -> Any:
    """The same value each time, which the schema takes."""
    for word in ("example", "default", "const"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    for word in ("allOf", "oneOf", "anyOf"):
        if word in schema:
            return example_of(schema[word][0])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind:
        case "array":
            return [example_of(schema.get("items", {}))]
        case "object":
            properties = schema.get("properties", {})
            return {name: example_of(one) for name, one in properties.items()}
        case "string" if schema.get("format") == "date-time":
            return "2026-01-01T00:00:00Z"
        case _:
            return schema.get("minimum", _PLAIN[kind])


def _described(path: str, method: str, item: Mapping[str, Any]) -> Described:
    operation = item[method]
    status, answer = _success(operation["responses"])
    return Described(
        operation_id=operation["operationId"], method=method.upper(), path=path,
        parameters=[*item.get("parameters", ()), *operation.get("parameters", ())],
        bodies=operation.get("requestBody", {}).get("content", {}), status=status, answer=answer,
    )  # fmt: skip


def _success(responses: Mapping[str, Any]) -> tuple[int, Mapping[str, Any] | None]:
    for status, response in responses.items():
        if str(status).startswith("2"):
            return int(status), response.get("content", {}).get("application/json")
    return 200, None


def _followed(value: Any, root: Any, inside: tuple[str, ...]) -> Any:
    """The value with what its references name; one that leads to itself says nothing further in."""
    if isinstance(value, list):
        return [_followed(item, root, inside) for item in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if not isinstance(reference, str):
        return {name: _followed(item, root, inside) for name, item in value.items()}
    if reference in inside:
        return {}
    target = root
    for part in _parts(reference):
        target = target[part]
    return _followed(target, root, (*inside, reference))


def _parts(reference: str) -> Iterator[str]:
    for part in reference.removeprefix("#/").split("/"):
        yield unquote(part).replace("~1", "/").replace("~0", "~")
