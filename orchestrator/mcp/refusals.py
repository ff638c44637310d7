"""What went wrong, in words that a model can act on: place, found, wanted, and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import ValidationError

from orchestrator.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    OrchestratorError,
    Overloaded,
    RefusedError,
    Unavailable,
    Untrusted,
)

_log = structlog.get_logger(__name__)
_MOST_PROBLEMS = 8
_LONGEST_FOUND = 80

Instead = Mapping[type[OrchestratorError], str]

_WHAT_TO_DO: Instead = {
    InvalidInput: "Nothing was begun. Mend what is named and call again with the same key.",
    NotFound: "Call search to see what there is.",
    NotAllowed: (
        "Nothing was begun. Look for no other way around it: tell whom you work for what was "
        "refused, and why."
    ),
    Untrusted: (
        "Nothing was begun. Do not use another instead: tell whom you work for that this workflow "
        "is not as it was signed."
    ),
    Conflict: (
        "This idempotency_key belongs to another wish. Use a new one if this is another thing to "
        "be done; else call again with the inputs of then."
    ),
    Unavailable: "Call again in a while with the same idempotency_key: it then runs once at most.",
    Overloaded: "Call again after that time with the same idempotency_key.",
}
_SUCH_AS = {
    "workflow": "a name that search gave",
    "inputs": 'an object of what describe names, such as {"order_id": "A-17"}',
    "idempotency_key": "a text of your own, such as order-A-17, the same when you repeat the call",
    "run": "the id that execute gave",
    "reason": "why, such as: the customer has withdrawn",
    "path": "one of left_out, such as items.0.name",
}
"""What a missing argument might be."""
WHEN_CANCELLING: Instead = {
    Conflict: "Call status: it says how the run stands, and what can be done.",
    NotAllowed: "Tell whom you work for the id of the run.",
    NotFound: "Use the run as execute gave it.",
}
WHEN_READING: Instead = {
    Conflict: "Call status: it says how the run stands, and what can be done.",
    InvalidInput: "Use a path of left_out, or one that is named here.",
    NotFound: "Use the run as execute gave it.",
    Unavailable: "Call again in a while.",
}


def arguments_told(tool: str, error: ValidationError) -> str:
    """What is wrong with the arguments of a call."""
    lines = [f"{tool}: the arguments do not fit"]
    problems = error.errors(include_url=False, include_context=False)
    for each in problems[:_MOST_PROBLEMS]:
        place = ".".join(str(part) for part in each["loc"])
        given, wanted = repr(each["input"])[:_LONGEST_FOUND], each["msg"]
        if each["type"] == "missing":
            given, wanted = "nothing", _SUCH_AS.get(place, "a value")
        lines.append(f"- {place}: found {given}; wanted: {wanted}")
    return "\n".join(lines)


@asynccontextmanager
async def spoken(instead: Instead | None = None) -> AsyncIterator[None]:
    """Our errors as words that an agent can act on; `instead`: what to do about some of them."""
    try:
        yield
    except OrchestratorError as error:
        _log.info("mcp.refused", kind=type(error).__name__, error=str(error))
        raise ToolError(told(error, instead)) from error


def told(error: OrchestratorError, instead: Instead | None = None) -> str:
    """What is wrong, where, and what to do about it."""
    if isinstance(error, RefusedError | Overloaded):
        lines = [error.message]
        problems = error.problems
        lines += [
            f"- {p.place}: found {p.found}; wanted {p.wanted}" for p in problems[:_MOST_PROBLEMS]
        ]
        if len(problems) > _MOST_PROBLEMS:
            lines.append(f"- and {len(problems) - _MOST_PROBLEMS} more")
    else:
        lines = [str(error)]
    known = {**_WHAT_TO_DO, **(instead or {})}
    lines += [text for kind, text in known.items() if isinstance(error, kind)][-1:]
    return "\n".join(lines)
