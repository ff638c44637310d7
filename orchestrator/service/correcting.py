"""A stuck request with other values in its body, for a retry: for when the first ones were wrong.

It is another request, so it has a key of its own: an API that has kept the first would answer with
that. Hence it may only be made where the first certainly had no effect.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.core.exchange import FrozenRequest
from orchestrator.definitions.values import json_kind
from orchestrator.errors import InvalidInput, Problem

_MISSING: Any = object()


def corrected(request: FrozenRequest, changes: Mapping[str, Any]) -> FrozenRequest:
    """The request with these values, by JSON pointer into its body.

    Each has to be there already, and to keep its kind. Raises InvalidInput, naming all that is
    wrong.
    """
    body = _json_of(request)
    problems = [
        problem for pointer, value in changes.items() if (problem := _put(body, pointer, value))
    ]
    if problems:
        raise InvalidInput("the request cannot be corrected so", problems=problems)
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    key = hashlib.sha256(request.key.encode() + b"\ncorrected\n" + content).hexdigest()
    headers = tuple(
        (name, key if request.key and value == request.key else value)
        for name, value in request.headers
    )
    return replace(request, body=content, headers=headers, key=key)


def _json_of(request: FrozenRequest) -> Any:
    try:
        return json.loads(request.body)
    except ValueError:
        found = "no body" if not request.body else "a body that is not JSON"
        problem = Problem(
            place=f"{request.method} {request.target}", found=found, wanted="a JSON body"
        )
        raise InvalidInput("the request cannot be corrected", problems=[problem]) from None


def _put(body: Any, pointer: str, value: Any) -> Problem | None:
    """Put it there, or say what is wrong."""
    parts = [_name(part) for part in pointer.split("/")[1:]] if pointer.startswith("/") else []
    place, old, last = _MISSING, _MISSING, ""
    if parts:
        place, last = body, parts[-1]
        for part in parts[:-1]:
            place = _at(place, part)
        old = _at(place, last)
    if old is _MISSING:
        return Problem(place=f"body {pointer}", found="nothing there", wanted="a value to replace")
    if old is not None and json_kind(old) != json_kind(value):
        return Problem(place=f"body {pointer}", found=json_kind(value), wanted=json_kind(old))
    place[int(last) if isinstance(place, list) else last] = value
    return None


def _at(place: Any, part: str) -> Any:
    if isinstance(place, dict):
        return place.get(part, _MISSING)
    if isinstance(place, list) and part.isascii() and part.isdecimal():
        return place[int(part)] if int(part) < len(place) else _MISSING
    return _MISSING


def _name(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
