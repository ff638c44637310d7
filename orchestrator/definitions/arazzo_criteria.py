"""Criteria as they stand in a document: read, compiled once to see that they can be, and noted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.definitions.criteria import TYPES, VERSIONS, parse_criterion
from orchestrator.definitions.cursor import Cursor


def conditions(at: Cursor, name: str) -> list[dict[str, Any]]:
    """The criteria of an array, as a plan holds them."""
    read = [_criterion(item) for item in at.items(name) if item.is_object()]
    return [item for item in read if item is not None]


_SELECTORS: dict[str, tuple[str, ...]] = {**VERSIONS, "jsonpointer": ("rfc6901",)}


def selector_type(at: Cursor, name: str, usual: str | None) -> str | None:
    """What kind of text selects something: `jsonpath`, `xpath` or `jsonpointer`.

    By name or as an Expression Type Object; `usual` where nothing is said. None, and noted, when
    it is no such.
    """
    given = at.get(name)
    if given is None and usual is None:
        at.bad(f"the field {name}: {', '.join(_SELECTORS)}", found=f"no {name}")
    if given is None:
        return usual
    if not isinstance(given.value, Mapping):
        return at.choice(name, tuple(_SELECTORS))
    return _versioned(given, _SELECTORS)


def _criterion(at: Cursor) -> dict[str, Any] | None:
    at.only({"condition", "type", "context"})
    kind, text = _kind(at), at.text("condition", required=True)
    if kind is None or text is None:
        return None
    if kind == "simple":  # it has no use for a context, nor for what stands there
        context = None
    else:
        context = at.text("context", required=True)
        if context is None:
            return None
    found: dict[str, Any] = {"condition": text}
    if kind != "simple":
        found |= {"type": kind, "context": context}
    with at.findings.expressions_at(at.child("condition", text).place):
        parse_criterion(found)
    return found  # one that was noted is never published


def _kind(at: Cursor) -> str | None:
    """Its type, by name or as an Expression Type Object; None, and noted, when it is no such."""
    given = at.get("type")
    if given is None:
        return "simple"
    if not isinstance(given.value, Mapping):
        return at.choice("type", TYPES)
    return _versioned(given, VERSIONS)


def _versioned(at: Cursor, versions: Mapping[str, tuple[str, ...]]) -> str | None:
    """The type that an Expression Type Object names."""
    at.only({"type", "version"})
    kind = at.choice("type", tuple(versions))
    if kind is None:
        if not at.has("type"):
            at.bad("type: " + " or ".join(versions), found="no type")
        return None
    at.text("version", required=True)
    return kind if at.choice("version", versions[kind]) else None
