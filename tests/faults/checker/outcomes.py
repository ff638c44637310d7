"""Promises about how runs end and what they leave behind at the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.faults.checker.knowing import why_unresolvable
from tests.faults.checker.stories import (
    CLOCKS_APART,
    HAPPENED,
    LinkStory,
    Story,
    word_of,
)
from tests.faults.checker.tables import EscalationRow
from tests.faults.workload import RunSeed, refusals


def lost(story: Story) -> Iterator[str]:
    """P1 no-lost-run: what was acknowledged settles, and nobody has it then."""
    if not story.acknowledged:
        return
    if story.run is None:
        yield "acknowledged, and not in the tables"
    elif not story.settled:
        yield f"still {story.status}, going {story.run.direction}, owner {story.run.owner}"
    elif story.run.owner is not None:
        yield f"{story.status}, and worker {story.run.owner} still owns it"


def unexpected_endings(story: Story) -> Iterator[str]:
    """It ends as what the API refuses makes it end, unless a doubt that stays stopped it."""
    if story.seed is None or not story.settled or story.acts:
        return
    if story.status in _allowed(story, story.seed):
        yield from _left_out(story)
        return
    letters = story.escalations
    if story.status == "escalated" and letters and why_unresolvable(story, letters[-1]):
        return
    yield f"{story.status}; wanted {story.seed.expected.value}"


def _left_out(story: Story) -> Iterator[str]:
    if story.status == "succeeded":
        for do, _ in story.steps:
            if do.status not in HAPPENED:
                yield f"succeeded, and {do.step} is {do.status}"


def _allowed(story: Story, seed: RunSeed) -> set[str]:
    cancelled = [record for record in story.audit if record.kind == "run.cancelled"]
    if not cancelled or _past_pivot(story, seed):
        return {seed.expected.value}
    if cancelled[0].data.get("mode") == "stop":
        return {seed.expected.value, "abandoned"}
    stuck = refusals(seed.name).undo is not None
    return {seed.expected.value, "compensated"} | ({"escalated"} if stuck else set())


def _past_pivot(story: Story, seed: RunSeed) -> bool:
    """P9 pivot: from there on nothing but a person's act on an escalation turns a run back."""
    pivot = seed.shape.pivot
    return pivot is not None and bool(story.link(f"s{pivot + 1}", "do").told("landed"))


# --- effects --------------------------------------------------------------------------------------


def orphaned_effects(story: Story) -> Iterator[str]:
    """All that a run did is wanted, undone, or named to the person who has to decide.

    Of a run that is not settled nothing can be said yet: it is lost.
    """
    if story.run is None:
        if story.effects:
            yield f"{len(story.effects)} effects of a run that is not in the tables"
        return
    if story.settled:
        named = named_by(story.escalations[-1]) if story.escalations else set()
        for do, undo in story.steps:
            yield from _orphaned(story, do, undo, named)


def _orphaned(story: Story, do: LinkStory, undo: LinkStory, named: set[str]) -> Iterator[str]:
    done, undone = len(do.effects), len(undo.effects)
    if undone and not done:
        yield f"{do.step} was undone and never done"
    elif story.status == "succeeded":
        if undone:
            yield f"{do.step} was undone in a run that succeeded"
        if do.has_effect and not done and not story.left_to_a_person(do):
            yield f"{do.step} has no effect in a run that succeeded"
    elif story.status == "compensated":
        if done and not undone and undo.has_effect and not story.left_to_a_person(undo):
            yield f"{do.step} was done and not undone in a run that was compensated"
    elif done and not undone and do.step not in named and not _stopped(story):
        yield f"{do.step} stands, and the escalation does not name it"


def _stopped(story: Story) -> bool:
    """Somebody wanted the run ended with everything left as it is."""
    stops = [r for r in story.audit if r.kind == "run.cancelled" and r.data.get("mode") == "stop"]
    return bool(stops) and story.status == "abandoned"


def named_by(escalation: EscalationRow) -> set[str]:
    """Steps of which an escalation says that their effect exists or may exist."""
    context: Mapping[str, Any] = escalation.context
    named = {str(item["step"]) for item in context.get("standing") or ()}
    named |= set(context.get("unknown") or ())
    stuck = context.get("stuck")
    return named | ({str(stuck["step"])} if stuck else set())


def duplicate_effects(story: Story) -> Iterator[str]:
    """P5 effect-once, keyed or not."""
    for link in story.links.values():
        if len(link.effects) > 1:
            requests = ", ".join(str(effect.request) for effect in link.effects)
            yield f"the {link.name} was done {len(link.effects)} times (requests {requests})"


def phantom_effects(story: Story) -> Iterator[str]:
    """The tables tell of every effect what it is, and of none that is not there."""
    if story.run is None:
        if story.requests:
            yield f"{len(story.requests)} requests of a run that is not in the tables"
        return
    for link in story.links.values():
        yield from _misreported(story, link)
        yield from _unannounced(link)
        yield from _unasked(link)
    yield from _unreached(story)


def _misreported(story: Story, link: LinkStory) -> Iterator[str]:
    exists = bool(link.effects)
    if link.status == "landed" and link.has_effect and not exists:
        yield f"the {link.name} is recorded as landed and never happened"
    if link.status in ("failed", "not_needed") and exists:
        yield f"the {link.name} is recorded as {link.status} and happened"
    unaware = link.row is None or (link.status == "pending" and not link.row.doubt)
    if story.settled and exists and unaware:
        yield f"the {link.name} happened and the table knows nothing of it"


def _unasked(link: LinkStory) -> Iterator[str]:
    """The API's own two books agree."""
    if not link.effects and not any(request.applied for request in link.requests):
        return
    applied = {request.number for request in link.requests if request.applied}
    for number in sorted({effect.request for effect in link.effects} ^ applied):
        yield f"the API's books differ about an effect of request {number}"


def _unannounced(link: LinkStory) -> Iterator[str]:
    if link.effects:
        begun = min((record.at for record in link.told("begun")), default=None)
        if begun is None or begun > link.effects[0].at + CLOCKS_APART:
            yield f"the {link.name} happened before the audit says that it was begun"


def _unreached(story: Story) -> Iterator[str]:
    """No step is begun before the one before it is done."""
    done_at = 0
    for do, _ in story.steps:
        begun = next((r.seq for r in do.records if word_of(r) == "begun"), None)
        if begun is not None and begun < done_at:
            yield f"{do.step} was begun before the step before it was done"
        done = [r.seq for r in do.records if word_of(r) in HAPPENED]
        resolved = [act.seq for act in story.acts_on(do) if act.what == "resolved"]
        done_at = min([*done, *resolved], default=2**62)


# --- escalations ----------------------------------------------------------------------------------


def needless_escalations(story: Story) -> Iterator[str]:
    """A person is called only for what the API refuses, or what nothing could find out."""
    for escalation in story.escalations:
        if not _implied(story.seed, escalation) and not _excused(story, escalation):
            where = f" at the {escalation.direction} of {escalation.step}"
            yield f"{escalation.reason}{where}: {escalation.detail}"


def _excused(story: Story, escalation: EscalationRow) -> bool:
    return bool(why_unresolvable(story, escalation)) or _unprepared(story, escalation)


def _unprepared(story: Story, escalation: EscalationRow) -> bool:
    """What an undo needs of its step is not known, since a person vouched for the step."""
    if escalation.step is None or escalation.reason != "compensation_failed":
        return False
    return story.link(escalation.step, "do").status == "resolved"


def _implied(seed: RunSeed | None, escalation: EscalationRow) -> bool:
    if seed is None or escalation.step is None:
        return False
    refused, index = refusals(seed.name), int(escalation.step[1:]) - 1
    if escalation.reason == "compensation_failed":
        return escalation.direction == "undo" and refused.undo == index
    if escalation.reason != "failed_after_pivot" or seed.shape.pivot is None:
        return False
    return escalation.direction == "do" and refused.forward == index > seed.shape.pivot


def escalations_incomplete(story: Story) -> Iterator[str]:
    """P8 stop-and-tell: one open escalation for each run that stopped, and what it says is true."""
    letters = [letter for letter in story.escalations if letter.closed_at is None]
    if len(letters) != (story.status == "escalated"):
        yield f"{story.status or 'not in the tables'}, and {len(letters)} escalations are open"
    if story.status == "escalated" and letters:
        yield from _untrue(story, letters[-1])


def _untrue(story: Story, letter: EscalationRow) -> Iterator[str]:
    if not letter.detail:
        yield "the escalation does not say what has happened"
    missing = _PARTS - letter.context.keys()
    if missing:
        yield f"the escalation does not say {', '.join(sorted(missing))}"
        return
    stuck, unsure = letter.context["stuck"], set(letter.context["unknown"])
    if letter.step is not None and (stuck is None or stuck.get("step") != letter.step):
        yield f"the escalation is about {letter.step} and says of what is stuck: {stuck}"
    wanted, found = _remaining(story), list(letter.context["would_undo"])
    if found != wanted:
        yield f"the escalation says that {found} would be undone; wanted {wanted}"
    standing = {str(item["step"]) for item in letter.context["standing"]}
    for do, undo in story.steps:
        name, stands = do.step, len(do.effects) > len(undo.effects)
        if name in standing and not stands and name not in unsure:
            yield f"the escalation says that {name} stands, which it does not"
        if name in letter.context["undone"] and stands:
            yield f"the escalation says that {name} was undone, which it was not"


def _remaining(story: Story) -> list[str]:
    """Steps that a way back would undo now, latest completion first."""
    return [
        step
        for step in reversed(story.completed)
        if story.link(step, "undo").kind is not None
        and story.link(step, "do").status in HAPPENED
        and story.link(step, "undo").status not in _OVER
    ]


_OVER = HAPPENED | {"not_needed", "skipped"}
_PARTS = {"cause", "stuck", "standing", "undone", "unknown", "would_undo"}
