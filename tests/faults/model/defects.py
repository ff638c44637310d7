"""Ways to break the protocol, each of which the explorer has to find.

The core's are those that the other judges look for too (tests/faults/mutants); the others are of
what is said about a worker or about a guarded write in one place of the product alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from orchestrator.testing.memory import accepting, journal, sweeps
from orchestrator.testing.memory.tables import RunRow
from tests.faults.model import exploring, moves
from tests.faults.model.exploring import Slot
from tests.faults.model.moves import Worker
from tests.faults.mutants import core
from tests.faults.mutants.patching import replaced, wrapped

Defect = Callable[[], AbstractContextManager[Any]]


@contextmanager
def writes_without_a_guard() -> Iterator[None]:
    """Whoever writes is believed to own the run, whatever its epoch."""

    def around(record: Any) -> Any:
        def spoilt(database: Any, writes: Any) -> Any:
            (row,) = database.runs.values()
            unguarded = row.owner is not None
            return record(database, [
                moves.replace(each, owner=row.owner, epoch=row.epoch) if unguarded else each
                for each in writes
            ])  # fmt: skip

        return spoilt

    with wrapped(journal, "record", around):
        yield


@contextmanager
def taken_without_a_new_epoch() -> Iterator[None]:
    """Recovery frees a dead worker's run and leaves it its epoch."""

    def around(free: Any) -> Any:
        def spoilt(database: Any, row: RunRow, now: Any, why: str) -> None:
            free(database, row, now, why)
            row.epoch -= 1

        return spoilt

    def keep(database: Any, row: RunRow, owner: str, now: Any) -> None:
        row.owner, row.claims, row.write_number = owner, row.claims + 1, 0

    with wrapped(sweeps, "_free", around), replaced(accepting, "_take", keep):
        yield


@contextmanager
def nobody_recovers() -> Iterator[None]:
    """Nobody takes over what a dead worker had in hand."""
    with replaced(exploring, "_has_no_row", lambda owner, slots: False):
        yield


@contextmanager
def lost_hints_stay_lost() -> Iterator[None]:
    """Nobody looks for hints that have vanished."""
    with replaced(sweeps, "take_lost", lambda *_, **__: []):
        yield


@contextmanager
def waits_never_end() -> Iterator[None]:
    """Nobody wakes the runs whose time has come."""
    with replaced(sweeps, "take_due", lambda *_, **__: []):
        yield


@contextmanager
def sent_in_doubt() -> Iterator[None]:
    """A process that may have lost its runs sends all the same."""

    def around(worker_of: Any) -> Any:
        def spoilt(slot: int, status: Slot) -> Worker | None:
            found = worker_of(slot, status)
            return None if found is None else replace(found, trusting=True)

        return spoilt

    with wrapped(exploring, "worker_of", around):
        yield


@contextmanager
def keyed_ones_sent_in_doubt() -> Iterator[None]:
    """Such a process holds back what has no key alone, since the others can be repeated."""

    def around(begun: Any) -> Any:
        def spoilt(self: Any) -> Iterator[Any]:
            at = moves.current(self.driver.core.saga(self.plan))
            keyed = moves._repeats(self.plan, at) is moves.Repeats.KEYED
            trusting = replace(self.worker, trusting=True) if keyed else self.worker
            yield from begun(replace(self, worker=trusting))

        return spoilt

    with wrapped(moves._Hand, "_begun", around):
        yield


@contextmanager
def called_dead_while_it_beats() -> Iterator[None]:
    """A worker is held for dead that has no reason to doubt: what a free lock alone would say."""
    rash = (Slot.UP, Slot.BURIED, "is held for dead", True)

    def around(worker_of: Any) -> Any:
        def spoilt(slot: int, status: Slot) -> Worker | None:
            found = worker_of(slot, status)
            if found is None or status is not Slot.BURIED:
                return found
            return replace(found, trusting=True)

        return spoilt

    with (
        replaced(exploring, "FALLS", (*exploring.FALLS, rash)),
        wrapped(exploring, "worker_of", around),
    ):
        yield


@contextmanager
def sent_before_the_intent() -> Iterator[None]:
    """The intent is committed only with the outcome."""

    def around(commit: Any) -> Any:
        def spoilt(self: Any, what: str, driver: Any, then: Any, **more: Any) -> Iterator[Any]:
            if what.startswith("begins"):
                yield self._now(what, driver)
            else:
                yield from commit(self, what, driver, then, **more)

        return spoilt

    with wrapped(moves._Hand, "_commit", around):
        yield


@contextmanager
def a_refused_write_spoils_its_batch() -> Iterator[None]:
    """One write that comes too late has the others of its batch refused too."""

    def around(record: Any) -> Any:
        def spoilt(database: Any, writes: Any) -> Any:
            rows = [database.runs[each.run_id] for each in writes]
            theirs = zip(rows, writes, strict=True)
            if all((row.owner, row.epoch) == (each.owner, each.epoch) for row, each in theirs):
                return record(database, writes)
            return [None for _ in writes]

        return spoilt

    with wrapped(journal, "record", around):
        yield


@contextmanager
def one_run_is_taken_from_the_dead() -> Iterator[None]:
    """A worker's death sets free the first of its runs alone."""

    def around(free: Any) -> Any:
        def spoilt(database: Any, dead: Any, most: Any, why: str) -> Any:
            return free(database, dead, 1, why)

        return spoilt

    with wrapped(sweeps, "free_runs_of", around):
        yield


COUPLING: Mapping[str, Defect] = {
    made.__name__: made
    for made in (a_refused_write_spoils_its_batch, one_run_is_taken_from_the_dead)
}
"""By which runs in one database come to have to do with each other."""

DEFECTS: Mapping[str, Defect] = {
    made.__name__: made
    for made in (
        writes_without_a_guard, taken_without_a_new_epoch, nobody_recovers,
        lost_hints_stay_lost, waits_never_end, sent_in_doubt, keyed_ones_sent_in_doubt,
        called_dead_while_it_beats,
        sent_before_the_intent,
        core.undo_in_forward_order, core.unkeyed_repeated_in_doubt,
        core.doubt_forgotten_on_takeover, core.doubtful_taken_for_failed,
        core.undoing_goes_on_after_a_failure,
    )
}  # fmt: skip
