"""Schemas of requests and answers as flat lists of fields.

Read tolerantly: what a document does not say, or says in a broken way, is simply not evidence.
References are followed within the document; depth and number of fields are bounded, so that
recursive schemas end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.definitions.discovery.lexicon import joined
from orchestrator.definitions.references import followed

_DEPTH = 4
_MOST_FIELDS = 600


@dataclass(frozen=True, slots=True)
class Field:
    """One property somewhere in an object."""

    pointer: str  # /order/pspReference
    type: str  # of its schema; "" when it is not said
    required: bool  # together with all objects around it
    needed: bool  # in the object that holds it
    enum: tuple[Any, ...] = ()
    read_only: bool = False
    write_only: bool = False
    is_open: bool = False  # an object that may hold what the document does not name
    description: str = ""

    @property
    def name(self) -> str:
        """The last token."""
        return self.pointer.rsplit("/", 1)[-1]

    @property
    def depth(self) -> int:
        """1 for a property of the object itself."""
        return self.pointer.count("/")


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a JSON value."""

    type: str = ""  # object, array, string, …; "" when it is not said
    name: str = ""  # of the schema, when it is a reference
    fields: tuple[Field, ...] = ()
    closed: bool = False  # no other properties are allowed
    has_named: dict[str, tuple[Field, ...]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_known(self) -> bool:
        """Whether the document says anything of it."""
        return bool(self.type or self.fields)

    def top(self) -> dict[str, Field]:
        """The object's own properties."""
        return {each.name: each for each in self.fields if each.depth == 1}

    def named(self, name: str) -> tuple[Field, ...]:
        """Fields with this name in any spelling, the outermost first."""
        if not self.has_named and self.fields:
            for each in sorted(self.fields, key=lambda each: each.depth):
                key = joined(each.name)
                self.has_named[key] = (*self.has_named.get(key, ()), each)
        return self.has_named.get(joined(name), ())

    def inside(self, outer: Field) -> dict[str, Field]:
        """The properties of an object among the fields."""
        above = outer.pointer + "/"
        depth = outer.depth + 1
        return {
            each.name: each for each in self.fields
            if each.depth == depth and each.pointer.startswith(above)
        }  # fmt: skip

    def at(self, pointer: str) -> Field | None:
        """The field at a pointer."""
        return next((each for each in self.fields if each.pointer == pointer), None)


NOTHING = Shape()


class Schemas:
    """The schemas of one document. Shapes of references are worked out once."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[str, Shape] = {}

    def follow(self, value: Any) -> Any:
        """What a reference within the document leads to; an empty object where it leads nowhere."""
        return followed(self._root, value)

    def shape(self, schema: Any) -> Shape:
        """The shape of a schema."""
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if isinstance(reference, str):
            if reference not in self._known:
                self._known[reference] = self._shape(schema, reference.rsplit("/", 1)[-1])
            return self._known[reference]
        return self._shape(schema, "")

    def _shape(self, schema: Any, name: str) -> Shape:
        whole = self._merged(schema)
        fields: list[Field] = []
        for each in self._fields(whole, "", required=True, depth=1):
            fields.append(each)
            if len(fields) >= _MOST_FIELDS:
                break
        return Shape(
            type=_type(whole), name=name or _only_name(schema), fields=tuple(fields),
            closed=whole.get("additionalProperties") is False,
        )  # fmt: skip

    def _fields(
        self, schema: Mapping[str, Any], above: str, *, required: bool, depth: int
    ) -> Iterator[Field]:
        """Breadth first, so that the bound cuts off what lies deepest."""
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return
        named = schema.get("required")
        needed = (
            set(named)
            if isinstance(named, list) and all(isinstance(n, str) for n in named)
            else set()
        )
        inner: list[tuple[Mapping[str, Any], str, bool]] = []
        for name, raw in properties.items():
            part = self._merged(raw)
            pointer = f"{above}/{str(name).replace('~', '~0').replace('/', '~1')}"
            is_needed = required and name in needed
            yield _field(part, pointer, required=is_needed, needed=name in needed)
            inner.append((part, pointer, is_needed))
        if depth < _DEPTH:
            for part, pointer, is_needed in inner:
                if _type(part) != "array":
                    yield from self._fields(part, pointer, required=is_needed, depth=depth + 1)

    def _merged(self, schema: Any, depth: int = 0) -> Mapping[str, Any]:
        """A schema with its `allOf` written in; of `oneOf` and `anyOf` what they have in common."""
        found = self.follow(schema)
        if not isinstance(found, Mapping) or depth > _DEPTH:
            return {}
        if not any(isinstance(found.get(word), list) for word in ("allOf", "oneOf", "anyOf")):
            return found
        parts = [self._merged(each, depth + 1) for each in listed(found.get("allOf"))]
        choices = listed(found.get("oneOf")) or listed(found.get("anyOf"))
        if choices:
            parts.append(_common([self._merged(each, depth + 1) for each in choices]))
        return _together([found, *parts])


def listed(value: Any) -> list[Any]:
    """A list as it is; anything else is an empty one."""
    return value if isinstance(value, list) else []


def _together(parts: list[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required: list[str] = []
    for part in parts:
        merged.update({key: part[key] for key in part if key not in merged})
        own = part.get("properties")
        properties.update(own if isinstance(own, Mapping) else {})
        required += [name for name in listed(part.get("required")) if isinstance(name, str)]
    return {**merged, "properties": properties, "required": required} if properties else merged


def _common(choices: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What all choices have; a choice of `null` does not count."""
    real = [each for each in choices if _type(each) != "null"]
    if len(real) == 1:
        return real[0]
    types = {_type(each) for each in real}
    found: dict[str, Any] = {"type": types.pop()} if len(types) == 1 else {"type": "mixed"}
    maps = [each.get("properties") for each in real]
    if all(isinstance(each, Mapping) for each in maps) and maps:
        first = maps[0] or {}
        found["properties"] = {
            name: first[name] for name in first if all(name in (each or {}) for each in maps)
        }
        needed = [set(listed(each.get("required"))) for each in real]
        found["required"] = sorted(set.intersection(*needed))
    return found


def _only_name(schema: Any) -> str:
    """The name of the one schema that a wrapping `allOf` holds."""
    parts = listed(schema.get("allOf")) if isinstance(schema, Mapping) else []
    names = [
        each["$ref"]
        for each in parts
        if isinstance(each, Mapping) and isinstance(each.get("$ref"), str)
    ]
    return names[0].rsplit("/", 1)[-1] if len(names) == 1 and len(parts) == 1 else ""


def _type(schema: Mapping[str, Any]) -> str:
    found = schema.get("type")
    if isinstance(found, list):  # OpenAPI 3.1
        real = [each for each in found if each != "null"]
        found = real[0] if len(real) == 1 else "mixed"
    if isinstance(found, str):
        return found
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else ""


def _is_open(schema: Mapping[str, Any]) -> bool:
    more = schema.get("additionalProperties")
    return more is True or isinstance(more, Mapping) or not schema.get("properties")


def _field(schema: Mapping[str, Any], pointer: str, *, required: bool, needed: bool) -> Field:
    values = schema.get("enum")
    if "const" in schema:
        values = [schema["const"]]
    return Field(
        pointer=pointer, type=_type(schema), required=required, needed=needed,
        enum=tuple(v for v in listed(values) if isinstance(v, str | int | float | bool)),
        read_only=schema.get("readOnly") is True, write_only=schema.get("writeOnly") is True,
        is_open=_type(schema) == "object" and _is_open(schema),
        description=str(schema.get("description", ""))[:400],
    )  # fmt: skip
