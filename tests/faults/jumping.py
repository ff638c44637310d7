"""Runs that branch, loop, retry through other steps and call workflows, in dense simulated faults.

Whatever dies, is lost or comes twice: the API sees exactly the effects that the way of a run says,
in its order, and the journal leads to the tables. All of it is keyed or harmless: no doubt stays.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from orchestrator.core.plan import LOCAL, Call, Effects, Plan, PlanStep
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import RunStatus
from orchestrator.testing.loop import Stuck, VirtualLoop
from orchestrator.testing.process import LIMITS
from orchestrator.testing.quiet import quiet
from tests.faults.checker.invariants import Violation
from tests.faults.simulation.backing import Backing, MemoryBacking
from tests.faults.simulation.disasters import storm
from tests.faults.simulation.house import House, Options
from tests.faults.simulation.judging import REPLAY, replay_differs
from tests.faults.simulation.run import Result
from tests.faults.simulation.sqlite import SqliteBacking
from tests.faults.simulation.weather import drawn
from tests.faults.workload import Kind, RunSeed, Shape

WAY, UNSETTLED = "way", "unsettled"
"""What is broken when a run goes another way than its workflow says, or never ends."""

RUNS, STORM_SECONDS, PATIENCE_SECONDS = 40, 15.0, 200.0
K, R = (Kind.KEYED, Kind.KEYED), (Kind.READ, None)


@dataclass(frozen=True, kw_only=True)
class Jumping(Shape):
    """A shape whose steps have actions, by number from 1. `ways`: effects by what is refused."""

    actions: Mapping[int, Mapping[str, Any]]
    ways: Mapping[str, str]
    last: int | None = None  # the step after which none follows by itself
    undoes: tuple[int, int] | None = None  # a step, and the one that it undoes by hand
    most: int = 1000
    local: Sequence[PlanStep] = field(default=())

    @cached_property
    def plan(self) -> Plan:
        made = super().plan
        steps = [self._with_actions(n, step) for n, step in enumerate(made.steps, 1)]
        return with_digest(
            replace(made, steps=(*self.local, *steps), max_visits=self.most, digest="")
        )

    def _with_actions(self, number: int, step: PlanStep) -> PlanStep:
        template = {**step.call.template, **self.actions.get(number, {})}
        step = replace(step, call=replace(step.call, template=template), last=number == self.last)
        if self.undoes is not None and number == self.undoes[0]:
            step = replace(step, undoes=(f"s{self.undoes[1]}",), compensation=None)
        return step


def goto(step: str) -> dict[str, Any]:
    return {"type": "goto", "step": step}


def enter() -> PlanStep:
    template = {"kind": "local", "role": "enter", "arguments": {"x": "$inputs.run"}}
    call = Call(label="enter", api=LOCAL, effects=Effects.NONE, template=template)
    return PlanStep(id="called/$inputs", call=call)


BRANCHING = Jumping(
    name="branching", steps=(K, K, K, K, K), last=3, local=(enter(),),
    actions={2: {"onFailure": [goto("s4")]}, 4: {"onSuccess": [goto("s5")]}},
    ways={"": "s1 s2 s3", "-f2": "s1 s4 s5", "-f3": "s1 s2 s2' s1'", "-f1": ""},
)  # fmt: skip
BY_HAND = Jumping(
    name="by-hand", steps=(K, K, K, R, K), last=4, undoes=(5, 2),
    actions={3: {"onFailure": [goto("s5")]}},
    ways={"": "s1 s2 s3", "-f3": "s1 s2 s5 s1'"},
)  # fmt: skip
RETRYING = Jumping(
    name="retrying", steps=(K, K, K), ways={"": "s1 s2 s3", "-f3": "s1 s2 s2 s2 s2' s2' s2' s1'"},
    actions={3: {"onFailure": [{"retryLimit": 2, "again": "s3", "via": "s2", "retryAfter": 0.2}]}},
)  # fmt: skip
LOOPING = Jumping(
    name="looping", steps=(K, R, K), most=7,
    actions={3: {"onSuccess": [{**goto("s1"), "criteria": [{"condition": "$statusCode == 200"}]}]}},
    ways={"": "s1 s3 s1 s3 s1 s3 s3' s1' s3' s1' s3' s1'", "-f3": "s1 s1'"},
)  # fmt: skip
SHAPES = (BRANCHING, BY_HAND, RETRYING, LOOPING)


def status_of(way: str, shape: Jumping) -> RunStatus:
    undone = "'" in way or not way or shape is LOOPING
    return RunStatus.COMPENSATED if undone else RunStatus.SUCCEEDED


def seeds(seed: int, runs: int = RUNS) -> list[tuple[RunSeed, str]]:
    """Runs with the effects that they have to have."""
    chance = random.Random(seed)
    found = []
    for number in range(runs):
        shape = chance.choice(SHAPES)
        refused, way = chance.choice(list(shape.ways.items()))
        found.append((RunSeed(name=f"j{seed}-{number:04d}{refused}", shape=shape), way))
    return found


def simulate_jumps(
    seed: int,
    *,
    runs: int = RUNS,
    store: str = "memory",
    patience_seconds: float = PATIENCE_SECONDS,
    sabotage: AbstractContextManager[Any] | None = None,
) -> Result:
    """One batch of them, judged. `store`: "memory" or "sqlite"."""
    begun = time.process_time()
    with quiet(seed) as errors, sabotage or nullcontext(), closing(VirtualLoop()) as loop:
        backing = MemoryBacking(loop) if store == "memory" else SqliteBacking(loop)
        with closing(backing):
            played = _play(seed, runs, loop, backing, patience_seconds)
            found = [*played.violations, *(Violation(invariant="errors", run="", detail=error)
                                           for error in errors)]  # fmt: skip
            spent = time.process_time() - begun
            return replace(played, violations=tuple(found), cpu_seconds=spent)


def _play(
    seed: int, runs: int, loop: VirtualLoop, backing: Backing, patience_seconds: float
) -> Result:
    wanted = seeds(seed, runs)
    inline = replace(LIMITS, max_inline_steps=(0, 2, 50)[seed % 3], short_wait_seconds=0.3)
    house = House(loop, seed, backing, Options(shapes=SHAPES, inline=inline, workers=2))
    stuck = ""
    try:
        loop.run_until_complete(
            _through(house, [run for run, _ in wanted], random.Random(f"jumping {seed}"),
                     patience_seconds)
        )  # fmt: skip
    except Stuck as error:
        stuck = str(error)
    house.close()
    return Result(
        seed=seed, runs=runs, store="memory", people=False,
        violations=tuple(_broken(house, wanted, stuck)), endings={}, unresolvable=0, stuck=stuck,
        virtual_seconds=loop.time(), cpu_seconds=0.0, deaths=house.deaths, freezes=house.freezes,
        crashes=house.crashes, requests=house.desk.requests,
    )  # fmt: skip


async def _through(
    house: House, runs: Sequence[RunSeed], chance: random.Random, patience_seconds: float
) -> None:
    await house.open()
    house.submit(runs)
    await storm(house, drawn(chance), STORM_SECONDS)
    over = asyncio.get_running_loop().time() + patience_seconds
    while len(house.acknowledged) < len(runs) or house.backing.unsettled():
        if asyncio.get_running_loop().time() > over:
            raise Stuck(f"not settled {patience_seconds:.0f} s after the storm")
        await asyncio.sleep(1.0)
    await asyncio.sleep(8.0)


def _broken(house: House, wanted: Sequence[tuple[RunSeed, str]], stuck: str) -> Iterator[Violation]:
    view, effects = house.backing.view(), _effects_of(house)
    if stuck:
        yield Violation(invariant=UNSETTLED, run="", detail=stuck)
    for run, way in wanted:
        assert isinstance(run.shape, Jumping)
        if run.name not in house.run_ids:
            continue  # never acknowledged, which is said above
        found = house.loop.run_apart(view.run(house.run_ids[run.name]))
        saw, ended = " ".join(effects[run.name]), status_of(way, run.shape)
        if (saw, found.status) != (way, ended):
            detail = f"{run.shape.name}: found {saw!r}, {found.status}; wanted {way!r}, {ended}"
            yield Violation(invariant=WAY, run=run.name, detail=detail)
        for detail in house.loop.run_apart(replay_differs(view, found.id)):
            yield Violation(invariant=REPLAY, run=run.name, detail=detail)


def _effects_of(house: House) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for effect in house.writer.records().effects:
        found[effect.run].append(effect.step + ("'" if effect.direction == "undo" else ""))
    return found
