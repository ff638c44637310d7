"""What was done more than once in some runs, and why: "why was my account charged twice?"

Only what changes something counts: forward calls that leave for the outside with a method that is
not safe (RFC 9110, 9.2.1), whose effect is known or possible. Three ways lead to two effects:

    two keys        two runs were wanted with the same inputs under two keys: two wishes
    same request    two runs with other inputs have sent the same request, each under its own key
    one key         one request was sent again under its key, since an answer was missing: the API
                    honours keys, or it has done it twice

The first two are facts of the audit. Of the third the audit knows the requests, and only the API
knows its effects: the text says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby

from orchestrator.core.calls import CallMade
from orchestrator.core.states import Direction, LinkStatus

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Cause(StrEnum):
    """Why there may be two effects."""

    TWO_KEYS = "two_keys"
    SAME_REQUEST = "same_request"
    ONE_KEY = "one_key"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCalls:
    """A run, as far as its effects are compared with those of others."""

    run_id: str
    workflow: str
    tenant: str
    actor: str
    key: str  # under which it was submitted
    inputs_digest: str
    submitted_at: datetime
    calls: Sequence[CallMade]


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """One of the several."""

    run_id: str
    actor: str
    run_key: str
    submitted_at: datetime
    call: CallMade
    undone: bool  # by the run, since


@dataclass(frozen=True, kw_only=True, slots=True)
class Double:
    """Effects of which one may be too many."""

    cause: Cause
    text: str
    effects: Sequence[Effect]


def doubles(runs: Sequence[RunCalls]) -> list[Double]:
    """All that is found; no pair of effects is told of twice."""
    found = [*_two_keys(runs)]
    known = {_pair(double.effects) for double in found}
    found += [each for each in _same_request(runs) if _pair(each.effects) not in known]
    found += [double for run in runs for double in _one_key(run)]
    return found


def _two_keys(runs: Sequence[RunCalls]) -> Iterator[Double]:
    alike: defaultdict[tuple[str, str, str], list[RunCalls]] = defaultdict(list)
    for run in runs:
        alike[run.tenant, run.workflow, run.inputs_digest].append(run)
    for same in alike.values():
        by_step: defaultdict[str, list[Effect]] = defaultdict(list)
        for run in same:
            for effect in _certain(run):
                by_step[effect.call.step].append(effect)
        for effects in by_step.values():
            if _runs_of(effects) > 1:
                why = (
                    "The runs were submitted with the same inputs under different keys, which are"
                    " different wishes to the orchestrator and to the API alike."
                )
                yield _double(Cause.TWO_KEYS, effects, "was done", why)


def _same_request(runs: Sequence[RunCalls]) -> Iterator[Double]:
    alike: defaultdict[tuple[str, str, str, str], list[Effect]] = defaultdict(list)
    for run in runs:
        for effect in _certain(run):
            call = effect.call
            if call.asked:
                alike[run.tenant, call.method, call.url, call.asked].append(effect)
    for effects in alike.values():
        if _runs_of(effects) > 1:
            why = (
                "The requests are the same to the byte; the runs have other inputs, or are of other"
                " workflows, and each run has keys of its own."
            )
            yield _double(Cause.SAME_REQUEST, effects, "was done", why)


def _one_key(run: RunCalls) -> Iterator[Double]:
    sent = sorted(_possible(run), key=lambda effect: effect.call.key)
    for key, group in groupby(sent, key=lambda effect: effect.call.key):
        effects = list(group)
        answered = any(effect.call.outcome == LinkStatus.LANDED for effect in effects)
        if key and answered and len(effects) > 1:
            why = (
                f"All carry the idempotency key {key}, and the answers before the last are missing"
                " or say nothing. If the API has both effects, it ignores keys."
            )
            yield _double(Cause.ONE_KEY, effects, "was sent", why)


def _double(cause: Cause, effects: Sequence[Effect], what: str, why: str) -> Double:
    call = effects[0].call
    times = "twice" if len(effects) == 2 else f"{len(effects)} times"
    told = "; ".join(_told(effect) for effect in effects)
    return Double(
        cause=cause, effects=effects,
        text=f"{call.method} {call.url} {what} {times}: {told}. {why}",
    )  # fmt: skip


def _told(effect: Effect) -> str:
    call = effect.call
    status = "no whole answer" if call.status is None else f"answered {call.status}"
    undone = ", undone since" if effect.undone else ""
    return (
        f"by run {effect.run_id}, which {effect.actor} submitted at"
        f" {effect.submitted_at.isoformat()} under the key {effect.run_key}, step {call.step},"
        f" attempt {call.attempt}, {status} at {call.at.isoformat()}{undone}"
    )


def _certain(run: RunCalls) -> Iterator[Effect]:
    return (each for each in _possible(run) if each.call.outcome == LinkStatus.LANDED)


def _possible(run: RunCalls) -> Iterator[Effect]:
    """Effects that are there, or may be."""
    undone = {
        call.step for call in run.calls
        if call.direction is Direction.BACKWARD and call.outcome == LinkStatus.LANDED
    }  # fmt: skip
    for call in run.calls:
        changes = call.is_outside and not call.verify and call.method.upper() not in _SAFE
        if changes and call.direction is Direction.FORWARD and _may_be_there(call):
            yield Effect(
                run_id=run.run_id, actor=run.actor, run_key=run.key, call=call,
                submitted_at=run.submitted_at, undone=call.step in undone,
            )  # fmt: skip


def _may_be_there(call: CallMade) -> bool:
    """What the engine has taken for refused has had no effect."""
    return call.outcome == LinkStatus.LANDED or call.sent is None or call.in_doubt


def _runs_of(effects: Iterable[Effect]) -> int:
    return len({effect.run_id for effect in effects})


def _pair(effects: Iterable[Effect]) -> frozenset[tuple[str, int]]:
    return frozenset((effect.run_id, effect.call.seq) for effect in effects)
