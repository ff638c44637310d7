"""Answers of an API as its document describes them: the document's example, or one from the schema.

Not every value that a schema allows, only one that is plausible: the same one each time, so that a
test says the same each time. What must be particular is given by the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from orchestrator.definitions.checking.apis import ApiOperation
from orchestrator.definitions.checking.schemas import Schema

DEEPEST = 6
"""Levels of objects in one another; schemas that hold themselves end there."""

_TEXTS: Mapping[str, str] = {
    "date-time": "2031-01-01T00:00:00Z", "date": "2031-01-01", "time": "00:00:00Z",
    "email": "someone@example.com", "uri": "https://example.com/", "url": "https://example.com/",
    "uuid": "01920000-0000-7000-8000-000000000001", "hostname": "example.com",
    "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
}  # fmt: skip
_SCALARS: Mapping[str, Any] = {"boolean": True, "null": None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Documented:
    """One answer that a document names."""

    status: int
    body: Any = None  # JSON; None: it has none
    headers: Mapping[str, str]


def documented(operation: ApiOperation) -> Iterator[Documented]:
    """What the operation may answer when it goes well, in ascending order of status.

    A document that names no status below 400 says nothing: then it is 200 without a body.
    """
    successes = [s for s in map(_status, operation.statuses) if s is not None and s < 400]
    for status in sorted(set(successes)) or [HTTPStatus.OK.value]:
        answer = operation.answer(status)
        yield Documented(
            status=status,
            body=_body(operation, answer),
            headers={
                str(name).lower(): str(sample(operation.header_schema(raw)))
                for name, raw in _mapping(answer.get("headers")).items()
            },
        )


def _status(said: str) -> int | None:
    if said == "DEFAULT":
        return None
    return int(said) if said.isdecimal() else int(said[0]) * 100


def _body(operation: ApiOperation, answer: Mapping[str, Any]) -> Any:
    content = _mapping(answer.get("content"))
    media = next((m for name, m in content.items() if "json" in str(name)), None)
    given = _mapping(media) if media is not None else answer  # the answer itself: Swagger 2.0
    examples = [given.get("example"), *_values(given.get("examples"))]
    for example in examples:
        if example is not None:
            return example
    return sample(operation.schema(given["schema"])) if "schema" in given else None


def _values(examples: Any) -> Iterator[Any]:
    for name, example in _mapping(examples).items():
        if "json" in str(name):  # Swagger 2.0: by media type
            yield example
        elif isinstance(example, Mapping) and "value" in example:
            yield example["value"]


def sample(schema: Schema, depth: int = 0) -> Any:
    """A value that fits, as far as its keywords tell; optional fields are left out far inside."""
    given = _given(schema)
    if given is not None:
        return given[0]
    types = schema.types()
    if "object" in types and (schema.fields() or "string" not in types):
        return _object(schema, depth)
    if "array" in types and "string" not in types:
        return [] if depth >= DEEPEST else [sample(schema.items(), depth + 1)]
    if "string" in types:
        return _text(schema)
    if types & {"integer", "number"}:
        return _number(schema)
    return next((_SCALARS[name] for name in ("boolean", "null") if name in types), None)


def _given(schema: Schema) -> Sequence[Any] | None:
    """What the schema itself offers."""
    choices = schema.choices()
    if choices:
        return choices
    for name in ("example", "default"):
        value = schema.keyword(name)
        if value is not None:
            return [value]
    examples = schema.keyword("examples")
    return examples if isinstance(examples, list) and examples else None


def _object(schema: Schema, depth: int) -> dict[str, Any]:
    fields = schema.fields()
    wanted = (
        fields if depth < DEEPEST else {n: f for n, f in fields.items() if n in _needed(schema)}
    )
    if depth >= 2 * DEEPEST:
        return {}
    return {
        name: sample(field, depth + 1)
        for name, field in wanted.items()
        if not field.says("writeOnly")
    }


def _needed(schema: Schema) -> set[str]:
    required = schema.keyword("required")
    return set(required) if isinstance(required, list) else set()


def _text(schema: Schema) -> str:
    text = _TEXTS.get(str(schema.keyword("format")), "text")
    shortest, longest = schema.keyword("minLength"), schema.keyword("maxLength")
    if isinstance(shortest, int):
        text = text.ljust(shortest, "x")
    return text[:longest] if isinstance(longest, int) else text


def _number(schema: Schema) -> int | float:
    least, most = schema.keyword("minimum"), schema.keyword("maximum")
    above = schema.keyword("exclusiveMinimum")
    if isinstance(above, int | float) and not isinstance(above, bool):
        least = above + 1
    if isinstance(least, int | float):
        return least
    return most if isinstance(most, int | float) and most < 1 else 1


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
