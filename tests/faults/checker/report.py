"""A verdict for machines and for people: counts, breaches, and the story of each run concerned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tests.faults.checker.invariants import Verdict, Violation
from tests.faults.checker.stories import Story
from tests.faults.checker.tables import AuditRow
from tests.faults.ledger.records import Effect, Request

STORIES = 5
LONGEST = 300  # breaches in the JSON


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Counts, endings, and at most 300 breaches."""
    return {
        "counts": verdict.counts(),
        "endings": dict(verdict.endings),
        "unresolvable": [{"run": run, "why": why} for run, why in verdict.unresolvable],
        "violations": [
            {"invariant": found.invariant, "run": found.run, "detail": found.detail}
            for found in verdict.violations[:LONGEST]
        ],
    }


def as_text(verdict: Verdict, *, most: int = STORIES) -> str:
    """What was broken, and the stories of the first `most` runs concerned."""
    if not verdict.violations:
        return f"Nothing broken. Runs: {_words(verdict.endings.items())}"
    counts = [(name, number) for name, number in verdict.counts().items() if number]
    lines = [f"Broken: {_words(counts)}. Runs: {_words(verdict.endings.items())}"]
    by_run: dict[str, list[Violation]] = {}
    for found in verdict.violations:
        by_run.setdefault(found.run, []).append(found)
    for run, breaches in list(by_run.items())[:most]:
        lines += ["", f"{run}:", *(f"  {b.invariant}: {b.detail}" for b in breaches)]
        story = verdict.stories.get(run)
        if story is not None:
            lines += tell(story)
    if len(by_run) > most:
        lines += ["", f"… and {len(by_run) - most} runs more"]
    return "\n".join(lines)


def tell(story: Story) -> list[str]:
    """All that is known of a run, in one order of time, in seconds since its first moment."""
    told = sorted(
        [
            *(_request(request) for request in story.requests),
            *(_effect(effect) for effect in story.effects),
            *(_record(record) for record in story.audit),
        ]
    )
    begun = told[0][0] if told else 0.0
    seed, run = story.seed, story.run
    shape = "not submitted" if seed is None else f"{seed.shape.name}, wanted {seed.expected.value}"
    row = "not in the tables" if run is None else f"{run.id}, {run.status}, owner {run.owner}"
    links = _words((link.name, link.status) for link in story.links.values() if link.row)
    return [
        f"  {shape}; {row}; {links}",
        *(f"  {at - begun:9.3f}  {who:6}  {what}" for at, _, who, what in told),
    ]


Moment = tuple[float, int, str, str]


def _request(request: Request) -> Moment:
    verb = "asked about" if request.question else "asked for"
    answer = "no answer" if request.status is None else f"{request.status}"
    if request.answered_at is not None:
        answer += f" after {request.answered_at - request.at:.3f} s"
    if not request.answered and request.status is not None:
        answer += ", not whole"
    marks = [
        mark
        for mark, holds in (("applied", request.applied), ("replayed", request.replayed))
        if holds
    ]
    fault = [] if request.fault == "none" else [request.fault]
    details = ", ".join([answer, *fault, *marks])
    what = f"{request.number} {verb} the {request.direction} of {request.step}: {details}"
    return (request.at, request.number, "API", what)


def _effect(effect: Effect) -> Moment:
    what = f"effect {effect.number}: {effect.direction} of {effect.step} by {effect.request}"
    return (effect.at, effect.request, "API", what)


def _record(record: AuditRow) -> Moment:
    data = {name: value for name, value in record.data.items() if name != "events"}
    events = [str(event.get("event")) for event in record.data.get("events") or ()]
    decided = f" [{' '.join(events)}]" if events else ""
    details = _words(data.items())
    what = f"{record.seq} {record.kind} by {record.actor}{decided} {details}"
    return (record.at, record.seq, "audit", what.rstrip())


def _words(pairs: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(_pairs(pairs))


def _pairs(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for name, value in pairs:
        yield f"{name or 'missing'} {value}"
