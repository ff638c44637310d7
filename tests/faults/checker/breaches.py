"""Honest histories, each spoilt in one way, and the promises that this breaks.

A row names the promise that a breach is first of all one of; a breach that breaks others too, as
a doubled effect of an unkeyed request does, names those in `also`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.faults.checker import spoiling as spoil
from tests.faults.checker.histories import (
    Write,
    after_pivot,
    asked_and_repeated,
    begin,
    busy_and_repeated,
    cancelled_after_its_pivot,
    cancelled_before_its_pivot,
    compensated,
    doubtful,
    handed_over,
    of_unkeyed,
    recovered_keyed,
    run,
    skipped_by_a_person,
    stopped_by_its_caller,
    succeeded,
    undo_refused,
    woken_too_late,
)
from tests.faults.checker.honest import Scribe, World
from tests.faults.ledger.records import Exceeded

Spoil = Callable[[World, Scribe], None]


# --- spoilt ones ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """A history, how it is spoilt, and which promises that breaks."""

    invariant: str  # the promise of which this is first of all a breach
    why: str
    write: Write
    spoil: Spoil
    also: frozenset[str] = frozenset()


def case(invariant: str, why: str, write: Write, spoilt: Spoil, *also: str) -> Case:
    return Case(invariant=invariant, why=why, write=write, spoil=spoilt, also=frozenset(also))


def _vanished(world: World, scribe: Scribe) -> None:
    world.scribes.clear()


def _unsettled(world: World, scribe: Scribe) -> None:
    spoil.drop_record(scribe, scribe.audit[-1], renumber=True)
    spoil.change_run(scribe, status="running", settled_at=None)


def _end_as(status: str) -> Spoil:
    def spoilt(world: World, scribe: Scribe) -> None:
        spoil.change_record(scribe, scribe.audit[-1], kind=f"run.{status}")
        spoil.change_run(scribe, status=status)

    return spoilt


def _without_undo(world: World, scribe: Scribe) -> None:
    """The last undo was left out altogether."""
    undo = world.requests[-1]
    spoil.drop_request(world, undo.number)
    spoil.drop_effect(world, world.effects[-1].number)
    kept = [r for r in scribe.audit
            if not (r.kind.startswith("undo.") and r.data["step"] == undo.step)]  # fmt: skip
    spoil.number(scribe, kept)
    spoil.drop_attempt(scribe, lambda a: (a.step, a.direction) == (undo.step, "undo"))
    del scribe.links[undo.step, "undo"]


def _blind_repeat(world: World, scribe: Scribe) -> None:
    """The question that would have allowed the second request was never asked."""
    question = next(request for request in world.requests if request.question)
    spoil.drop_request(world, question.number)
    spoil.drop_attempt(scribe, lambda attempt: attempt.kind == "verify")
    first = [record for record in scribe.audit if record.kind == "step.pending"]
    spoil.drop_record(scribe, first[1], renumber=True)


def _repeat_of_success(world: World, scribe: Scribe) -> None:
    """An unkeyed request is sent twice by one attempt."""
    spoil.repeat_request(world, world.requests[0].number, later=0.01)


def _asked_too_early(world: World, scribe: Scribe) -> None:
    """The question was asked before the request about which it should have been."""
    question = next(request for request in world.requests if request.question)
    spoil.change_request(world, question.number, answered_at=question.at + 2.0)


def _unheard_busy(world: World, scribe: Scribe) -> None:
    """The first worker was lost before it could know that the API was busy."""
    record = spoil.record_of(scribe, "step.pending")
    spoil.change_record(scribe, record, kind="run.recovered", actor="engine", data={"from": "w1"})
    spoil.drop_attempt(scribe, lambda attempt: attempt.status_code == 503)
    scribe.attempts[-1] = replace(scribe.attempts[-1], worker="w2")
    later = [record for record in scribe.audit if record.seq > record_seq(scribe, "run.recovered")]
    for record in later:
        events = [{"event": "Resumed"}, *record.data.get("events", ())]
        spoil.change_record(scribe, record, actor="w2", data={**record.data, "events": events})


def record_seq(scribe: Scribe, kind: str) -> int:
    return spoil.record_of(scribe, kind).seq


def _swapped_undos(world: World, scribe: Scribe) -> None:
    spoil.swap_links(world, scribe, "s1", "s2", "undo")


def _two_at_once(world: World, scribe: Scribe) -> None:
    """The next undo is asked for before the one before is answered."""
    first, second = (r for r in world.requests if r.direction == "undo")
    assert second.answered_at is not None
    spoil.change_request(world, first.number, answered_at=second.at + 0.01)


def _forward_on_the_way_back(world: World, scribe: Scribe) -> None:
    """The last step is asked for after the first undo."""
    last = next(request for request in world.requests if request.step == "s3")
    undo = next(request for request in world.requests if request.direction == "undo")
    spoil.change_request(world, last.number, number=undo.number + 1000, at=undo.at + 0.01,
                         answered_at=undo.at + 0.02)  # fmt: skip


def _one_more_late(world: World, scribe: Scribe) -> None:
    spoil.repeat_request(world, world.requests[-1].number)


def _without_link(world: World, scribe: Scribe) -> None:
    del scribe.links["s3", "do"]


def _refused_credential(world: World, _: Scribe) -> None:
    """The API has one request more on its record than the audit tells of."""
    sent = next(request for request in world.requests if request.step == "s2")
    refused = replace(sent, number=98, status=401, applied=False, replayed=False, verdict=None)
    world.requests.append(refused)


def _late_with_effect(world: World, scribe: Scribe) -> None:
    """The late request of a lost worker had an effect, for nothing was replayed."""
    late = world.requests[-1]
    spoil.change_request(world, late.number, applied=True, replayed=False)
    effect = world.effects[0]
    world.effects.append(replace(effect, number=99, at=late.at, request=late.number))


def _needless(shape: str) -> Write:
    """Where a key or a question would have settled the doubt."""

    def write(world: World) -> Scribe:
        scribe = begin(world, shape)
        scribe.in_doubt("s1")
        return scribe.end("succeeded")

    return write


def _escalates_in_doubt(world: World, scribe: Scribe) -> None:
    spoil.drop_record(scribe, scribe.audit[-1], renumber=True)
    scribe.escalate("in_doubt", "s1")
    record = spoil.record_of(scribe, "step.pending")
    spoil.change_record(scribe, record, kind="step.unknown")


def _telling(world: World, scribe: Scribe) -> None:
    """The API had answered in time, and its worker lived."""
    request = world.requests[-1]
    spoil.change_request(world, request.number, status=200, answered=True, fault="none",
                         answered_at=request.at + 0.05)  # fmt: skip


def _poisoned(world: World, scribe: Scribe) -> None:
    spoil.change_escalation(scribe, reason="poisoned")


def _skipped_intent(world: World, scribe: Scribe) -> None:
    spoil.drop_record(scribe, spoil.record_of(scribe, "step.begun", "s2"), renumber=True)


def _late_intent(world: World, scribe: Scribe) -> None:
    """The intent is written long after the effect."""
    record = spoil.record_of(scribe, "step.begun", "s2")
    for known in [r for r in scribe.audit if r.seq >= record.seq]:
        spoil.change_record(scribe, known, at=known.at + 5.0)


def _recorded_failed(world: World, scribe: Scribe) -> None:
    """The refused step had its effect all the same."""
    request = next(request for request in world.requests if request.status == 422)
    world.effects.append(replace(world.effects[0], number=99, step=request.step, at=request.at,
                                 request=request.number))  # fmt: skip


def _stale_writer(world: World, scribe: Scribe) -> None:
    """A worker writes the outcome of its request after it has lost the run."""
    spoil.change_record(scribe, spoil.record_of(scribe, "step.landed", "s1"), actor="w1")


def _overlapping(world: World, scribe: Scribe) -> None:
    """The second request arrives while the first is out."""
    second = world.requests[1]
    spoil.change_request(world, 1, answered_at=second.at + 0.01)


def _untold_takeover(world: World, scribe: Scribe) -> None:
    """Another worker takes over from one that had begun, and nobody says so."""
    spoil.drop_record(scribe, spoil.record_of(scribe, "run.recovered"), renumber=True)
    second = [record for record in scribe.audit if record.kind == "step.begun"][1]
    spoil.change_record(scribe, second, data={"step": "s1", "events": [{"event": "Began"}]})


def _landed_again(world: World, scribe: Scribe) -> None:
    """A recorded success is executed and recorded again."""
    landed = spoil.record_of(scribe, "step.landed", "s1")
    spoil.insert_record(scribe, landed, "step.begun", data={"step": "s1"})
    begun = scribe.audit[scribe.audit.index(spoil.record_of(scribe, "step.landed", "s1")) + 1]
    spoil.insert_record(scribe, begun, "step.landed", data={"step": "s1"})
    spoil.repeat_request(world, world.requests[0].number)
    scribe.attempts.append(replace(scribe.attempts[0], id="again"))


def _other_ending(world: World, scribe: Scribe) -> None:
    spoil.insert_record(scribe, scribe.audit[-1], "run.compensated")


def _twin(world: World, scribe: Scribe) -> None:
    """The same key at submit gave two runs."""
    twin = Scribe(World(), scribe.seed)
    twin.id = "twin"
    twin.row = replace(scribe.row, id="twin")
    world.scribes.append(twin)


def _unnamed(world: World, scribe: Scribe) -> None:
    spoil.change_escalation(scribe, context={"standing": [], "unknown": []})


def _read_left_out(world: World, scribe: Scribe) -> None:
    """The third step, which reads, was never taken."""
    number = next(request.number for request in world.requests if request.step == "s3")
    spoil.drop_request(world, number)
    kept = [r for r in scribe.audit if r.data.get("step") != "s3"]
    spoil.number(scribe, kept)
    spoil.drop_attempt(scribe, lambda attempt: attempt.step == "s3")
    del scribe.links["s3", "do"]


def refused_unkeyed(world: World) -> Scribe:
    """A last step that is refused, after one attempt that could not even connect."""
    scribe = begin(world, "final-unkeyed", "k1-000009-f3")
    scribe.perform("s1")
    scribe.perform("s2")
    scribe.begin("s3")
    scribe.outcome("s3", word="pending", outcome="not_landed", status=None)
    scribe.refused("s3")
    scribe.undo("s2", "s1")
    return scribe.end("compensated")


def _as_doubt(world: World, scribe: Scribe) -> None:
    """It escalates instead of turning back."""
    world.requests = [request for request in world.requests if request.direction == "do"]
    world.effects = [effect for effect in world.effects if effect.direction == "do"]
    scribe.attempts = [attempt for attempt in scribe.attempts if attempt.direction == "do"]
    scribe.attempts[-1] = replace(scribe.attempts[-1], outcome="unknown")
    for way in ("s1", "s2"):
        del scribe.links[way, "undo"]
    failed = spoil.record_of(scribe, "step.failed")
    spoil.number(scribe, [record for record in scribe.audit if record.seq <= failed.seq])
    spoil.change_record(scribe, scribe.audit[-1], kind="step.unknown")
    scribe.escalate("in_doubt", "s3")


def _nobody_decided(world: World, scribe: Scribe) -> None:
    """The undo was skipped, and no person said so."""
    act = spoil.record_of(scribe, "operator.skipped")
    spoil.change_record(scribe, act, kind="run.compensating", actor="w1",
                        data={"events": [{"event": "Resumed"}]})  # fmt: skip
    spoil.change_record(scribe, scribe.audit[-1], actor="w1")


CASES = [
    case("lost", "not in the tables", succeeded, _vanished, "orphaned_effects", "phantom_effects"),
    case("lost", "never settled", succeeded, _unsettled),
    case("lost", "still owned", succeeded, lambda _, s: spoil.change_run(s, owner="w1")),
    case("orphaned_effects", "an undo left out", compensated, _without_undo),
    case("orphaned_effects", "not named", doubtful, _unnamed),
    case("orphaned_effects", "an undo that did nothing", compensated,
         lambda w, _: spoil.drop_effect(w, w.effects[-1].number), "phantom_effects"),
    case("duplicate_effects", "keyed", succeeded,
         lambda w, _: spoil.repeat_effect(w, w.effects[0].number)),
    case("duplicate_effects", "an undo", compensated,
         lambda w, _: spoil.repeat_effect(w, w.effects[-1].number)),
    case("unkeyed_repeats", "never asked", asked_and_repeated, _blind_repeat),
    case("unkeyed_repeats", "one attempt, two requests", of_unkeyed, _repeat_of_success,
         "audit_gaps", "second_outcomes"),
    case("unkeyed_repeats", "answered too late", asked_and_repeated, _asked_too_early,
         "audit_gaps"),
    case("unkeyed_repeats", "nobody heard the answer", busy_and_repeated, _unheard_busy),
    case("out_of_order_compensations", "swapped", compensated, _swapped_undos),
    case("out_of_order_compensations", "two at once", compensated, _two_at_once, "audit_gaps"),
    case("out_of_order_compensations", "forward again", compensated,
         _forward_on_the_way_back, "audit_gaps"),
    case("out_of_order_compensations", "more late requests than lost", woken_too_late,
         _one_more_late, "audit_gaps"),
    case("duplicate_effects", "late and not replayed", woken_too_late, _late_with_effect,
         "out_of_order_compensations"),
    case("unexpected_endings", "abandoned by nobody", run("k1-000007-f1", "one"),
         _end_as("abandoned")),
    case("unexpected_endings", "succeeded without its last step", run("k1-000007-f1", "one"),
         _end_as("succeeded"), "orphaned_effects"),
    case("unexpected_endings", "after its pivot", cancelled_before_its_pivot,
         cancelled_after_its_pivot),
    case("needless_escalations", "keyed", _needless("one"), _escalates_in_doubt,
         "unexpected_endings"),
    case("needless_escalations", "can be asked about", _needless("verified"),
         _escalates_in_doubt, "unexpected_endings"),
    case("needless_escalations", "the API had told", doubtful, _telling, "unexpected_endings"),
    case("needless_escalations", "poisoned", undo_refused, _poisoned),
    case("audit_gaps", "a hole", succeeded,
         lambda _, s: spoil.drop_record(s, spoil.record_of(s, "step.landed", "s2"))),
    case("audit_gaps", "an outcome left out", succeeded,
         lambda _, s: spoil.drop_record(s, spoil.record_of(s, "step.landed", "s2"),
                                        renumber=True)),
    case("audit_gaps", "an attempt left out", succeeded,
         lambda _, s: spoil.drop_attempt(s, lambda a: a.step == "s2")),
    case("audit_gaps", "a link left out", compensated, _without_link),
    case("audit_gaps", "an untold 401", succeeded, _refused_credential),
    case("audit_gaps", "no end", succeeded,
         lambda _, s: spoil.drop_record(s, s.audit[-1], renumber=True)),
    case("audit_gaps", "no beginning", succeeded,
         lambda _, s: spoil.drop_record(s, s.audit[0], renumber=True)),
    case("audit_gaps", "back in time", succeeded,
         lambda _, s: spoil.change_record(s, s.audit[3], at=s.audit[3].at - 2.0)),
    case("audit_gaps", "a stale writer", recovered_keyed, _stale_writer),
    case("audit_gaps", "an untold takeover", recovered_keyed, _untold_takeover),
    case("audit_gaps", "two workers at once", succeeded, _overlapping),
    case("audit_gaps", "skipped by nobody", skipped_by_a_person, _nobody_decided,
         "unexpected_endings", "orphaned_effects"),
    case("orphaned_effects", "stopped without a wish", stopped_by_its_caller,
         lambda _, s: spoil.drop_record(s, spoil.record_of(s, "run.cancelled"), renumber=True),
         "unexpected_endings"),
    case("audit_gaps", "a claim that is not told", handed_over,
         lambda _, s: spoil.change_record(s, spoil.record_of(s, "step.begun", "s2"),
                                          data={"step": "s2"})),
    case("audit_gaps", "an answer that was not given", succeeded,
         lambda w, _: spoil.change_request(w, 2, status=None, answered=False)),
    case("phantom_effects", "no intent", succeeded, _skipped_intent, "audit_gaps"),
    case("phantom_effects", "the intent came later", succeeded, _late_intent),
    case("phantom_effects", "never happened", succeeded,
         lambda w, _: spoil.drop_effect(w, w.effects[-1].number), "orphaned_effects"),
    case("phantom_effects", "recorded as failed", compensated, _recorded_failed,
         "orphaned_effects", "out_of_order_compensations"),
    case("changed_bytes", "other content", recovered_keyed,
         lambda w, _: spoil.change_request(w, 2, digest="other")),
    case("changed_bytes", "another key", recovered_keyed,
         lambda w, _: spoil.change_request(w, 2, key="other")),
    case("changed_bytes", "not the key of the intent", succeeded,
         lambda _, s: spoil.change_link(s, "s1", "do", key="other")),
    case("changed_bytes", "no key", succeeded, lambda w, _: spoil.change_request(w, 2, key=None)),
    case("changed_bytes", "one key for two links", succeeded,
         lambda w, _: spoil.change_request(w, 2, key=w.requests[0].key)),
    case("limits_exceeded", "one too many", succeeded,
         lambda w, _: w.exceeded.append(
             Exceeded(at=w.now, request=2, limit="100/1s", found=101))),
    case("second_outcomes", "landed again", succeeded, _landed_again, "audit_gaps"),
    case("second_outcomes", "ended again", succeeded, _other_ending, "audit_gaps"),
    case("second_outcomes", "one name, two runs", succeeded, _twin),
    case("escalations_incomplete", "none is open", undo_refused,
         lambda w, s: spoil.change_escalation(s, closed_at=w.now, resolution="retried")),
    case("escalations_incomplete", "open for nothing", succeeded,
         lambda w, s: s.escalations.extend(doubtful(World()).escalations),
         "needless_escalations", "audit_gaps"),
    case("escalations_incomplete", "parts are missing", undo_refused,
         lambda _, s: s.escalations.append(replace(s.escalations.pop(), context={
             "standing": [{"step": "s1"}]}))),
    case("escalations_incomplete", "says that it stands", undo_refused,
         lambda _, s: spoil.change_escalation(
             s, context={"standing": [{"step": "s1"}, {"step": "s2"}]})),
    case("escalations_incomplete", "says what would be undone", after_pivot,
         lambda _, s: spoil.change_escalation(s, context={"would_undo": ["s1", "s2"]})),
    case("unexpected_endings", "a step left out", run("k1-000007", "read-between"),
         _read_left_out, "phantom_effects"),
    case("needless_escalations", "refused, and taken for a doubt", refused_unkeyed, _as_doubt,
         "unexpected_endings"),
    case("escalations_incomplete", "says that it was undone", after_pivot,
         lambda _, s: spoil.change_escalation(s, context={"undone": ["s1"]})),
]  # fmt: skip
