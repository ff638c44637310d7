"""Whether two runs in one database have anything to do with each other, asked of the store's code.

The product of `together` rests on it. What the store does to two runs at once (a batch of commits,
of claims, of runs found by a sweep or taken from the dead) has to be what it does to each of them
in a database of its own, and what it does to one has to leave the other as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product

from msgspec.structs import replace

from orchestrator.core.events import CancelMode
from orchestrator.core.plan import Plan
from orchestrator.core.states import SETTLED
from orchestrator.ports import RunWrite
from orchestrator.testing.memory import accepting, journal, sweeps
from tests.faults.model.tables import OTHER_RUN, RUN, Table, write_of
from tests.faults.model.values import EPOCH, State

ALL = 10  # more than there are runs
Act = Callable[[Sequence[Table]], object]
Look = tuple[str, Act, bool]


def _claim(tables: Sequence[Table], owner: str) -> object:
    hints = [(table.run, EPOCH) for table in tables]
    return accepting.claim(tables[0].database, hints, owner=owner, unheard={})


def _commit(tables: Sequence[Table], release: bool) -> object:
    """Of what each run's first driver has decided; a run without one commits nothing."""
    writes = [each for each in (_write(table, release) for table in tables) if each is not None]
    return journal.record(tables[0].database, writes)


def _write(table: Table, release: bool) -> RunWrite | None:
    if not table.before.drivers:
        return None
    write = write_of(table.plan, table.before.drivers[0], release=release, progressed=release)
    return replace(write, run_id=table.run)


ACTS: tuple[Look, ...] = (
    ("A claims", lambda tables: _claim(tables, "A"), True),
    ("B, of which there is no row, claims", lambda tables: _claim(tables, "B"), True),
    ("the drivers commit", lambda tables: _commit(tables, release=False), False),
    ("the drivers commit and let go", lambda tables: _commit(tables, release=True), False),
    ("waits are over", lambda tables: sweeps.take_due(tables[0].database, limit=ALL), True),
    (
        "lost hints are sent again",
        lambda tables: sweeps.take_lost(tables[0].database, silent_seconds=0.5, limit=ALL), True,
    ),
    (
        "the dead are found",
        lambda tables: sweeps.recover_dead(
            tables[0].database, dead_after_seconds=1e9, also_dead=(), limit=ALL
        ), False,
    ),
    (
        "the first is cancelled",
        lambda tables: [
            accepting.request_cancel(each.database, RUN, mode=CancelMode.UNDO, reason="", by="")
            for each in tables[:1] if each.run == RUN and each.row.status not in SETTLED
        ], False,
    ),
)  # fmt: skip
"""(what, what the store does to all of these tables' runs at once, when waits are over)"""


class Coupled(Exception):
    """What befell one run depended on another."""


def look(plan: Plan, states: Iterable[State]) -> int:
    """How many pairs of states were looked at. Raises Coupled with the first that is not so.

    The first of a pair is any of the states that the store can tell apart but for its links; the
    second, of those again, one of each kind.
    """
    some = _unlike(states, _row_of)
    others = _unlike(some, _kind_of)
    for what, act, later in ACTS:
        alone = [_after(plan, each, act, later) for each in some]
        other_alone = [_after(plan, each, act, later, beside=True) for each in others]
        for (one, one_alone), (other, its) in product(
            zip(some, alone, strict=True), zip(others, other_alone, strict=True)
        ):
            first = Table(plan, one, alive=("A",), later=later)
            second = Table(plan, other, alive=("A",), later=later, beside=first)
            act([first, second])
            _compare(what, first, one_alone, (one, other))
            _compare(what, second, its, (one, other))
    return len(some) * len(others)


def _after(plan: Plan, state: State, act: Act, later: bool, *, beside: bool = False) -> State:
    """What becomes of a run alone; under the second's id where it is to stand beside another."""
    table = Table(plan, state, alive=("A",), later=later, run=OTHER_RUN if beside else RUN)
    act([table])
    return table.state(state.drivers)


def _compare(what: str, table: Table, alone: State, both: tuple[State, State]) -> None:
    found = table.state(table.before.drivers)
    if found != alone:
        raise Coupled(
            f"{what}: {table.run} comes to\n  {found}\nand alone to\n  {alone}\n"
            f"with these in one database:\n  {both[0]}\n  {both[1]}"
        )


def _unlike(states: Iterable[State], seen: Callable[[State], object]) -> list[State]:
    kept: dict[object, State] = {}
    for state in states:
        kept.setdefault(seen(state), state)
    return list(kept.values())


def _row_of(state: State) -> object:
    core, letter = state.core, state.letter is None
    row = (core.status, core.waits, core.cancel, state.owner, state.announced, state.wish, letter)
    return row, tuple((each.owner, each.current, each.core.status) for each in state.drivers[:1])


def _kind_of(state: State) -> object:
    driven = tuple(each.current for each in state.drivers[:1])
    return state.core.status, state.owner, state.wish is None, state.announced, driven
