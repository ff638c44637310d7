"""What a planted fault is, and the table of all of them.

A fault is a generator function in one of the modules beside: it breaks something and yields. Its
name is the fault's, the first line of its docstring says what it breaks.

    @planted("P6")
    def undo_in_forward_order() -> Iterator[None]:
        \"\"\"Compensations run in the order in which the steps were done.\"\"\"
        with everywhere(undo_order, …):
            yield
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Sabotage = Callable[[], AbstractContextManager[Any]]


class World(StrEnum):
    """Where a fault is looked for. Each world has its own control: the same without the fault."""

    STORM = "storm"  # the engine over a store in memory, in bad weather
    SQL_STORM = "sql storm"  # over the real store on SQLite, in bad weather
    CALM = "calm"  # nothing goes wrong, and no sweep looks for lost hints
    PEOPLE = "people"  # bad weather, runs are cancelled, and operators decide about dead letters
    PIVOTS = "pivots"  # the same, and every run has a pivot
    SQL_PEOPLE = "sql people"  # the same over the real store
    VERSIONS = "versions"  # bad weather, and two versions of each workflow are in use at once
    LIMITS = "limits"  # bad weather, and the API has a rate and allows few calls at once
    DEAF = "deaf"  # bad weather over the real store, and held locks tell nothing
    ICE = "ice"  # workers stand still just before a request leaves, until others have taken over
    SQL_ICE = "sql ice"  # the same over the real store
    LOSSY = "lossy"  # bad weather, and the real store loses every seventh answer
    JUMPS = "jumps"  # bad weather, and runs that branch, loop, retry through steps
    SQL_JUMPS = "sql jumps"  # the same over the real store
    SEARCHED = "searched"  # bad weather, and all that is stored is searched for the credential

    @property
    def slow(self) -> bool:
        """A simulation over the real store takes ten times as long."""
        return self in _OVER_SQL


_OVER_SQL = {
    World.SQL_STORM,
    World.SQL_PEOPLE,
    World.SQL_ICE,
    World.DEAF,
    World.LOSSY,
    World.SQL_JUMPS,
}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One planted fault."""

    name: str
    breaks: str  # the promise, "P4"
    what: str  # what is wrong with it, one line
    world: World
    sabotage: Sabotage


MUTANTS: dict[str, Mutant] = {}
HARMLESS: dict[str, Mutant] = {}
"""What looks like a fault and breaks no promise, as its docstring says. It must not be caught."""


def planted(
    breaks: str, *, world: World = World.STORM
) -> Callable[[Callable[[], Iterator[Any]]], Sabotage]:
    """Enter a fault in the table."""
    return _enter(MUTANTS, breaks, world)


def harmless(*, world: World = World.STORM) -> Callable[[Callable[[], Iterator[Any]]], Sabotage]:
    """Enter what the design forgives, and so the judge."""
    return _enter(HARMLESS, "nothing", world)


def _enter(
    table: dict[str, Mutant], breaks: str, world: World
) -> Callable[[Callable[[], Iterator[Any]]], Sabotage]:

    def enter(make: Callable[[], Iterator[Any]]) -> Sabotage:
        name = make.__name__
        if name in table:
            raise ValueError(f"planted fault {name}: found two; wanted one of this name")
        sabotage = contextmanager(make)
        what = (inspect.getdoc(make) or "").partition("\n")[0]
        table[name] = Mutant(name=name, breaks=breaks, what=what, world=world, sabotage=sabotage)
        return sabotage

    return enter


def nothing() -> AbstractContextManager[None]:
    """The fault of a control: none."""
    return nullcontext()
