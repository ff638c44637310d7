"""Faults of jumps: gotos, retries through other steps, loops, undos by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.core import deciding
from orchestrator.core.events import Move
from orchestrator.core.path import Path
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Saga, undo_order, undone_by_hand
from orchestrator.core.states import LinkStatus
from orchestrator.definitions.actions import Actions
from orchestrator.store import rows
from tests.faults.mutants.patching import everywhere, replaced, strike, wrapped
from tests.faults.mutants.planting import World, planted


@planted("P15", world=World.JUMPS)
def jump_not_made() -> Iterator[None]:
    """A goto after a success leads to the next step."""

    def none(self: Actions, judgement: Any, scope: Any) -> Any:
        strike()
        return judgement

    with replaced(Actions, "landed", none):
        yield


@planted("P15", world=World.JUMPS)
def way_out_not_taken() -> Iterator[None]:
    """A failure turns back although an action leads on."""

    def around(possible: Any) -> Any:
        def spoilt(saga: Saga, at: Any, moves: tuple[Move, ...]) -> Any:
            has_failed = saga.link(*at).status is not LinkStatus.LANDED
            retries = tuple(move for move in moves if move.limit is not None)
            return possible(saga, at, retries if has_failed else moves)

        return spoilt

    with wrapped(deciding, "_possible", around):
        yield


@planted("P15", world=World.JUMPS)
def one_step_further() -> Iterator[None]:
    """A jump lands one step behind the one that it names."""

    def around(jumped: Any) -> Any:
        def spoilt(self: Path, plan: Plan, position: int, move: Move) -> Any:
            if move.limit is None and move.to is not None and move.to + 1 < len(plan.steps):
                move = replace(move, to=move.to + 1)
            return jumped(self, plan, position, move)

        return spoilt

    with wrapped(Path, "jumped", around):
        yield


@planted("P15", world=World.JUMPS)
def detour_left_out() -> Iterator[None]:
    """A retry through another step goes straight to the step itself."""

    def around(jumped: Any) -> Any:
        def spoilt(self: Path, plan: Plan, position: int, move: Move) -> Any:
            return jumped(self, plan, position, replace(move, via=None))

        return spoilt

    with wrapped(Path, "jumped", around):
        yield


@planted("P15", world=World.SQL_JUMPS)
def way_forgotten_on_takeover() -> Iterator[None]:
    """Whoever takes a run over believes that it has gone straight on."""

    def none(stored: str | None) -> None:
        strike()

    with everywhere(rows.path_of, none):
        yield


@planted("P10", world=World.JUMPS)
def one_retry_more() -> Iterator[None]:
    """A retry through another step is made once more than its limit says."""
    with wrapped(Path, "retries", lambda count: lambda self, at: count(self, at) - 1):
        yield


@planted("P10", world=World.JUMPS)
def visits_bounded_too_late() -> Iterator[None]:
    """A loop is stopped after twice as many visits as are allowed."""

    def around(make: Any) -> Any:
        def spoilt(saga: Saga, *more: Any) -> Any:
            plan = saga.plan
            wider = replace(saga, plan=replace(plan, max_visits=2 * plan.max_visits))
            made = make(wider, *more)
            return replace(made, saga=replace(made.saga, plan=plan))

        return spoilt

    with wrapped(deciding, "_make", around):
        yield


@planted("P5", world=World.JUMPS)
def visits_share_a_key() -> Iterator[None]:
    """Each visit of a step has the key of its first, so that later ones are not done."""
    with replaced(Saga, "iteration", lambda self, position: 0):
        yield


@planted("P6", world=World.JUMPS)
def one_visit_undone_for_all() -> Iterator[None]:
    """Of a step that was visited several times the last visit alone is undone."""

    def latest(saga: Saga) -> list[int]:
        seen: Mapping[int, int] = {}
        for position in undo_order(saga):
            seen = {saga.path.steps[position]: position, **seen}
        return [position for position in undo_order(saga) if position in seen.values()]

    with everywhere(undo_order, latest):
        yield


@planted("P6", world=World.JUMPS)
def undone_twice() -> Iterator[None]:
    """What the workflow has undone by hand is undone once more."""
    with everywhere(undone_by_hand, lambda saga, by: saga):
        yield
