"""Honest histories in which something happens that a rule has to be precise about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.faults.checker import spoiling as spoil
from tests.faults.checker.honest import Scribe, World, drive
from tests.faults.workload import BY_NAME, RunSeed

Write = Callable[[World], Scribe]


def run(name: str, shape: str) -> Write:
    """Without any fault."""
    return lambda world: drive(world, RunSeed(name=name, shape=BY_NAME[shape]))


succeeded = run("k1-000001", "short")
compensated = run("k1-000002-f3", "all-keyed")
undo_refused = run("k1-000003-f3-u1", "all-keyed")
after_pivot = run("k1-000004-f4", "pivot")
of_verified = run("k1-000005", "verified")
of_unkeyed = run("k1-000006", "unkeyed")


def begin(world: World, shape: str, name: str = "k1-000009") -> Scribe:
    return world.submit(name, BY_NAME[shape])


def recovered_keyed(world: World) -> Scribe:
    """A worker is lost with a request out; the key brings the first answer again."""
    scribe = begin(world, "short")
    scribe.begin("s1")
    scribe.request("s1", status=None, fault="drop_after")
    scribe.recovered("w2")
    scribe.begin("s1")
    scribe.request("s1", applied=False, replayed=True)
    scribe.outcome("s1")
    scribe.perform("s2")
    return scribe.end("succeeded")


def woken_too_late(world: World) -> Scribe:
    """The lost worker wakes up after the run has turned back and sends what it was about to."""
    scribe = begin(world, "short", "k1-000009-f2")
    scribe.begin("s1")
    scribe.recovered("w2")
    scribe.perform("s1")
    scribe.refused("s2")
    scribe.begin("s1", "undo")
    scribe.request("s1", "undo")
    scribe.request("s1", applied=False, replayed=True)
    scribe.outcome("s1", "undo")
    return scribe.end("compensated")


def asked_and_repeated(world: World) -> Scribe:
    """A connection is cut, the question is answered with "not there", and it is done again."""
    scribe = begin(world, "verified", "k1-000009-f2")
    scribe.in_doubt("s1", applied=False)
    scribe.asked("s1", there=False)
    scribe.perform("s1")
    scribe.refused("s2")
    scribe.undo("s1")
    return scribe.end("compensated")


def busy_and_repeated(world: World) -> Scribe:
    """An unkeyed request may be repeated after an answer that nothing was done."""
    scribe = begin(world, "final-unkeyed")
    scribe.perform("s1")
    scribe.perform("s2")
    scribe.begin("s3")
    scribe.request("s3", status=503, applied=False, fault="busy")
    scribe.outcome("s3", word="pending", outcome="not_landed", status=503)
    scribe.perform("s3")
    return scribe.end("succeeded")


def doubtful(world: World) -> Scribe:
    """Unkeyed, cut: nobody can tell."""
    scribe = begin(world, "final-unkeyed")
    scribe.perform("s1")
    scribe.perform("s2")
    scribe.in_doubt("s3")
    return scribe.escalate("in_doubt", "s3")


def worker_lost_unkeyed(world: World) -> Scribe:
    """Unkeyed, answered, and the worker is lost before it can write that down."""
    scribe = begin(world, "final-unkeyed")
    scribe.perform("s1")
    scribe.perform("s2")
    scribe.begin("s3")
    scribe.request("s3")
    scribe.recovered("w2")
    return scribe.escalate("in_doubt", "s3")


def garbled(world: World) -> Scribe:
    """Unkeyed, done, and the answer cannot be read."""
    scribe = begin(world, "final-unkeyed")
    scribe.perform("s1")
    scribe.perform("s2")
    scribe.in_doubt("s3", status=200, fault="garbled")
    return scribe.escalate("in_doubt", "s3")


def retried_by_a_person(world: World) -> Scribe:
    """A person orders the doubtful step to be tried again; from there on it is theirs."""
    scribe = doubtful(world)
    spoil.drop_effect(world, world.effects[-1].number)
    spoil.change_request(world, world.requests[-1].number, applied=False)
    scribe.decide("retried", "pending")
    scribe.claim("w3")
    scribe.perform("s3")
    return scribe.end("succeeded")


def resolved_by_a_person(world: World) -> Scribe:
    """A person has looked: the doubtful step is done."""
    scribe = doubtful(world)
    scribe.decide("resolved", "resolved", landed=True)
    scribe.tell("run.succeeded", actor="ada")
    scribe.row = replace(scribe.row, status="succeeded")
    return scribe


def skipped_by_a_person(world: World) -> Scribe:
    """What cannot be undone is left standing, and the run ends there."""
    scribe = undo_refused(world)
    scribe.decide("skipped", "skipped")
    scribe.tell("run.compensated", actor="ada")
    scribe.row = replace(scribe.row, status="compensated")
    return scribe


def stopped_by_its_caller(world: World) -> Scribe:
    """Cancelled with everything left as it is; the wish is younger than what follows it."""
    scribe = begin(world, "short")
    scribe.perform("s1")
    scribe.tell("run.cancel_requested", actor="client", mode="stop")
    scribe.audit[-1] = replace(scribe.audit[-1], at=world.now + 5.0)
    scribe.tell("run.cancelled", mode="stop")
    return scribe.end("abandoned")


def cancelled_before_its_pivot(world: World, name: str = "k1-000009", after: int = 2) -> Scribe:
    """Cancelled after so many steps, and what they did is undone."""
    scribe = world.submit(name, BY_NAME["pivot"])
    for step in range(after):
        scribe.perform(f"s{step + 1}")
    scribe.tell("run.cancelled", mode="undo")
    scribe.undo("s2")
    scribe.undo("s1")
    return scribe.end("compensated")


def cancelled_after_its_pivot(world: World, scribe: Scribe) -> None:
    """Instead of the one above, the same a step later: nothing honest."""
    for told in (world.scribes, world.requests, world.effects):
        told.clear()
    cancelled_before_its_pivot(world, scribe.seed.name, after=3)


def handed_over(world: World) -> Scribe:
    """Two workers after each other, in good order."""
    scribe = begin(world, "short")
    scribe.perform("s1")
    scribe.hop("w2")
    scribe.perform("s2")
    return scribe.end("succeeded")


def parked(world: World) -> Scribe:
    """An intent is withdrawn while the gate is full."""
    scribe = begin(world, "short")
    scribe.withdraw("s1")
    scribe.perform("s1")
    scribe.perform("s2")
    return scribe.end("succeeded")


HONEST: list[Write] = [
    succeeded, compensated, undo_refused, after_pivot, of_verified, of_unkeyed, recovered_keyed,
    woken_too_late, asked_and_repeated, busy_and_repeated, doubtful, worker_lost_unkeyed, garbled,
    retried_by_a_person, resolved_by_a_person, skipped_by_a_person,
    stopped_by_its_caller, cancelled_before_its_pivot, handed_over, parked,
]  # fmt: skip
