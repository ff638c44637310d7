"""One request and what its answer means. Nothing that may go wrong on the way raises from here.

Whatever fails after the request may have left is an unknown outcome, also a bug of ours in a
transport or in reading the answer: the effect may exist all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
import structlog

from orchestrator.core import events as e
from orchestrator.core.exchange import (
    FrozenRequest,
    Judgement,
    Outcome,
    Response,
    said_of_renewals,
)
from orchestrator.core.saga import Decision
from orchestrator.core.states import Direction, LinkStatus
from orchestrator.engine.deps import Deps
from orchestrator.errors import HeldUp, InDoubt, NoCredential, NotLanded, NotSent
from orchestrator.ports import AttemptContext, Seen, Trail
from orchestrator.telemetry.redact import hidden_text

log = structlog.get_logger(__name__)

LONGEST_REASON = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one request brought. `response` is None when there was no complete one."""

    judgement: Judgement
    response: Response | None
    started_at: datetime
    seconds: float
    trail: Trail = field(default_factory=Trail)  # of a request that was sent
    of_api: bool = True  # whether it shows how the API is; not where this process was the reason

    def seen(self) -> Seen | None:
        """What the gate learns from it, if anything."""
        if not self.of_api:
            return None
        return Seen(outcome=self.judgement.outcome, response=self.response, seconds=self.seconds)


async def ask(
    deps: Deps,
    api: str,
    request: FrozenRequest,
    context: AttemptContext,
    judge: Callable[[Response], Judgement],
    *,
    timeout_seconds: float | None,
) -> Answer:
    """Send once and judge. Only cancellation passes through, and HeldUp: nothing was attempted."""
    started_at, begun = deps.clock.now(), deps.clock.monotonic()
    response: Response | None = None
    of_api = True
    try:
        response = await deps.transport(request).send(
            api, request, context, timeout_seconds=timeout_seconds
        )
        judgement = judge(response)
        if response.renewals:
            told = said_of_renewals(judgement.reason, response.renewals)
            judgement = replace(judgement, reason=told)
    except HeldUp:
        raise
    except (NotLanded, InDoubt) as error:
        judgement = _judgement_of(error)
        of_api = not isinstance(error, NoCredential | NotSent)
    except Exception as error:
        log.exception("attempt.broken", api=api, step=context.step_id)
        reason = broken("the call or the reading of its answer", error)
        judgement = Judgement(outcome=Outcome.UNKNOWN, reason=reason)
    return Answer(
        judgement=judgement, response=response, started_at=started_at,
        seconds=deps.clock.monotonic() - begun, trail=context.trail, of_api=of_api,
    )  # fmt: skip


def of_verification(judgement: Judgement, response: Response | None) -> Judgement:
    """A question that got no answer leaves the doubt as it was, whatever the reason."""
    if response is not None:
        return judgement
    return Judgement(outcome=Outcome.UNKNOWN, reason=judgement.reason)


def within(judgement: Judgement, direction: Direction, most_bytes: int) -> Judgement:
    """A judgement whose outputs are small enough to be kept.

    A step with larger ones has happened, but not as wanted: its run turns back, with those of its
    outputs that fit, smallest first. Nobody reads the outputs of an undo, so there they just go.
    """
    if not judgement.outputs:
        return judgement
    sizes = {name: _json_bytes({name: value}) for name, value in judgement.outputs.items()}
    total = sum(sizes.values())
    if total <= most_bytes:
        return judgement
    if direction is Direction.BACKWARD:
        return replace(judgement, outputs={})
    reason = f"{judgement.reason}, but its outputs have {total} bytes; wanted at most {most_bytes}"
    kept = _fitting(judgement.outputs, sizes, most_bytes)
    return replace(judgement, accepted=False, outputs=kept, reason=reason, moves=(), applied=None)


def told(judgement: Judgement) -> Judgement:
    """A judgement whose reason may be kept and shown: APIs and functions say what they like."""
    reason = hidden_text(judgement.reason)
    return judgement if reason == judgement.reason else replace(judgement, reason=reason)


def event_of(judgement: Judgement, jitter: float) -> e.Event:
    """The judgement as the core takes it."""
    match judgement.outcome:
        case Outcome.LANDED:
            return e.Landed(
                accepted=judgement.accepted, reason=judgement.reason, moves=judgement.moves
            )
        case Outcome.NOT_LANDED:
            return e.NotLanded(
                reason=judgement.reason, retryable=judgement.retryable, jitter=jitter,
                settles_doubt=judgement.settles_doubt, most_attempts=judgement.most_attempts,
                retry_after_seconds=judgement.retry_after_seconds, moves=judgement.moves,
            )  # fmt: skip
        case Outcome.UNKNOWN:
            return e.InDoubt(
                reason=judgement.reason, jitter=jitter,
                retry_after_seconds=judgement.retry_after_seconds, moves=judgement.moves,
            )  # fmt: skip


def action_taken(
    judgement: Judgement, decision: Decision, link: LinkStatus
) -> Mapping[str, Any] | None:
    """The author's action that the core followed, in words; None where none has a part in it."""
    applied = judgement.applied
    if applied is None:
        return None
    if decision.move is not None:
        return applied.moves[judgement.moves.index(decision.move)]
    if link is LinkStatus.PENDING:
        return applied.retry
    return applied.end if link is LinkStatus.FAILED or not judgement.accepted else None


def broken(what: str, error: Exception) -> str:
    """For people: something of ours failed in a way nobody foresaw."""
    return hidden_text(f"{what} failed: {type(error).__name__}: {error}")[:LONGEST_REASON]


def _judgement_of(error: NotLanded | InDoubt) -> Judgement:
    if isinstance(error, InDoubt):
        return Judgement(
            outcome=Outcome.UNKNOWN, reason=error.reason,
            retry_after_seconds=error.retry_after_seconds,
        )  # fmt: skip
    return Judgement(
        outcome=Outcome.NOT_LANDED, reason=error.reason, retryable=error.retryable,
        settles_doubt=error.settles_doubt, retry_after_seconds=error.retry_after_seconds,
    )  # fmt: skip


def _fitting(
    outputs: Mapping[str, Any], sizes: Mapping[str, int], most_bytes: int
) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    left = most_bytes
    for name in sorted(sizes, key=lambda name: sizes[name]):
        left -= sizes[name]
        if left < 0:
            break
        kept[name] = outputs[name]
    return kept


def _json_bytes(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError:  # a lone surrogate or a number beyond 64 bits, which are kept all the same
        return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
