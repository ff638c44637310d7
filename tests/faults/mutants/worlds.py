"""The worlds in which faults are looked for: simulations, some of them with more in them.

What a world adds to the plain simulation is wrapped around it here, as is every fault. The judge is
the same in all of them, and knows nothing of either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from orchestrator.engine import gate_queue, gate_supply
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.gate import SharedGate
from orchestrator.ports import Rate
from orchestrator.service.recovery import Recovery
from orchestrator.service.submitting import Submission, Submitter
from tests.faults.ledger.limits import Limit, Limits
from tests.faults.memory.limits import LimitServer, MemoryLimits
from tests.faults.mutants.patching import replaced
from tests.faults.mutants.planting import Sabotage, World
from tests.faults.simulation import run, worker
from tests.faults.simulation.house import House
from tests.faults.simulation.run import Result, simulate
from tests.faults.simulation.small_parts import LockLink
from tests.faults.simulation.weather import CALM, ROUGH
from tests.faults.workload import API, SHAPES, Kind, RunSeed, Shape

PATIENCE_SECONDS = 90.0  # after the storm: a fault that loses runs need not be watched for longer


def play(
    world: World, seed: int, *, runs: int, sabotage: Sabotage, watch: Sabotage = nullcontext
) -> Result:
    """One simulation. `watch` is entered around the fault."""
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


# --- without locks --------------------------------------------------------------------------------


async def _cannot_tell(_: LockLink, __: Sequence[str]) -> list[str]:
    return []


@contextmanager
def _without_locks() -> Iterator[None]:
    with replaced(LockLink, "free_among", _cannot_tell):
        yield


# --- two versions of each workflow ----------------------------------------------------------------


def _second(shape: Shape) -> Shape:
    return replace(shape, steps=(*shape.steps, (Kind.KEYED, None)))


def _is_second(name: str) -> bool:
    return int(name.split("-")[1]) % 2 == 1


@contextmanager
def _with_versions() -> Iterator[None]:
    """Every other run is one of a second version, which has a step more."""

    def both(seed: int, count: int) -> Iterator[RunSeed]:
        for made in seeds(seed, count):
            yield replace(made, shape=_second(made.shape)) if _is_second(made.name) else made

    async def opened(house: House) -> None:
        await original(house)
        store = house.backing.view()
        for shape in SHAPES:
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


class _LoopTime:
    """Stands for the module `time` where a gate reads it."""

    @staticmethod
    def monotonic() -> float:
        """The running loop's."""
        return asyncio.get_running_loop().time()


@contextmanager
def _with_limits() -> Iterator[None]:
    """The API allows so many requests a second and so many at once, and counts who breaks it."""
    server = LimitServer(lambda: 1e9 + _LoopTime.monotonic())
    config = ApiConfig(
        name=API, rates=(Rate(amount=RATE, seconds=1.0),), concurrency=AT_ONCE, connections=50
    )
    gates = iter(range(1, 1_000_000))

    def gate(*_: Any) -> SharedGate:
        holder = f"gate {next(gates)}"
        shared = MemoryLimits(server, holder_id=holder, monotonic=_LoopTime.monotonic)
        return SharedGate(shared, {API: config})

    async def opened(house: House) -> None:
        house.desk.limits = Limits([Limit(amount=RATE, seconds=1.0), Limit(amount=AT_ONCE)])
        await original(house)

    original = House.open
    with (
        replaced(gate_queue, "time", _LoopTime),
        replaced(gate_supply, "time", _LoopTime),
        replaced(worker, "SharedGate", gate),
        replaced(House, "open", opened),
    ):
        yield


# --- all of them ----------------------------------------------------------------------------------

_ICY = replace(ROUGH, frozen_at_point=0.02, killed_at_point=0.0, disaster_gap=4.0)
_NO_STORM = {"rates": CALM, "storm_seconds": 0.0}
_ON_SQL = {"store": "sqlite"}
_WORLDS: dict[World, tuple[Callable[[], Any], dict[str, Any]]] = {
    World.STORM: (nullcontext, {}),
    World.SQL_STORM: (nullcontext, _ON_SQL),
    World.CALM: (_without_sweep, _NO_STORM),
    World.PEOPLE: (nullcontext, {"people": True}),
    World.SQL_PEOPLE: (nullcontext, {"people": True, **_ON_SQL}),
    World.VERSIONS: (_with_versions, {}),
    World.LIMITS: (_with_limits, _NO_STORM),
    World.DEAF: (_without_locks, _ON_SQL),
    World.ICE: (nullcontext, {"rates": _ICY}),
    World.SEARCHED: (nullcontext, {"with_story": True}),
}
