"""The story of a run in plain words, told from its audit alone.

A sentence for each thing that happened, in the order of the audit, with the numbers of the records
that prove it. Calls are told where they ended, by `calls`; everything else by its record. A kind of
record that has no words here is told by its name and details, so that nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.calls import CallMade, Record, calls_of, link_at
from orchestrator.core.states import FINAL, Direction, LinkStatus, RunStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """One thing that happened."""

    at: datetime
    seq: int  # of the record that proves it
    who: str
    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)  # names and values, for people


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A run's story."""

    sentences: Sequence[Sentence]
    calls: Sequence[CallMade]
    outcome: str  # the last sentence: how it ended, or how it stands


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What the run's row adds: what it is now."""

    status: RunStatus
    began: datetime
    settled: datetime | None


def tell(about: About, records: Sequence[Record]) -> Told:
    """The whole story. `records` are all of the run's audit, in order."""
    calls = list(calls_of(records))
    by_seq: dict[int, list[CallMade]] = {}
    for call in calls:
        by_seq.setdefault(call.seq, []).append(call)
    sentences: list[Sentence] = []
    for record in records:
        sentences += _of_record(record, by_seq.get(record.seq, ()))
    return Told(sentences=sentences, calls=calls, outcome=_outcome(about, records, calls))


def _of_record(record: Record, calls: Sequence[CallMade]) -> Iterable[Sentence]:
    for call in calls:
        text = f"{_attempt(call)}: {_of_call(call)}"
        if call.outcome:
            text += f": {_ending(call.outcome, call.reason)}{_next(record)}"
        yield _sentence(record, text, _evidence(call))
    found = link_at(record)
    if found is None:
        yield from _of_run(record)
    elif not calls and found[1] != "begun":
        (step, direction), what = found
        yield _sentence(record, f"{_link(step, direction)}: {_of_link(what, record)}")


def _of_run(record: Record) -> Iterable[Sentence]:
    if "erased" in record.data:
        what = record.kind.replace(".", " ", 1)
        told = {"content": f"sha256:{record.data['erased']}"}
        yield _sentence(record, f"{what}; the details were erased", told)
        return
    if record.kind == "run.accepted":
        yield from _of_agent(record)
    words = WORDS.get(record.kind)
    if words is None:
        yield _sentence(record, record.kind.replace(".", " ", 1), _details(record))
    else:
        yield _sentence(record, words(record), _details(record, _SAID.get(record.kind, ())))


# --- calls ----------------------------------------------------------------------------------------


def _link(step: str, direction: Direction) -> str:
    return f"step {step}" if direction is Direction.FORWARD else f"undo of {step}"


def _attempt(call: CallMade) -> str:
    which = "question whether it is done" if call.verify else f"attempt {call.attempt}"
    return f"{_link(call.step, call.direction)}, {which}"


def _of_call(call: CallMade) -> str:
    if not call.method:
        return "a call, of which its release kept no details"
    if not call.is_outside:
        took = "" if call.seconds is None else f" ran for {_seconds(call.seconds)}"
        began = " began, and nothing tells how it ended" if call.sent is None else took
        return f"the function {call.url}{began}"
    request = f"{call.method} {call.url}"
    if call.sent is None:
        return f"{request} may have left; nothing was recorded of an answer"
    if not call.sent:
        return f"{request} did not leave"
    times = "" if call.sent == 1 else f" ({call.sent} requests)"
    if call.status is None:
        return f"{request}{times} left and had no whole answer"
    return f"{request}{times} answered {call.status} after {_seconds(call.seconds or 0.0)}"


def _evidence(call: CallMade) -> dict[str, Any]:
    told: dict[str, Any] = {
        "idempotency key": call.key, "credential": call.credential,
        "waited at the gate": _seconds(call.waited) if call.waited else "",
        "request body": call.asked and f"sha256:{call.asked}",
        "answer body": call.answered and f"sha256:{call.answered}",
    }  # fmt: skip
    return {name: value for name, value in told.items() if value}


_ENDINGS = {
    LinkStatus.PENDING: "it is to be tried again",
    LinkStatus.LANDED: "it is done",
    LinkStatus.HANDLED: "it had no effect, and an action of the workflow's author took over",
    LinkStatus.FAILED: "it had no effect, and is not tried again",
    LinkStatus.UNKNOWN: "whether it had its effect is unknown, and nothing automatic is left",
    LinkStatus.NOT_NEEDED: "there was nothing to undo",
    LinkStatus.RESOLVED: "a person vouches that it is done",
    LinkStatus.SKIPPED: "a person left the effect standing",
}


def _ending(outcome: str, reason: str) -> str:
    text = _ENDINGS[LinkStatus(outcome)]
    return f"{text} ({reason})" if reason else text


def _next(record: Record) -> str:
    """When a retry comes, as the core decided it."""
    then = str((record.data.get("events") or [{}])[-1].get("then", ""))
    if then.startswith("wait "):
        return f", at {_clock(then.removeprefix('wait '))}"
    return ""


def _clock(at: str) -> str:
    """A time of a record in UTC to the second, as all times of a story."""
    try:
        return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return at


def _of_link(what: str, record: Record) -> str:
    if what in _ENDINGS:
        return _ending(what, record.data.get("reason", ""))
    if what == "withdrawn":
        return "taken back before its request left"
    if what == "asked":
        signal, asks = record.data.get("signal"), record.data.get("asks")
        if asks in ("child", "undo"):
            return "waits for a run of its own" if asks == "child" else "waits for what undoes it"
        if asks == "block":
            return "waits for its branches"
        if asks == "map":
            return "waits for the runs of its items"
        if asks == "sleep":
            return f"sleeps until {_clock(record.data['until'])}"
        return f"waits for {'the signal ' + signal if signal else 'a decision'}"
    return what


# --- everything else ------------------------------------------------------------------------------


def _of_agent(record: Record) -> Iterable[Sentence]:
    """What led a software agent to submit it, where one did."""
    for look in record.data.get("looked", ()):
        if "chose" in look:
            reason = look.get("reason")
            text = f"the agent chose {look['chose']}" + (f": “{reason}”" if reason else "")
            said = {name: look[name] for name in ("client", "model") if name in look}
            yield _sentence(record, text, {"chose at": look["at"], **said})
            continue
        if "described" in look:
            text = f"the agent had {look['described']} described"
        else:
            shown = ", ".join(look["found"]) or "nothing"
            text = f"the agent asked for “{look['question']}” and was shown: {shown}"
        yield _sentence(record, text, {"asked at": look["at"]})
    looked = record.data.get("looked")
    if looked and "chose" not in looked[-1]:  # of releases that kept no reason
        yield _sentence(record, f"the agent chose {record.data['workflow']}")


def _because(record: Record, name: str = "reason") -> str:
    reason = record.data.get(name)
    return f": {reason}" if reason else ""


def _said(record: Record, name: str) -> str:
    """A detail, as far as the record has it: one without is no reason to tell nothing."""
    value = record.data.get(name, "?")
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _until(record: Record) -> str:
    """Of a run that was let wait before an API."""
    if "code" in record.data:
        return f"it waits for a worker that has {record.data['code']}"
    for event in reversed(record.data.get("events", ())):
        if event["event"] == "Parked":
            return f"the API lets it wait until {_clock(event['until'])}"
        if event["event"] == "Awaited":
            return (
                f"it sleeps until there is an answer, at the latest until {_clock(event['until'])}"
            )
    return "it waits"


def _decided(record: Record) -> str:
    step, decision = record.data.get("step"), record.data.get("decision")
    return f"{record.actor} decided on {step}: {decision}{_because(record)}"


def _resolved(record: Record) -> str:
    landed = record.data.get("landed", True)
    what = "it is done" if landed else "it has no effect"
    return f"{record.actor} vouched for {record.data.get('step')}: {what}{_because(record)}"


def _runs(record: Record) -> str:
    """The runs whose effects one undoes."""
    undoes = record.data["undoes"]
    several = undoes if isinstance(undoes, list | tuple) else (undoes,)
    return f"run{'s' * (len(several) != 1)} {', '.join(several)}"


def _which(ended: Mapping[str, Any]) -> str:
    branch = ended.get("branch")
    return f"run {ended['run']}" if branch is None else f"branch {branch} (run {ended['run']})"


def _by_alias(accepted: Record) -> str:
    return f" (its alias {accepted.data['alias']})," if "alias" in accepted.data else ","


def _accepted(record: Record) -> str:
    """Who wanted it; of an item of a map: whose it is."""
    of = record.data.get("of")
    what = f"{_said(record, 'workflow')}, version {_said(record, 'version')}"
    if of is not None:
        return f"item {of['item']} of step {of['step']} of run {of['run']} began it: {what}"
    return (
        f"{record.actor} submitted {what}{_by_alias(record)}"
        f" for {_said(record, 'tenant')}, under the key {_said(record, 'idempotency_key')}"
    )


def _map_began(record: Record) -> str:
    items = _counted(record.data.get("items", 0), "item")
    if "undoes" in record.data:
        return f"{_said(record, 'step')} began to undo {items}, {_said(record, 'parallel')} at once"
    return (
        f"{_said(record, 'step')} began a run of {_said(record, 'workflow')} for each of {items},"
        f" {_said(record, 'parallel')} at once, of which {_said(record, 'most_failures')} may fail"
    )


def _map_ended(record: Record) -> str:
    left = record.data.get("total", 0) - record.data.get("begun", 0)
    never = f", and {left} never began" if left else ""
    if "undoes" in record.data:
        return (
            f"{_said(record, 'succeeded')} of {_said(record, 'total')} items of"
            f" {_said(record, 'step')} are undone, {_said(record, 'failed')} could not be{never}"
        )
    return (
        f"the items of {_said(record, 'step')} have ended: {_said(record, 'succeeded')} of"
        f" {_said(record, 'total')} as wanted, {_said(record, 'failed')} not{never}"
    )


WORDS: Mapping[str, Callable[[Record], str]] = {
    "run.accepted": _accepted,
    "map.begun": _map_began,
    "map.stopped": lambda r: f"no further item of {_said(r, 'step')} begins{_because(r)}",
    "map.ended": _map_ended,
    "run.child_of": lambda r: (
        f"it undoes {_runs(r)} for step {_said(r, 'step')} of run {_said(r, 'run')}"
        if "undoes" in r.data
        else f"it is the branch {r.data['branch']} of run {_said(r, 'run')}"
        if "branch" in r.data
        else f"step {_said(r, 'step')} of run {_said(r, 'run')} began it"
    ),
    "child.begun": lambda r: (
        f"{_said(r, 'step')} began run {_said(r, 'run')}, which undoes {_runs(r)}"
        if "undoes" in r.data
        else f"the branch {r.data['branch']} began as run {_said(r, 'run')}"
        if "branch" in r.data
        else f"{_said(r, 'step')} began run {_said(r, 'run')} of {_said(r, 'workflow')}"
        f" v{_said(r, 'version')}"
    ),
    "children.ended": lambda r: (
        f"what {_said(r, 'step')} waited for has ended: "
        + ", ".join(f"{_which(each)} {each['status']}" for each in r.data.get("runs", ()))
    ),
    "run.rerun_of": lambda r: (
        f"it takes over from run {_said(r, 'run')} and begins with {_said(r, 'step')}{_because(r)}"
    ),
    "run.rerun_as": lambda r: (
        f"{r.actor} had it run again as {_said(r, 'run')} from {_said(r, 'step')}{_because(r)}"
    ),
    "run.migrated": lambda r: (
        f"{r.actor} has it go on by version {_said(r, 'to')} instead of {_said(r, 'from')}, at step"
        f" {_said(r, 'step')}"
        + (", where it waits on as before" if r.data.get("keeps_waiting") else "")
        + f"; what it did is undone as its own version says{_because(r)}"
    ),
    "run.edited": lambda r: (
        f"{r.actor} gave {_said(r, 'step')} other values for {_said(r, 'values')},"
        f" confirmed by {_said(r, 'confirmed_by')}{_because(r)}"
    ),
    "run.cancel_requested": lambda r: f"{r.actor} wants it cancelled{_because(r)}",
    "run.cancelled": lambda r: f"the cancel is taken up{_because(r)}",
    "cancel.refused": lambda r: f"the cancel is refused{_because(r, 'why')}",
    "run.pause_requested": lambda r: f"{r.actor} wants it paused{_because(r)}",
    "run.paused": lambda r: f"it is paused{_because(r)}",
    "run.held": lambda r: f"it waits for a person before it begins{_because(r, 'why')}",
    "run.resumed": lambda r: f"{r.actor} lets it go on",
    "run.recovered": lambda r: f"it was taken from worker {_said(r, 'from')}{_because(r, 'why')}",
    "run.given_back": lambda r: f"the worker gave it back{_because(r, 'why')}",
    "run.parked": _until,
    "run.waiting": _until,
    "run.running": lambda r: "a worker goes on with it",
    "run.compensating": lambda r: "it turned back: what it did is to be undone",
    "run.escalated": lambda r: (
        f"it stopped for a person to decide ({_said(r, 'reason')}){_because(r, 'detail')}"
    ),
    "run.succeeded": lambda r: "it succeeded",
    "run.compensated": lambda r: f"it ended, and all it did is undone{_because(r, 'cause')}",
    "run.abandoned": lambda r: f"it ended where it was{_because(r, 'cause')}",
    "outputs.failed": lambda r: f"its outputs could not be made{_because(r, 'why')}",
    "operator.retried": lambda r: f"{r.actor} has it tried again{_because(r)}",
    "operator.resolved": _resolved,
    "operator.skipped": lambda r: f"{r.actor} leaves the effect standing{_because(r)}",
    "operator.abandoned": lambda r: f"{r.actor} ended it where it was{_because(r)}",
    "escalation.claimed": lambda r: f"{r.actor} took it on",
    "escalation.released": lambda r: f"{r.actor} gave it back to the others",
    "escalation.commented": lambda r: f"{r.actor} remarked{_because(r, 'text')}",
    "agent.repeated": lambda r: (
        f"{r.actor} wanted the same again under another key, and was "
        + ("refused" if r.data.get("refused") else f"let: run {_said(r, 'run')}")
    ),
    "signal.received": lambda r: f"{r.actor} sent the signal {_said(r, 'name')}",
    "approval.decided": _decided,
    "approval.reminded": lambda r: f"a decision on {_said(r, 'step')} is asked for again",
    "audit.erased": lambda r: f"{r.actor} had its payloads erased{_because(r)}",
    "proposal.made": lambda r: f"{r.actor} proposed to {_said(r, 'act')}{_because(r)}",
}
_SAID: Mapping[str, tuple[str, ...]] = {
    "run.accepted": (
        "workflow", "version", "alias", "tenant", "idempotency_key", "looked", "of",
    ),
    "map.begun": ("step", "workflow", "items", "parallel", "most_failures"),
    "map.stopped": ("step", "reason"),
    "map.ended": ("step", "total", "begun", "succeeded", "failed"),
    "run.rerun_of": ("run", "step", "reason"),
    "run.rerun_as": ("run", "step", "reason"),
    "run.child_of": ("run", "step", "undoes", "branch"),
    "child.begun": ("step", "run", "workflow", "version", "undoes", "branch"),
    "children.ended": ("step", "runs"),
    "run.migrated": ("from", "to", "step", "keeps_waiting", "reason"),
    "run.edited": ("step", "values", "confirmed_by", "reason"),
    "run.cancel_requested": ("reason",), "run.cancelled": ("reason",), "cancel.refused": ("why",),
    "run.pause_requested": ("reason",), "run.paused": ("reason",), "run.held": ("why",),
    "run.recovered": ("from", "why"), "run.given_back": ("why",),
    "run.escalated": ("reason", "detail"), "run.compensated": ("cause",),
    "run.abandoned": ("cause",), "outputs.failed": ("why",),
    "operator.retried": ("reason", "run"), "operator.resolved": ("reason", "run", "step", "landed"),
    "operator.skipped": ("reason", "run"), "operator.abandoned": ("reason", "run"),
    "audit.erased": ("reason",), "escalation.commented": ("text",), "signal.received": ("name",),
    "approval.decided": ("step", "decision", "reason"), "approval.reminded": ("step",),
    "proposal.made": ("act", "reason"),
}  # fmt: skip
"""Details that a sentence has said already."""


def _sentence(record: Record, text: str, evidence: Mapping[str, Any] | None = None) -> Sentence:
    return Sentence(
        at=record.at, seq=record.seq, who=record.actor, text=text, evidence=evidence or {}
    )  # fmt: skip


def _details(record: Record, said: Sequence[str] = ()) -> dict[str, Any]:
    left_out = {"events", *said}
    return {
        name: value for name, value in record.data.items()
        if name not in left_out and value not in (None, "")
    }  # fmt: skip


# --- the end --------------------------------------------------------------------------------------


def _outcome(about: About, records: Iterable[Record], calls: Sequence[CallMade]) -> str:
    landed = [found[0][1] for r in records if (found := link_at(r)) and found[1] == "landed"]
    undone = sum(direction is Direction.BACKWARD for direction in landed)
    outside = [call for call in calls if call.is_outside]
    unknown = sum(call.sent is None for call in outside)
    requests = sum(call.sent or 0 for call in outside)
    text = (
        f"{_standing(about)}: {_counted(len(landed) - undone, 'step')} done,"
        f" {undone} undone, {_counted(requests, 'request')} to the outside"
    )
    return text + (f", and {unknown} of which nobody knows whether they left" if unknown else "")


def _standing(about: About) -> str:
    if about.settled is None:
        return f"it is {about.status}"
    took = _seconds((about.settled - about.began).total_seconds())
    return f"{'ended' if about.status in FINAL else 'stands'} {about.status} after {took}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"
