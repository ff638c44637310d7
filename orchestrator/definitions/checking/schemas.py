"""What a JSON schema says about a value, as far as a check can tell without a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.definitions.references import followed

Types = frozenset[str]

ANY: Types = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_MOST_PARTS = 500
_DEEPEST_OPTIONS = 3


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema with what follows its references. Never raises, whatever the schema is."""

    value: Any
    follow: Callable[[Any], Any]

    def types(self) -> Types:
        """The JSON types that a value may have; ANY when the schema does not say."""
        found = ANY
        for part in self._together():
            found &= self._own_types(part)
        return found or ANY  # contradictions are the API's affair

    def child(self, token: str | int) -> Schema | None:
        """The schema of a field or element; empty when it may be anything, None when it is none."""
        if self.types() == ANY and not self._says_something():
            return self._with({})
        is_index = isinstance(token, int) or token.isdecimal()
        if is_index and "array" in self.types():
            return self._with(next((p["items"] for p in self._all() if "items" in p), {}))
        fields = self.fields()
        if str(token) in fields:
            return fields[str(token)]
        if not self.types() & {"object"}:
            return None
        more = [p["additionalProperties"] for p in self._all() if "additionalProperties" in p]
        named = [m for m in more if m is not False]
        if named or not fields or any("patternProperties" in p for p in self._all()):
            return self._with(named[0] if named and isinstance(named[0], Mapping) else {})
        return None

    def at(self, tokens: tuple[str | int, ...]) -> Schema | None:
        """The schema at the end of a JSON pointer's tokens."""
        found: Schema | None = self
        for token in tokens:
            if found is None:
                return None
            found = found.child(token)
        return found

    def fields(self) -> dict[str, Schema]:
        """Every field that some part of the schema names."""
        return {
            str(name): self._with(value)
            for part in self._all()
            for name, value in _mapping(part.get("properties")).items()
        }

    def required(self) -> set[str]:
        """Fields that a value must have in every case, and that a request may carry."""
        fields = self.fields()
        names = {
            name for part in self._together() for name in _list(part.get("required"))
            if isinstance(name, str)
        }  # fmt: skip
        return {n for n in names if n not in fields or not fields[n].says("readOnly")}

    def choices(self) -> list[Any] | None:
        """The values of an `enum` or `const`, None when there is none."""
        for part in self._together():
            if "const" in part:
                return [part["const"]]
            if isinstance(part.get("enum"), list):
                return list(part["enum"])
        return None

    def says(self, name: str) -> bool:
        """Whether a keyword is set."""
        return any(part.get(name) is True for part in self._together())

    def keyword(self, name: str) -> Any:
        """What a keyword says, the first time that it is said; None when it is not."""
        return next((part[name] for part in self._all() if name in part), None)

    def items(self) -> Schema:
        """The schema of an array's elements; empty when it does not say."""
        return self._with(next((p["items"] for p in self._all() if "items" in p), {}))

    # --- parts ------------------------------------------------------------------------------------

    def _with(self, value: Any) -> Schema:
        return Schema(value, self.follow)

    def _together(self) -> Iterator[Mapping[str, Any]]:
        """The schema and what must hold with it (`allOf`)."""
        return self._walk(self.value, ("allOf",), set())

    def _all(self) -> list[Mapping[str, Any]]:
        """Those, and all alternatives."""
        return list(self._walk(self.value, ("allOf", "oneOf", "anyOf"), set()))

    def _walk(
        self, value: Any, kinds: tuple[str, ...], seen: set[int]
    ) -> Iterator[Mapping[str, Any]]:
        """Each part once: schemas refer to themselves and to each other."""
        value = self.follow(value)
        if not isinstance(value, Mapping) or id(value) in seen or len(seen) > _MOST_PARTS:
            return
        seen.add(id(value))
        yield value
        for kind in kinds:
            for item in _list(value.get(kind)):
                yield from self._walk(item, kinds, seen)

    def _says_something(self) -> bool:
        return any({"properties", "items", "additionalProperties"} & set(p) for p in self._all())

    def _own_types(self, part: Mapping[str, Any], depth: int = 0) -> Types:
        """What one part says, its alternatives joined."""
        found = _named_types(part)
        for kind in ("oneOf", "anyOf"):
            options = [self.follow(item) for item in _list(part.get(kind))]
            if options and depth <= _DEEPEST_OPTIONS:
                joined: Types = frozenset()
                for option in options:
                    joined |= self._option_types(option, depth)
                found &= joined or ANY
        return found

    def _option_types(self, option: Any, depth: int) -> Types:
        if not isinstance(option, Mapping) or "allOf" in option:
            return ANY
        return self._own_types(option, depth + 1)


def _named_types(part: Mapping[str, Any]) -> Types:
    named = part.get("type")
    names = {named} if isinstance(named, str) else {n for n in _list(named) if isinstance(n, str)}
    if "file" in names or not names & ANY:
        if isinstance(part.get("properties"), Mapping) and not names:
            return frozenset({"object", "null"})
        return ANY
    if part.get("nullable") is True:
        names.add("null")
    if "number" in names:
        names.add("integer")
    return frozenset(names & ANY)


def local_follower(root: Any) -> Callable[[Any], Any]:
    """Follows `#/…` references inside one document; what leads nowhere is an empty schema."""
    return partial(followed, root)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
