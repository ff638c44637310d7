"""Promises about the audit: nothing is missing, nobody else wrote it, it says what the rows say.

When a worker may follow another one in a run's audit: after `run.recovered` (it names the one that
lost the run) or `run.given_back` (its worker could not go on), or when the run was released in good
order, which leaves no record of its own. A release in good order never leaves an intent open, so
while one is open only those two records explain a change. Whoever claims a run decides on
`Resumed` (or `Poisoned`) first, and its first record says so. That a worker which lost a run claims
it again is in order; that it goes on writing is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from orchestrator.core.exchange import AFTER_401
from tests.faults.checker.knowing import LET_GO, heard, stood_still
from tests.faults.checker.requests import LEFT, late_requests
from tests.faults.checker.stories import (
    CLOCKS_APART,
    FINAL,
    LinkStory,
    Story,
    events_of,
    word_of,
)
from tests.faults.checker.tables import AuditRow

SAME_CLOCK = 0.1
"""Seconds by which a worker's own times may go back: it corrects its clock by the database's."""
_FINAL_KINDS = {f"run.{status}" for status in FINAL}
_WISHES = {
    "run.cancel_requested", "run.pause_requested", "signal.received", "approval.decided",
}  # fmt: skip
"""What others write into a run's audit while its owner may be about to commit."""
_NOTES = {
    "run.accepted", "run.recovered", "run.given_back", "run.paused", "run.resumed", *_WISHES,
}  # fmt: skip
_TRIED = frozenset({"landed", "pending", "failed", "unknown"})
_CONCLUSIVE = frozenset({"landed", "failed", "unknown", "not_needed"})


def audit_gaps(story: Story) -> Iterator[str]:
    """P12 all-or-named: every intent, outcome, takeover and end of a run is in its audit."""
    if story.run is None:
        return
    yield from _numbers(story.audit, story.run.audit_seq)
    yield from _ending(story)
    for link in story.links.values():
        yield from _of_link(story, link)
    yield from _times(story.audit)
    yield from _writers(story.audit)
    yield from _open_intents(story.audit)
    yield from _two_at_once(story)


def _numbers(audit: Sequence[AuditRow], wanted: int) -> Iterator[str]:
    if len(audit) != wanted or (audit and audit[-1].seq != wanted):
        numbers = [record.seq for record in audit]
        missing = sorted(set(range(1, wanted + 1)) - set(numbers))
        yield f"{len(audit)} records; wanted 1 to {wanted}, missing {missing}, found {numbers[-1:]}"
    elif any(record.seq != place for place, record in enumerate(audit, 1)):
        yield "records are not numbered from 1 without gaps"
    if not audit or audit[0].kind != "run.accepted":
        yield f"it begins with {audit[0].kind if audit else 'nothing'}; wanted run.accepted"


def _ending(story: Story) -> Iterator[str]:
    finals = [record.kind for record in story.audit if record.kind in _FINAL_KINDS]
    wanted = [f"run.{story.status}"] if story.status in FINAL else []
    if finals != wanted:
        yield f"final records {finals}; wanted {wanted}, as the run's status is {story.status}"
    if story.settled and story.run is not None and story.run.settled_at is None:
        yield f"{story.status}, and the table does not say since when"
    stops = [record for record in story.audit if record.kind == "run.escalated"]
    if len(stops) != len(story.escalations):
        yield f"{len(stops)} records run.escalated and {len(story.escalations)} escalations"
    if story.status == "escalated" and story.acts and stops and story.acts[-1].seq > stops[-1].seq:
        yield f"{story.status} after it was {story.acts[-1].what}, and no run.escalated after it"


# --- links ----------------------------------------------------------------------------------------


def _of_link(story: Story, link: LinkStory) -> Iterator[str]:
    if link.records or link.attempts or link.requests:
        intents = link.intents
        if len(link.requests) - _refused_before(link) > intents:
            yield f"{len(link.requests)} requests for the {link.name} and {intents} intents"
        elif link.lost_intents < 0:
            yield f"{intents - link.lost_intents} attempts at the {link.name}, {intents} intents"
        yield from _outcomes(story, link)
        yield from _answers(link)
        yield from _attempts(story, link)
    if story.settled:
        yield from _status(story, link)


def _refused_before(link: LinkStory) -> int:
    """Requests within an attempt before its last one, which it tells of: the API refused them.

    An attempt whose end was never heard of can tell nothing; then the 401s themselves do.
    """
    if link.lost_intents > 0:
        return sum(request.status == 401 for request in link.requests)
    told = (re.search(rf"{AFTER_401}(?: \((\d+) times\))?", each.reason) for each in link.attempts)
    return sum(int(found[1] or 1) for found in told if found)


def _outcomes(story: Story, link: LinkStory) -> Iterator[str]:
    """Each attempt has its outcome's record, and each outcome its attempt.

    But for an undo that cannot even be asked for, since a person vouched for its step.
    """
    told = [word for record in link.records if (word := word_of(record)) in _TRIED]
    tried = [attempt.outcome for attempt in link.attempts]
    if link.direction == "undo" and story.link(link.step, "do").status == "resolved":
        while len(told) > len(tried) and "failed" in told:
            told.remove("failed")
    if len(told) != len(tried) or told.count("landed") != tried.count("landed"):
        yield f"outcomes of the {link.name}: {told} in the audit, attempts {tried}"


def _attempts(story: Story, link: LinkStory) -> Iterator[str]:
    """Who made an attempt tells of it, and each has the next number, unless a person began anew."""
    told = {record.actor for record in link.records if word_of(record) in _TRIED}
    for attempt in link.attempts:
        if attempt.worker not in told:
            yield f"{attempt.worker} made an attempt at the {link.name}; told of by {sorted(told)}"
    acts, slack = [act.at for act in story.acts_on(link)], CLOCKS_APART
    calls = [attempt for attempt in link.attempts if attempt.kind == "call"]
    for before, after in pairwise(calls):
        anew = any(before.finished_at - slack <= at <= after.started_at + slack for at in acts)
        if after.number <= before.number and not anew:
            yield f"attempt {after.number} at the {link.name} came after {before.number}"


def _answers(link: LinkStory) -> Iterator[str]:
    """No attempt tells of an answer that the API did not give."""
    for kind, requests in (("call", link.requests), ("verify", link.questions)):
        told = [a.status_code for a in link.attempts if a.kind == kind and a.status_code]
        given = [request.status for request in requests]
        for status in set(told):
            if told.count(status) > given.count(status):
                yield f"attempts at the {link.name} say {told}; the API answered {given}"


def _status(story: Story, link: LinkStory) -> Iterator[str]:
    last = link.records[-1] if link.records else None
    wanted = _statuses(story, link, last)
    if link.status not in wanted:
        told = "nothing" if last is None else last.kind
        yield f"the {link.name} is {link.status} in the table; the audit's last word is {told}"


def _statuses(story: Story, link: LinkStory, last: AuditRow | None) -> set[str]:
    """What a settled run's table may say of a link of which this was told last."""
    since = 0 if last is None else last.seq
    acts = [act for act in story.acts_on(link) if act.seq > since and act.what in _AFTER_ACTS]
    if acts:
        return {_AFTER_ACTS[acts[-1].what] if acts[-1].landed else "failed"}
    if last is None:  # an undo that nothing is to be done for is not told of
        return {"pending"} if link.kind is not None or link.direction == "do" else _UNTOLD
    word = word_of(last)
    if word == "begun":  # only an escalation leaves an intent open
        return {
            status
            for letter in story.escalations
            for status in (("started", "pending") if letter.reason == "poisoned" else ("unknown",))
            if letter.reason == "poisoned"
            or (letter.step, letter.direction) == (link.step, link.direction)
        }
    return {"pending"} if word in ("withdrawn", "asked") else {word}


_UNTOLD = {"pending", "not_needed"}
_AFTER_ACTS = {"resolved": "resolved", "skipped": "skipped", "retried": "pending"}


# --- writers --------------------------------------------------------------------------------------


def _times(audit: Sequence[AuditRow]) -> Iterator[str]:
    """No record is older than the one before; only what others write may come between two.

    A record tells when something happened and is numbered when it is committed, so what others
    write down in between is younger than what its owner commits next.
    """
    told = [record for record in audit if record.kind not in _WISHES]
    for before, after in pairwise(told):
        slack = SAME_CLOCK if before.actor == after.actor else CLOCKS_APART
        if after.at < before.at - slack:
            yield f"record {after.seq} is {before.at - after.at:.3f} s older than the one before"


def _writers(audit: Sequence[AuditRow]) -> Iterator[str]:
    lost: set[str] = set()  # workers from which the run was taken
    holder: AuditRow | None = None  # the latest record of a worker
    recovered = False  # since then
    telling = any("events" in record.data for record in audit)
    persons = {record.actor for record in audit if record.kind.startswith("operator.")}
    for record in audit:
        if record.kind == "run.recovered":
            lost.add(str(record.data.get("from")))
            recovered = True
        elif _by_worker(record) and record.actor not in persons:
            claimed = _claims(record)
            told = claimed or (recovered and not telling)
            if record.actor in lost and not claimed:
                yield f"record {record.seq} is by {record.actor}, which had lost the run"
            elif not told and _had_it(holder, record, telling=telling):
                yield f"record {record.seq} is by {record.actor}, and nothing tells of a takeover"
            if claimed:
                lost.discard(record.actor)
            holder, recovered = record, False


def _had_it(holder: AuditRow | None, record: AuditRow, *, telling: bool) -> bool:
    """Another worker may still have had the run when this was recorded."""
    if holder is None or holder.actor == record.actor:
        return False
    return telling or word_of(holder) == "begun"


def _open_intents(audit: Sequence[AuditRow]) -> Iterator[str]:
    """An intent is followed by its own outcome, unless its worker lost the run or gave it back."""
    begun: AuditRow | None = None
    for record in audit:
        if begun is not None and record.kind.startswith(_MOVES):
            if not _same_link(begun, record) or word_of(record) == "begun":
                yield f"{begun.kind} (audit {begun.seq}) has no outcome before {record.kind}"
            begun = None
        if record.kind in LET_GO:
            begun = None
        elif word_of(record) == "begun":
            begun = record


def _two_at_once(story: Story) -> Iterator[str]:
    """P4 one-writer: a run has one request out at a time, unless it was taken from a worker.

    The next one leaves after the answer to the one before was heard or given up. A worker that
    gives a run back does so with no request out, so nothing else explains two at once.
    """
    for before, after in pairwise(story.requests):
        if before.answered_at is None or after.at >= before.answered_at or not heard(before):
            continue
        taken = [r.at for r in story.audit if r.kind == "run.recovered"]
        if any(at <= after.at + CLOCKS_APART for at in taken):
            continue
        if not stood_still(story.link(before.step, before.direction)):
            yield f"requests {before.number} and {after.number} were out at once"


_MOVES = ("step.", "undo.", "run.escalated", *_FINAL_KINDS)


def _same_link(one: AuditRow, other: AuditRow) -> bool:
    way, other_way = one.kind.partition(".")[0], other.kind.partition(".")[0]
    return way == other_way and one.data.get("step") == other.data.get("step")


def _claims(record: AuditRow) -> bool:
    """Whoever wrote it had just claimed the run."""
    events = events_of(record)
    return bool(events) and events is not None and events[0] in ("Resumed", "Poisoned")


def _by_worker(record: AuditRow) -> bool:
    kind = record.kind
    if kind in _NOTES:  # a worker that claims a run and finds a pause writes one of them, too
        return kind == "run.paused" and _claims(record)
    return kind.startswith(("step.", "undo.", "run.", "cancel.", "outputs."))


# --- outcomes that change -------------------------------------------------------------------------


def second_outcomes(story: Story) -> Iterator[str]:
    """P3 one-outcome: what is recorded stays, and what has landed is not done again.

    Acts of persons apart.
    """
    for other in story.others:
        yield f"two runs have this name: {other.id} too"
    for link in story.links.values():
        yield from _changed(story, link)
    for request in late_requests(story):
        if not any(r.direction == "undo" and r.number < request.number for r in story.requests):
            yield f"request {request.number} is for the {request.direction} of {request.step}{LEFT}"
    ended: AuditRow | None = None
    for record in story.audit:
        if ended is not None and record.kind.startswith(("step.", "undo.", "run.")):
            yield f"{record.kind} (audit {record.seq}) after {ended.kind}"
        if record.kind in _FINAL_KINDS:
            ended = record


def _changed(story: Story, link: LinkStory) -> Iterator[str]:
    known: AuditRow | None = None
    acts = [act.seq for act in story.acts_on(link)]
    for record in link.records:
        if known is not None and not any(known.seq < seq < record.seq for seq in acts):
            yield f"{record.kind} (audit {record.seq}) after {known.kind} (audit {known.seq})"
        if word_of(record) in _CONCLUSIVE:
            known = record
    landed = sum(attempt.outcome == "landed" for attempt in link.attempts)
    if landed > 1 and not acts:
        yield f"the {link.name} landed {landed} times"
