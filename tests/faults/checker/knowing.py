"""What the API told its client, and what the client can therefore have known.

An answer speaks only when it came whole and before the client stopped waiting for it. 408, 425,
429 and 503 say that nothing was done, as does every other 4xx; the rest of 5xx says nothing.
"""

from __future__ import annotations

from dataclasses import replace

from tests.faults.checker.stories import LinkStory, Story, word_of
from tests.faults.checker.tables import EscalationRow
from tests.faults.ledger.records import Request
from tests.faults.workload import Kind

TIMEOUT_SECONDS = 3.0
"""After which the workload's calls are given up."""
NEARLY = 0.5
"""Seconds before the timeout at which an answer may already have come too late: the client's clock
started earlier than the ledger's."""
GARBLED = "garbled"
"""The ledger's word for a body that cannot be read."""


def heard(request: Request, *, within_seconds: float = TIMEOUT_SECONDS) -> bool:
    """The answer came whole while the client can have waited for it."""
    if not request.answered or request.answered_at is None or request.status is None:
        return False
    return request.answered_at - request.at <= within_seconds


def says_done(request: Request) -> bool:
    """Its answer says that the effect exists."""
    return heard(request) and request.status is not None and 200 <= request.status < 300


def says_nothing_done(request: Request) -> bool:
    """Its answer says that this request did nothing."""
    status = request.status
    if request.applied or status is None or not heard(request):
        return False
    return 400 <= status < 500 or status == 503


def says_absent(question: Request) -> bool:
    """The answer to a question says that the effect does not exist."""
    return heard(question) and question.status in (404, 410)


def told_surely(request: Request) -> bool:
    """The client must have understood, if it lived to hear it. Garbage may be misunderstood."""
    status = request.status
    if (
        status is None
        or request.fault == GARBLED
        or not heard(request, within_seconds=TIMEOUT_SECONDS - NEARLY)
    ):
        return False
    return status < 500 or status == 503


# --- doubt ----------------------------------------------------------------------------------------


def why_unresolvable(story: Story, escalation: EscalationRow) -> str:
    """Why nothing could have resolved the doubt of an escalation; "" when something could have."""
    if escalation.step is None or escalation.reason != "in_doubt":
        return ""
    link = story.link(escalation.step, escalation.direction)
    if any(record.kind == RESTORED for record in story.audit) and _unknown_since(story, link):
        return f"the database was restored, and the {link.name} may have been made before"
    if link.kind is not Kind.UNKEYED:
        return ""
    if escalation.closed_at is not None:
        link = _until(link, escalation.opened_at)
    return _lost(story, link) or _untold(link)


def _unknown_since(story: Story, link: LinkStory) -> bool:
    """Nobody can be asked; or it undoes what was found absent and made anew: its key may be spent,
    and an answer about it may be about the undo of before."""
    anew = link.direction == "undo" and story.link(link.step, "do").kind is Kind.VERIFIED
    return anew or link.kind is Kind.UNKEYED


WISH = "run.cancel_requested"
"""Kind of record that anybody may write at any time."""
RESTORED = "run.restored"
"""Kind of record after which what the API was told before may be in no table."""
LET_GO = frozenset({"run.recovered", "run.given_back"})
"""Kinds of record after which somebody else takes a run up, whatever was under way."""


def _until(link: LinkStory, at: float) -> LinkStory:
    """The link's story up to a moment: what came later does not speak about what was known then."""
    return replace(
        link,
        requests=[request for request in link.requests if request.at <= at],
        attempts=[attempt for attempt in link.attempts if attempt.started_at <= at],
        records=[record for record in link.records if record.at <= at],
    )


def _lost(story: Story, link: LinkStory) -> str:
    """Its worker was lost between the intent and the outcome."""
    begun = link.records[-1] if link.records else None
    if begun is None or word_of(begun) != "begun":
        return ""
    following = [record for record in story.audit if record.seq > begun.seq and record.kind != WISH]
    if following and following[0].kind == "run.recovered":
        return f"worker {begun.actor} was lost after it began the {link.name}"
    if following and following[0].kind == "run.given_back":
        return f"worker {begun.actor} could not go on after it began the {link.name}"
    return ""


def _untold(link: LinkStory) -> str:
    """The API gave no telling answer, or the client stood still while it came."""
    calls = [attempt for attempt in link.attempts if attempt.kind == "call"]
    left = [call for call in calls if call.status_code is not None or call.outcome == "unknown"]
    if len(left) > len(link.requests):
        return f"a request for the {link.name} may have left and did not arrive"
    if link.requests and not told_surely(link.requests[-1]):
        last = link.requests[-1]
        return f"request {last.number} got no telling answer ({last.fault}, {last.status})"
    if stood_still(link):
        return f"the answer for the {link.name} came while its worker stood still"
    return ""


def stood_still(link: LinkStory) -> bool:
    """A client gave up on this link after its whole timeout: stopped, or not let in by the API."""
    patience = TIMEOUT_SECONDS - NEARLY
    return any(
        attempt.outcome == "unknown" and attempt.finished_at - attempt.started_at >= patience
        for attempt in link.attempts
    )
