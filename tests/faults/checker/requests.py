"""Promises about what was asked of the API, how often, with which bytes, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.faults.checker.knowing import says_absent, says_done, says_nothing_done
from tests.faults.checker.stories import HAPPENED, OUTCOMES, LinkStory, Story, word_of
from tests.faults.checker.tables import AttemptRow
from tests.faults.ledger.records import Request
from tests.faults.workload import Kind


def limits_exceeded(story: Story) -> Iterator[str]:
    """P11 limits-hold."""
    for exceeded in story.exceeded:
        yield f"request {exceeded.request}: {exceeded.limit}; found {exceeded.found}"


def changed_bytes(story: Story) -> Iterator[str]:
    """P5 one-key-one-body: each attempt of a link has the same key and the same bytes."""
    by_key: dict[str, set[str]] = {}
    for link in story.links.values():
        digests = {request.digest for request in link.requests}
        keys = {request.key for request in link.requests}
        if len(digests) > 1:
            yield f"the {link.name} was sent with {len(digests)} different contents"
        if len(keys) > 1:
            yield f"the {link.name} was sent with {len(keys)} different keys"
        if link.kind is Kind.KEYED and None in keys:
            yield f"the {link.name} was sent without its key"
        elif link.kind is Kind.KEYED and keys and link.row and link.row.key not in keys:
            yield f"the {link.name} was sent with another key than was recorded with its intent"
        for request in link.requests:
            if request.key is not None:
                by_key.setdefault(request.key, set()).add(request.digest)
    for key, contents in by_key.items():
        if len(contents) > 1:
            yield f"key {key} was sent with {len(contents)} different contents"


# --- repeating what has no key --------------------------------------------------------------------


def unkeyed_repeats(story: Story) -> Iterator[str]:
    """P5: where no key is honoured, nothing is repeated unless it is known to be undone.

    Known is what an answer said that came in time and whole, and what is in the audit: of a worker
    that was lost between the intent and the outcome nobody knows what it heard. After an act of a
    person the link is theirs to repeat.
    """
    for link in story.links.values():
        if link.may_not_be_repeated or any(r.route == "plain" for r in link.requests):
            yield from _blind_requests(story, link)
            yield from _blind_intents(story, link)
            yield from _blind_attempts(story, link)


def _blind_requests(story: Story, link: LinkStory) -> Iterator[str]:
    doubtful: Request | None = None
    silenced_at = 0.0  # when the client could know that nothing was done
    acts = [act.at for act in story.acts_on(link)]
    for request in sorted([*link.requests, *link.questions], key=lambda r: r.number):
        if request.question:
            if doubtful is not None and says_absent(request):
                silenced_at = request.answered_at or 0.0
                doubtful = None
            continue
        if doubtful is not None and not any(doubtful.at <= at <= request.at for at in acts):
            yield f"request {request.number} repeats the {link.name} of request {doubtful.number}"
        elif request.at < silenced_at:
            yield f"request {request.number} came before the answer that would have allowed it"
        doubtful = request
        if says_nothing_done(request):
            doubtful, silenced_at = None, request.answered_at or 0.0


def _blind_intents(story: Story, link: LinkStory) -> Iterator[str]:
    open_seq: int | None = None
    acts = [act.seq for act in story.acts_on(link)]
    for record in link.records:
        if word_of(record) != "begun":
            open_seq = None
            continue
        if open_seq is not None and not any(open_seq < seq < record.seq for seq in acts):
            yield f"the {link.name} was begun again (audit {record.seq}) while in doubt"
        open_seq = record.seq


def _blind_attempts(story: Story, link: LinkStory) -> Iterator[str]:
    doubtful: AttemptRow | None = None
    acts = [act.at for act in story.acts_on(link)]
    for attempt in link.attempts:
        if attempt.kind == "call" and doubtful is not None:
            since = doubtful.finished_at
            if not any(since <= at <= attempt.started_at for at in acts):
                yield f"the {link.name} was tried again after an attempt of unknown outcome"
        if attempt.outcome != "unknown":
            doubtful = None
        elif attempt.kind == "call":
            doubtful = attempt


# --- order ----------------------------------------------------------------------------------------


def out_of_order_compensations(story: Story) -> Iterator[str]:
    """P6 reverse-order: back strictly in reverse, one at a time, and never forward again."""
    yield from _undos_out_of_order(story)
    yield from _records_out_of_order(story)
    for request in late_requests(story):
        if any(r.direction == "undo" and r.number < request.number for r in story.requests):
            yield f"request {request.number} is for the {request.direction} of {request.step}{LEFT}"


LEFT = ", which the run had left"


def _undos_out_of_order(story: Story) -> Iterator[str]:
    """By the ledger alone: when an undo is first asked for, all that was done later is undone."""
    completed = sorted(
        ((do, undo) for do, undo in story.steps if do.effects),
        key=lambda links: links[0].effects[0].number,
    )
    for do, undo in story.steps:
        if undo.requests and not do.effects and do.status not in HAPPENED:
            yield f"request {undo.requests[0].number} undoes {do.step}, which was never done"
    for place, (_, undo) in enumerate(completed):
        if undo.requests:
            later = [after for _, after in completed[place + 1 :]]
            yield from _not_undone_before(story, undo.requests[0], later)


def _not_undone_before(story: Story, first: Request, later: Sequence[LinkStory]) -> Iterator[str]:
    for undo in later:
        if undo.kind is None or story.left_to_a_person(undo):
            continue
        answers = [*undo.requests, *undo.questions]
        known = any(says_done(r) and (r.answered_at or 0.0) <= first.at for r in answers)
        if not known or not undo.effects or undo.effects[0].at > first.at:
            yield (
                f"request {first.number} undoes {first.step} before {undo.step}, which was done"
                " later, is known to be undone"
            )


def _records_out_of_order(story: Story) -> Iterator[str]:
    """By the audit alone: each is recorded as done before the next is begun."""
    order = story.completed
    turned = False
    for record in story.audit:
        if record.kind == "undo.begun":
            turned = True
            yield from _begun_too_early(story, order, record.seq, str(record.data.get("step")))
        elif record.kind == "step.begun" and turned:
            yield f"{record.data.get('step')} was begun (audit {record.seq}) on the way back"


def _begun_too_early(story: Story, order: list[str], seq: int, step: str) -> Iterator[str]:
    if step not in order:
        yield f"the undo of {step} was begun (audit {seq}), and it was never done"
        return
    for later in order[order.index(step) + 1 :]:
        undo = story.link(later, "undo")
        if undo.kind is None or story.left_to_a_person(undo):
            continue
        if not any(_ends(word_of(record)) and record.seq < seq for record in undo.records):
            yield f"the undo of {step} was begun (audit {seq}) before {later} was undone"


def _ends(word: str) -> bool:
    return word in OUTCOMES - {"pending", "failed", "unknown"}


def late_requests(story: Story) -> Iterator[Request]:
    """Requests for links that the run has left, and that nothing excuses.

    A worker that was lost may still send what it was about to send: as many as it left open, and
    only what a key makes harmless.
    """
    late: dict[tuple[str, str], list[Request]] = {}
    at: tuple[str, str] | None = None
    left: set[tuple[str, str]] = set()
    for request in story.requests:
        link = (request.step, request.direction)
        if request.question or link == at:
            continue
        if link in left:
            late.setdefault(link, []).append(request)
            continue
        if at is not None:
            left.add(at)
            if request.direction == "undo":
                left.update(key for key in story.links if key[1] == "do")
        at = link
    for key, requests in late.items():
        if not _excused(story.link(*key), requests):
            yield requests[0]


def _excused(link: LinkStory, requests: Sequence[Request]) -> bool:
    harmless = link.kind in (Kind.KEYED, Kind.READ) and not any(r.applied for r in requests)
    return harmless and len(requests) <= link.lost_intents
