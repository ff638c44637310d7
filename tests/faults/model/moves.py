"""Everything that can happen next to one run, each a single step that nothing comes in between of.

What decides and what writes is the product's own: `core.deciding.decide`, and the store of the
simulations. Restated here, since a driver of the engine cannot be copied in the middle of its work,
is in which order a worker calls them (`engine/driver.py`, `engine/entering.py`): the boundary at
which a wish to cancel is taken up, the commit of an intent, the call, the ways to let a run go.
No test holds that order against the engine yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.plan import Effects as Repeats
from orchestrator.core.plan import Plan
from orchestrator.core.saga import (
    Command,
    Decision,
    Escalate,
    Finish,
    Perform,
    Verify,
    Wait,
    current,
    stuck,
)
from orchestrator.core.states import SETTLED, Direction, RunStatus
from orchestrator.errors import IllegalTransition
from orchestrator.ports import NewEscalation
from orchestrator.testing.memory import accepting, journal, letters, sweeps
from tests.faults.model.tables import LETTER, RUN, Table, write_of
from tests.faults.model.values import (
    EPOCH,
    NOW,
    WAKE,
    At,
    Budget,
    Core,
    Driver,
    Effects,
    Phase,
    State,
    in_order,
    plain_command,
)

MAX_CLAIMS = 2
"""More claims than this without progress, and a run counts as what takes its workers down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """What a worker process is to a run's next move."""

    id: str
    listed: bool  # it has a row in `workers`
    trusting: bool  # it heard from the database lately, and holds its runs for its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One thing that can happen."""

    what: str
    after: State
    helps: bool = True  # happens by itself, if only nothing goes wrong and nobody interferes
    effect: At | None = None  # done at the API


class Moves:
    """Of one run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def let_go(self, state: State) -> State:
        """Without drivers that only have a commit before them, which is refused now as later.

        Epochs only grow: whatever else happens in between, nobody will have seen of such a driver.
        """
        kept = tuple(each for each in state.drivers if not self._is_refused(state, each))
        return state if len(kept) == len(state.drivers) else state._replace(drivers=kept)

    def _is_refused(self, state: State, driver: Driver) -> bool:
        if driver.current or driver.phase is Phase.BEGUN:
            return False
        table = Table(self.plan, state, alive=(), later=False)
        return journal.record(table.database, [write_of(self.plan, driver)]) == [None]

    # --- by nobody in particular ------------------------------------------------------------------

    def common(self, state: State) -> Iterator[Move]:
        """What sweeps, people and the broker do."""
        if state.hint:
            yield Move(what="the hint is lost", after=state._replace(hint=False), helps=False)
        yield from self._swept(state, "a wait is over", lambda t: sweeps.take_due(t, limit=1))
        yield from self._swept(
            state, "a lost hint is sent again",
            lambda t: sweeps.take_lost(t, silent_seconds=0.5, limit=1),
        )  # fmt: skip
        if state.budget.cancels and state.core.status not in SETTLED:
            for mode in e.CancelMode:
                yield self._cancel(state, mode)
        if state.budget.acts and state.core.status is RunStatus.ESCALATED:
            yield from self._acts(state)

    def _swept(self, state: State, what: str, sweep: Callable[..., list[object]]) -> Iterator[Move]:
        if state.owner is not None or state.hint:
            return
        table = Table(self.plan, state, alive=(), later=True)
        if sweep(table.database):
            yield Move(what=what, after=table.state(state.drivers, hint=True))

    def recovered(self, state: State) -> Move | None:
        """Its owner has no row in `workers` any more."""
        if state.owner is None:
            return None
        table = Table(self.plan, state, alive=(), later=False)
        found = sweeps.recover_dead(table.database, dead_after_seconds=1e9, also_dead=(), limit=1)
        if table.row.owner is not None:
            return None
        return Move(
            what=f"it is taken from {state.owner}",
            after=table.state(state.drivers, hint=bool(found)),
        )

    def _cancel(self, state: State, mode: e.CancelMode) -> Move:
        table = Table(self.plan, state, alive=(), later=False)
        found = accepting.request_cancel(table.database, RUN, mode=mode, reason="", by="")
        after = table.state(state.drivers, hint=state.hint or found is not None)
        spent = after.budget._replace(cancels=after.budget.cancels - 1)
        return Move(
            what=f"somebody cancels it ({mode})", after=after._replace(budget=spent), helps=False
        )

    # --- by a person who says the truth -----------------------------------------------------------

    def _acts(self, state: State) -> Iterator[Move]:
        saga = state.core.saga(self.plan)
        at = stuck(saga)
        there = at is not None and _is_there(state.world, at)
        vouched = e.Resolved(landed=there)
        repeats = at is None or not there or saga.call(*at).effects is Repeats.KEYED
        for event in (vouched, e.Skipped(), e.Abandoned(), *([e.Retried()] if repeats else [])):
            try:
                decision = decide(saga, event, NOW)
            except IllegalTransition:
                continue
            yield self._act(state, event, decision)

    def _act(self, state: State, event: e.Event, decision: Decision) -> Move:
        table = Table(self.plan, state, alive=(), later=False)
        person = Driver("", True, Phase.DECIDED, Core.of(decision.saga), None)
        write = write_of(
            self.plan, person, progressed=True, release=True,
            hinted=not isinstance(decision.command, Finish),
        )  # fmt: skip
        write = replace(write, epoch=EPOCH + 1)
        letters.act(
            table.database, LETTER, write, expected_epoch=EPOCH, resolution="", by="", reason=""
        )
        after = table.state(state.drivers, hint=write.hinted)
        spent = after.budget._replace(acts=after.budget.acts - 1)
        name = f"{type(event).__name__}({'landed' if getattr(event, 'landed', False) else ''})"
        return Move(
            what=f"an operator decides: {name}", after=after._replace(budget=spent), helps=False
        )

    # --- by a worker ------------------------------------------------------------------------------

    def of(self, worker: Worker, state: State) -> Iterator[Move]:
        """What a living worker process can do about the run."""
        yield from self._claims(worker, state)
        for driver in state.drivers:
            if driver.owner == worker.id:
                rest = _without(state.drivers, driver)
                yield from _Hand(self.plan, state, driver, rest, worker).moves()

    def _claims(self, worker: Worker, state: State) -> Iterator[Move]:
        """With the hint that is there, and with any of the past, which may come at any time."""
        for epoch in (EPOCH, EPOCH - 1) if state.hint else (EPOCH - 1,):
            listed = [worker.id] if worker.listed else []
            # Whoever was published is due: what waits is published when its time has come.
            table = Table(self.plan, state, alive=listed, later=state.announced)
            taken = accepting.claim(table.database, [(RUN, epoch)], owner=worker.id, unheard={})
            if not taken:
                continue
            saga = table.saga()
            poisoned = table.row.claims > MAX_CLAIMS
            event = e.Poisoned(claims=table.row.claims) if poisoned else e.Resumed()
            decision = decide(saga, event, NOW)
            after = table.state(state.drivers)
            driver = _decided(Driver(worker.id, True, Phase.DECIDED, state.core, None), decision)
            what = f"{worker.id} claims it" + ("" if epoch == EPOCH else " by an old hint")
            yield Move(what=what, after=_with(self.plan, after, driver))


@dataclass(frozen=True, kw_only=False, slots=True)
class _Hand:
    """One driver of the run, and what it can do next."""

    plan: Plan
    state: State
    driver: Driver
    rest: tuple[Driver, ...]
    worker: Worker

    def moves(self) -> Iterator[Move]:
        driver = self.driver
        if driver.phase is Phase.BEGUN:
            yield from self._begun()
            return
        match driver.command:
            case Perform(step=step, direction=direction):
                yield from self._perform((step, direction))
            case Verify(step=step, direction=direction):
                yield from self._verify((step, direction))
            case Wait():
                yield from self._commit("sleeps", driver, self._kept, release=True)
            case Escalate() as stop:
                opened = NewEscalation(
                    id=LETTER, reason=stop.reason, detail="", step=stop.step,
                    direction=stop.direction, context={},
                )  # fmt: skip
                yield from self._commit(
                    "escalates", driver, lambda d: None, release=True, escalation=opened
                )
            case Finish():
                yield from self._commit("ends it", driver, lambda d: None, release=True)
            case _:
                raise AssertionError(f"the driver stands before {driver.command}")

    # --- at a link --------------------------------------------------------------------------------

    def _perform(self, at: At) -> Iterator[Move]:
        driver = self.driver
        begun = _decided(driver, decide(driver.core.saga(self.plan), e.Began(), NOW))
        begun = begun._replace(phase=Phase.BEGUN, command=driver.command)
        yield from self._commit(f"begins {_name(at)}", begun, lambda d: d)
        yield from self._hop(driver)
        if not driver.unheard and _repeats(self.plan, at) is Repeats.KEYED:  # one kind is enough
            yield self._on("is told to come later", driver, e.Parked(until=WAKE))

    def _hop(self, driver: Driver) -> Iterator[Move]:
        yield from self._commit(
            "hands it on", driver, lambda d: None, hint=True, release=True, hinted=True
        )

    def _begun(self) -> Iterator[Move]:
        driver = self.driver
        at = current(driver.core.saga(self.plan))
        assert at is not None, "an intent is one of some link"
        unkeyed = _repeats(self.plan, at) is Repeats.UNKEYED
        withdrawn = _decided(driver, decide(driver.core.saga(self.plan), e.Withdrawn(), NOW))
        if _taken(self.plan, driver) is not None:
            taken = _taken(self.plan, withdrawn)
            yield self._now(f"withdraws {_name(at)}, since it is cancelled", taken or withdrawn)
            if unkeyed:
                return
        if not self.worker.trusting:
            parked = decide(withdrawn.core.saga(self.plan), e.Parked(until=WAKE), NOW)
            yield self._now(f"does not send {_name(at)} in doubt", _decided(withdrawn, parked))
            return
        yield from self._call(at)

    # --- calls ------------------------------------------------------------------------------------

    def _call(self, at: At) -> Iterator[Move]:
        """The request leaves; the API does it or not, and answers or not."""
        there = _is_there(self.state.world, at)
        known = there and _repeats(self.plan, at) is Repeats.KEYED
        name = _name(at)
        yield self._answered(f"{name} lands", e.Landed(), None if known else at)
        if not self.state.budget.misfortunes:
            return
        lost = e.InDoubt(reason="", jitter=0.5)
        yield self._answered(f"{name} lands unheard", lost, None if known else at, bad=True)
        if not known:
            yield self._answered(f"{name} is lost", lost, None, bad=True)
            final = e.NotLanded(reason="", settles_doubt=True)
            yield self._answered(f"{name} is refused", final, None, bad=True)
        busy = e.NotLanded(reason="", retryable=True, jitter=0.5)
        yield self._answered(f"{name} finds the API busy", busy, None, bad=True)

    def _verify(self, at: At) -> Iterator[Move]:
        """The API is asked whether it has done it, and tells the truth if it tells anything."""
        if _is_there(self.state.world, at):
            yield self._answered(f"{_name(at)} is found", e.Landed(), None)
        else:
            absent = e.NotLanded(reason="", retryable=True, settles_doubt=True, jitter=0.5)
            yield self._answered(f"{_name(at)} is not found", absent, None)
        if self.state.budget.misfortunes:
            event = e.InDoubt(reason="", jitter=0.5)
            yield self._answered(f"the question about {_name(at)} is lost", event, None, bad=True)

    def _answered(self, what: str, event: e.Event, effect: At | None, *, bad: bool = False) -> Move:
        state, driver = self.state, self.driver
        decision = decide(driver.core.saga(self.plan), event, NOW)
        left = _decided(driver._replace(progressed=True), decision)
        after = state._replace(drivers=self.rest)
        if effect is not None:
            after = after._replace(world=_done(state.world, effect))
        if bad:
            after = after._replace(budget=_spent(state.budget))
        return Move(
            what=f"{driver.owner}: {what}",
            after=self._with(after, left),
            helps=not bad,
            effect=effect,
        )

    def _kept(self, driver: Driver) -> Driver | None:
        """It was to sleep; the store leaves it with its owner while a wish is open."""
        return _taken(self.plan, driver)

    # --- writes -----------------------------------------------------------------------------------

    def _commit(
        self, what: str, driver: Driver, then: Callable[[Driver], Driver | None],
        *, hint: bool = False, **more: object,
    ) -> Iterator[Move]:  # fmt: skip
        """One guarded write; refused, the driver lets go. `hint`: one is published after it."""
        if self.driver.unheard not in ("", what):
            return
        state = self.state
        table = Table(self.plan, state, alive=(), later=False)
        # Given back in good order is progress too: such a run does not take its workers down.
        progressed = driver.progressed or "release" in more
        write = write_of(self.plan, driver, progressed=progressed, **more)
        (signals,) = journal.record(table.database, [write])
        if signals is None:
            yield Move(
                what=f"{driver.owner} {what}, and is refused",
                after=table.state(self.rest),
            )
            return
        heard = driver._replace(
            core=Core.of(write.saga), wish=signals.cancel, refuses=False, progressed=False,
            unheard="",
        )  # fmt: skip
        left = then(heard) if table.row.owner is not None or not more else None
        if left is None and table.row.owner is not None:
            left = heard  # kept, while a wish is open that it has just taken up or refused
        done = table.state(self.rest)
        done = done if left is None else self._with(done, left)
        yield Move(what=f"{driver.owner} {what}", after=done)
        if hint and table.row.owner is None:
            told = done._replace(hint=True)
            yield Move(what=f"{driver.owner} {what} with a hint", after=told)
        if state.budget.misfortunes and not self.driver.unheard:
            unheard = self._with(table.state(self.rest), self.driver._replace(unheard=what))
            after = unheard._replace(budget=_spent(state.budget))
            yield Move(what=f"{driver.owner} {what}, and is not told", after=after, helps=False)

    def _on(self, what: str, driver: Driver, event: e.Event) -> Move:
        return self._now(what, _decided(driver, decide(driver.core.saga(self.plan), event, NOW)))

    def _with(self, state: State, driver: Driver) -> State:
        return _with(self.plan, state, driver)

    def _now(self, what: str, left: Driver) -> Move:
        after = self.state._replace(drivers=self.rest)
        return Move(what=f"{left.owner} {what}", after=self._with(after, left))


# --- small parts ----------------------------------------------------------------------------------


def _decided(driver: Driver, decision: Decision) -> Driver:
    command: Command | None = plain_command(decision.command)
    return driver._replace(phase=Phase.DECIDED, core=Core.of(decision.saga), command=command)


def _spent(budget: Budget) -> Budget:
    return budget._replace(misfortunes=budget.misfortunes - 1)


def _without(drivers: tuple[Driver, ...], driver: Driver) -> tuple[Driver, ...]:
    found = list(drivers)
    found.remove(driver)
    return tuple(found)


def _with(plan: Plan, state: State, driver: Driver) -> State:
    return state._replace(drivers=in_order((*state.drivers, _ready(plan, driver))))


def _ready(plan: Plan, driver: Driver) -> Driver:
    """The driver before its next act; what is between concerns nobody else and always happens."""
    while driver.phase is Phase.DECIDED and not driver.unheard:
        if driver.command is None:
            driver = _decided(driver, decide(driver.core.saga(plan), e.Resumed(), NOW))
            continue
        at_link = isinstance(driver.command, Perform | Verify)
        taken = _taken(plan, driver) if at_link else None
        if taken is None:
            break
        driver = taken
    return driver


def _taken(plan: Plan, driver: Driver) -> Driver | None:
    """It has taken its wish up; None: there is none. Past its pivot it refuses it, and goes on."""
    if driver.wish is None or driver.refuses or driver.core.cancel is not None:
        return None
    event = e.CancelRequested(mode=driver.wish)
    try:
        return _decided(driver, decide(driver.core.saga(plan), event, NOW))
    except IllegalTransition:
        return driver._replace(refuses=True)


def _repeats(plan: Plan, at: At) -> Repeats:
    step = plan.steps[at[0]]
    if at[1] is Direction.FORWARD:
        return step.call.effects
    assert step.compensation is not None, f"step {step.id} has no compensation"
    return step.compensation.call.effects


def _is_there(world: tuple[Effects, ...], at: At) -> bool:
    effects = world[at[0]]
    return (effects.done if at[1] is Direction.FORWARD else effects.undone) > 0


def _done(world: tuple[Effects, ...], at: At) -> tuple[Effects, ...]:
    before = world[at[0]]
    after = (
        before._replace(done=before.done + 1)
        if at[1] is Direction.FORWARD
        else before._replace(undone=before.undone + 1)
    )
    return (*world[: at[0]], after, *world[at[0] + 1 :])


def _name(at: At) -> str:
    return f"{'step' if at[1] is Direction.FORWARD else 'undo'} {at[0] + 1}"
