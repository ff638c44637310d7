"""What goes out in one attempt and what comes back: plain values shared by all that touch them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.core.demands import Security, security_from_json, security_to_json
from orchestrator.core.events import Move
from orchestrator.core.states import Direction


class Outcome(StrEnum):
    """What one attempt did. Three values, not two."""

    LANDED = "landed"
    NOT_LANDED = "not_landed"
    UNKNOWN = "unknown"


def idempotency_key(run_id: str, step_id: str, direction: Direction, iteration: int = 0) -> str:
    """The key of one effect, the same for every attempt and every worker: 64 hex digits."""
    text = f"{run_id}\n{step_id}\n{iteration}\n{direction}"
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenRequest:
    """The serialised request of a link, kept before it first leaves and repeated to the byte.

    Holds no secret: credentials are added when it is sent. For a Python function `method` is
    "TASK", `target` its registered name and `body` its arguments as JSON.
    """

    method: str  # HTTP method, or "TASK"
    target: str  # encoded path and query, beginning with "/", relative to the API's base URL
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    key: str = ""  # idempotency key of the link
    security: Security | None = None  # which credentials go where; None: nothing is said

    def to_json(self) -> dict[str, Any]:
        """JSON form; a body that is not UTF-8, or that no text column keeps, travels as base64."""
        more: dict[str, Any]
        try:
            more = {"body": self.body.decode()}
        except UnicodeDecodeError:
            more = {"body64": base64.b64encode(self.body).decode()}
        else:
            if b"\0" in self.body:
                more = {"body64": base64.b64encode(self.body).decode()}
        if self.security is not None:
            more["security"] = security_to_json(self.security)
        return {
            "method": self.method, "target": self.target, "key": self.key,
            "headers": [list(header) for header in self.headers], **more,
        }  # fmt: skip

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> FrozenRequest:
        """Inverse of `to_json`."""
        body = base64.b64decode(data["body64"]) if "body64" in data else data["body"].encode()
        said = data.get("security")
        return FrozenRequest(
            method=data["method"], target=data["target"], key=data["key"], body=body,
            headers=tuple((name, value) for name, value in data["headers"]),
            security=None if said is None else security_from_json(said),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """A complete answer. `headers` have lower-case names; `seconds` from send to last byte."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    renewals: int = 0  # times that the request was answered 401 before, and sent again


def said_of_renewals(reason: str, times: int) -> str:
    """A reason that also tells of requests which the API has on its own record: those it refused.

    Who compares an API's log with the audit finds more requests than attempts otherwise.
    """
    if not times:
        return reason
    return f"{reason}; {AFTER_401}" + (f" ({times} times)" if times > 1 else "")


AFTER_401 = "sent again with another credential after a 401"


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """The actions of a step's author that apply to its outcome, for whoever asks why a run went so.

    Each in words, as the audit keeps them: `{on, type, name, to, criteria}`. They decide nothing.
    """

    retry: Mapping[str, Any] | None = None  # that wants the same request again
    moves: tuple[Mapping[str, Any], ...] = ()  # for each of the judgement's moves
    end: Mapping[str, Any] | None = None  # that ends in failure


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What an answer means for its link."""

    outcome: Outcome
    accepted: bool = True  # of a landed one: whether the success criteria hold
    retryable: bool = False  # of one that did not land: whether another attempt may go better
    most_attempts: int | None = None  # of one that is retryable since an action says so
    settles_doubt: bool = False  # of one that did not land: it also speaks for earlier attempts
    retry_after_seconds: float | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""  # for people: "402 Payment Required: card_declined"
    moves: tuple[Move, ...] = ()  # where the step's actions want to go on, see events.Landed
    applied: Applied | None = None  # the actions behind `moves`, and behind `retryable`


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What expressions may refer to: the run's inputs and the outputs of steps that landed."""

    run_id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # step id -> outputs
    outer: Facts | None = None  # of a called workflow: those of the one that calls it

    def within(self, scope: str) -> Facts:
        """What a called workflow sees: its own inputs and steps. `scope` is that of a plan step."""
        facts = self
        for part in scope.split("/")[:-1]:
            facts = facts._inside(f"{part}/")
        return facts

    def _inside(self, prefix: str) -> Facts:
        return Facts(
            run_id=self.run_id, inputs=self.outputs.get(f"{prefix}$inputs", {}), outer=self,
            outputs={
                name.removeprefix(prefix): value
                for name, value in self.outputs.items() if name.startswith(prefix)
            },
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class NothingToUndo:
    """Answer of a compensation's condition: there is nothing to undo."""

    reason: str
