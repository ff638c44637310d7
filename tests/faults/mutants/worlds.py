"""The worlds in which faults are looked for: simulations, some of them with more in them.

What a world adds to the plain simulation is wrapped around it here, as is every fault. The judge is
the same in all of them, and knows nothing of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from orchestrator.crashpoints import Reached
from orchestrator.service.recovery import Recovery
from orchestrator.service.submitting import Submission, Submitter
from orchestrator.testing.loop import Life, Process
from tests.faults.jumping import simulate_jumps
from tests.faults.mutants.patching import replaced
from tests.faults.mutants.planting import Sabotage, World
from tests.faults.simulation import people, run
from tests.faults.simulation.house import House, Options
from tests.faults.simulation.run import Result, simulate
from tests.faults.simulation.small_parts import LockLink
from tests.faults.simulation.weather import CALM, ROUGH
from tests.faults.workload import BY_NAME, EVERY, Kind, RunSeed, Shape

PATIENCE_SECONDS = 90.0  # after the storm: a fault that loses runs need not be watched for longer


def play(
    world: World, seed: int, *, runs: int, sabotage: Sabotage, watch: Sabotage = nullcontext
) -> Result:
    """One simulation. `watch` is entered around the fault."""
    if world in _JUMPING:
        return simulate_jumps(
            seed, runs=runs, store=_JUMPING[world], patience_seconds=PATIENCE_SECONDS,
            sabotage=_inside(watch, sabotage),
        )  # fmt: skip
    surroundings, how = _WORLDS[world]
    inside = _inside(watch, _impatient, surroundings, sabotage)
    return simulate(seed, runs=runs, sabotage=inside, **how)


@contextmanager
def _inside(*sabotages: Sabotage) -> Iterator[None]:
    with ExitStack() as stack:
        for sabotage in sabotages:
            stack.enter_context(sabotage())
        yield


@contextmanager
def _impatient() -> Iterator[None]:
    with replaced(run, "PATIENCE_SECONDS", PATIENCE_SECONDS):
        yield


# --- without a sweep ------------------------------------------------------------------------------


async def _no_pass(_: Recovery) -> None: ...


@contextmanager
def _without_sweep() -> Iterator[None]:
    with replaced(Recovery, "_publish_lost", _no_pass):
        yield


# --- cancels --------------------------------------------------------------------------------------


@contextmanager
def _with_many_cancels() -> Iterator[None]:
    with replaced(people, "CANCELS_EVERY_NTH", 2):
        yield


@contextmanager
def _with_pivots() -> Iterator[None]:
    def pivots(seed: int, count: int, **_: Any) -> Iterator[RunSeed]:
        return seeds(seed, count, shapes=[BY_NAME["pivot"]])

    seeds = run.seeds
    with _with_many_cancels(), replaced(run, "seeds", pivots):
        yield


# --- without locks --------------------------------------------------------------------------------


async def _cannot_tell(_: LockLink, __: Sequence[str]) -> list[str]:
    return []


@contextmanager
def _without_locks() -> Iterator[None]:
    with replaced(LockLink, "free_among", _cannot_tell):
        yield


# --- workers that stand still at the worst moment -------------------------------------------------

ONE_IN = 25
STANDING_SECONDS = (7.0, 12.0)  # others have taken over after six


@contextmanager
def _with_ice() -> Iterator[None]:
    """Some workers stand still just before a request leaves, until others have taken over."""

    def reached(house: House, at: Reached, process: Process) -> Any:
        # A permit that is held for so long breaks a limit: nobody can look and send in one act.
        exposed = at.point == "before_send" and not house.options.limited
        running = process.life is Life.RUNNING and house.loop.time() < run.STORM_SECONDS
        if exposed and running and house.chance.randrange(ONE_IN) == 0:
            return house.freeze_here(at, process, house.chance.uniform(*STANDING_SECONDS))
        return original(house, at, process)

    original = House.reached
    with replaced(House, "reached", reached):
        yield


# --- two versions of each workflow ----------------------------------------------------------------


_OTHER = {Kind.KEYED: Kind.VERIFIED, Kind.VERIFIED: Kind.KEYED}


def _second(shape: Shape) -> Shape:
    steps = [(_OTHER.get(do, do), undo and _OTHER.get(undo, undo)) for do, undo in shape.steps]
    return replace(shape, steps=tuple(steps))


def _is_second(name: str) -> bool:
    return int(name.split("-")[1]) % 2 == 1


@contextmanager
def _with_versions() -> Iterator[None]:
    """Every other run is one of a second version, with keys where the first has none."""

    def both(seed: int, count: int, **how: Any) -> Iterator[RunSeed]:
        for made in seeds(seed, count, **how):
            yield replace(made, shape=_second(made.shape)) if _is_second(made.name) else made

    async def opened(house: House) -> None:
        await original(house)
        store = house.backing.view()
        for shape in EVERY:
            await store.publish(_second(shape).plan, document="", by="simulation")

    async def submit(self: Submitter, wanted: Sequence[Submission]) -> Any:
        pinned = [replace(each, version=1 + _is_second(each.inputs["run"])) for each in wanted]
        return await plain(self, pinned)

    seeds, original, plain = run.seeds, House.open, Submitter.submit
    with (
        replaced(run, "seeds", both),
        replaced(House, "open", opened),
        replaced(Submitter, "submit", submit),
    ):
        yield


# --- an API with limits ---------------------------------------------------------------------------

RATE, AT_ONCE = 15, 3


@contextmanager
def _with_limits() -> Iterator[None]:
    """The API allows so many requests a second and so many at once, and counts who breaks it."""

    def options(*args: Any, **more: Any) -> Options:
        return replace(original(*args, **more), rate_per_second=RATE, at_once=AT_ONCE)

    original = run._options
    with replaced(run, "_options", options):
        yield


# --- all of them ----------------------------------------------------------------------------------

_NO_STORM = {"rates": CALM, "storm_seconds": 0.0}
_ON_SQL = {"store": "sqlite", "rates": ROUGH.times(2.0)}
_JUMPING = {World.JUMPS: "memory", World.SQL_JUMPS: "sqlite"}  # simulations of their own
_WORLDS: dict[World, tuple[Callable[[], Any], dict[str, Any]]] = {
    World.STORM: (nullcontext, {}),
    World.SQL_STORM: (nullcontext, _ON_SQL),
    World.CALM: (_without_sweep, _NO_STORM),
    World.PEOPLE: (_with_many_cancels, {"people": True}),
    World.PIVOTS: (_with_pivots, {"people": True}),
    World.SQL_PEOPLE: (_with_many_cancels, {"people": True, **_ON_SQL}),
    World.VERSIONS: (_with_versions, {}),
    World.LIMITS: (_with_limits, {}),
    World.DEAF: (_without_locks, _ON_SQL),
    World.ICE: (_with_ice, _NO_STORM),
    World.SQL_ICE: (_with_ice, {**_NO_STORM, "store": "sqlite"}),
    World.LOSSY: (nullcontext, {"store": "sqlite", "rates": replace(ROUGH, answer_lost=0.15)}),
    World.SEARCHED: (nullcontext, {"with_story": True}),
}
