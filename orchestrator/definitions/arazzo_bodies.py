"""The `requestBody` of a step as a part of its template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.definitions.arazzo_criteria import selector_type
from orchestrator.definitions.arazzo_values import value_of
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.expressions import compile_value
from orchestrator.definitions.media_types import (
    charset,
    is_concrete,
    is_form,
    is_json,
    is_multipart,
    is_text,
    is_xml,
)
from orchestrator.definitions.openapi import Operation
from orchestrator.definitions.pointers import pointer_tokens, put
from orchestrator.definitions.problems import ExpressionError, Path
from orchestrator.definitions.replacements import compile_target
from orchestrator.definitions.styles import STYLES
from orchestrator.definitions.values import ABSENT

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_NOT_REUSABLE = {
    "reference": "a request body object (contentType, payload, replacements): "
    "there are no components that a body could refer to"
}


@dataclass(frozen=True, slots=True)
class ReadBody:
    """A body as a template holds it, and where its payload stands."""

    template: Mapping[str, Any]
    payload: Path


def read_body(body: Cursor, operation: Operation) -> ReadBody | None:
    """What is sent; None, and noted, when that cannot be read."""
    if not body.is_object():
        return None
    body.only({"contentType", "payload", "replacements"}, _NOT_REUSABLE)
    content_type = _content_type(body, operation)
    payload = body.get("payload")
    if payload is None:
        body.bad("the field payload", found="no payload")
    if payload is None or content_type is None:
        return None
    value, later = replaced(body, payload, content_type)
    _check_kind(payload, value, content_type)
    template: dict[str, Any] = {"contentType": content_type, "payload": value}
    template |= _fields(body, operation, content_type)
    return ReadBody(template | ({"replacements": later} if later else {}), payload.path)


def replaced(body: Cursor, payload: Cursor, content_type: str) -> tuple[Any, list[dict[str, Any]]]:
    """The payload with the replacements that are certain put in, and those for later."""
    value = value_of(payload, structured(payload, content_type))
    later: list[dict[str, Any]] = []
    for item in body.items("replacements"):
        read = _replacement(item, content_type)
        if read is None:
            continue
        if read["type"] == "jsonpointer" and not later:
            changed = put(value, pointer_tokens(read["target"]), read["value"])
            if changed is not ABSENT:
                value = changed
                continue
            if not _may_lead_there(value, pointer_tokens(read["target"])):
                item.bad("a JSON pointer to something in the payload", found=read["target"])
                continue
        later.append(read)
    return value, later


def structured(payload: Cursor, content_type: str) -> Any:
    """The payload; a JSON text that is written out becomes the value that it stands for."""
    text = payload.value
    if not isinstance(text, str) or not is_json(content_type) or text.startswith("$"):
        return text
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        payload.bad("JSON in which expressions stand inside of strings, or a YAML object")
        return text


def _replacement(item: Cursor, content_type: str) -> dict[str, Any] | None:
    if not item.is_object():
        return None
    item.only({"target", "targetSelectorType", "value"})
    target, given = item.text("target", required=True), item.get("value")
    usual = "xpath" if is_xml(content_type) else "jsonpointer"
    kind = selector_type(item, "targetSelectorType", usual)
    if given is None:
        item.bad("the field value", found="no value")
    if target is None or given is None or kind is None:
        return None
    if (kind == "xpath") is not is_xml(content_type):
        found = f"a target of the type {kind} in a body of the type {content_type}"
        item.bad("xpath in XML; jsonpointer or jsonpath in what is an object", found=found)
        return None
    try:
        compile_target(kind, target)
    except ExpressionError as error:
        item.child("target", target).bad(error.wanted, found=error.found)
        return None
    return {"target": target, "type": kind, "value": value_of(given)}


def _may_lead_there(value: Any, tokens: tuple[str, ...]) -> bool:
    """Whether an expression stands on the way, so that only a run can tell."""
    for token in tokens:
        if isinstance(value, Mapping) and token in value:
            value = value[token]
        elif isinstance(value, list) and token.isdecimal() and int(token) < len(value):
            value = value[int(token)]
        else:
            break
    return any(True for _ in compile_value(value).expressions()) and not isinstance(value, list)


def _content_type(body: Cursor, operation: Operation) -> str | None:
    given = body.text("contentType")
    chosen = given or _usual(operation.content_types)
    at = body.get("contentType") or body
    if not is_concrete(chosen) or ("multipart/" in chosen and not is_multipart(chosen)):
        at.bad("one media type: JSON, a form, multipart/form-data, a text or bytes", found=chosen)
        return None
    if is_text(chosen) and charset(chosen) is None:
        at.bad("a known charset, such as utf-8", found=chosen)
        return None
    return chosen


def _usual(offered: tuple[str, ...]) -> str:
    """Of what an operation takes: JSON, then a form, then a text, then whatever is no range."""
    for fits in (is_json, is_form, is_multipart, is_text, is_concrete):
        found = next((one for one in offered if fits(one)), None)
        if found is not None:
            return found
    return offered[0] if offered else "application/json"


def _check_kind(payload: Cursor, value: Any, content_type: str) -> None:
    """What no run could write."""
    is_object = isinstance(value, Mapping)
    if is_multipart(content_type) and not is_object and not _is_expression(value):
        payload.bad("an object with the form's fields")
    elif is_form(content_type) and not is_object and not isinstance(value, str):
        payload.bad("an object with the form's fields, or the form as a text")
    elif is_json(content_type) or is_form(content_type) or is_multipart(content_type):
        return
    elif (is_object and not _is_expression(value)) or isinstance(value, list) or value is None:
        text = "a text" if is_text(content_type) else "a text, or bytes as data:TYPE;base64,…"
        payload.bad(f"{text} for {content_type}")


def _is_expression(value: Any) -> bool:
    return (isinstance(value, str) and value.startswith("$")) or (
        isinstance(value, Mapping) and any(key in value for key in ("x-select", "x-first-of"))
    )


def _fields(body: Cursor, operation: Operation, content_type: str) -> dict[str, Any]:
    """How the fields are written; noted where a document wants what no request can have."""
    rules = dict(operation.fields.get(content_type) or {})
    for name, rule in rules.items():
        if "style" in rule and rule["style"] not in STYLES["query"]:
            body.bad(f"style {' or '.join(STYLES['query'])} of {name}", found=rule["style"])
        for header, value in rule.get("headers", {}).items():
            if not _HEADER.fullmatch(header) or not _VALUE.fullmatch(value):
                found = ascii(f"{header}: {value}")
                body.bad(f"a header on one line in the encoding of {name}", found=found)
        if not _VALUE.fullmatch(rule.get("contentType", "")):
            found = ascii(rule["contentType"])
            body.bad(f"a media type on one line in the encoding of {name}", found=found)
    deep = (
        []
        if not is_form(content_type)
        else sorted(name for name, rule in rules.items() if rule.get("style") == "deepObject")
    )
    rest = {name: rule for name, rule in rules.items() if name not in deep}
    return ({"deep": deep} if deep else {}) | ({"encoding": rest} if rest else {})
