"""Random workflows at a random API through random deaths: every promise, every time.

The driver, the store and the programs are the real ones. When an example fails, hypothesis prints
it, shrunk, with what reproduces it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import crashpoints
from orchestrator.core.events import CancelMode
from orchestrator.core.plan import Plan
from orchestrator.core.states import FINAL, HAPPENED, RunStatus
from orchestrator.crashpoints import Reached
from orchestrator.errors import Conflict
from orchestrator.ports import GateBusy, Permit, Seen, Visit
from tests.integration.engine.checking import check
from tests.integration.engine.house import LIMITS, House, Killed, new_id
from tests.integration.engine.world import Fate, Kind, shop_plan
from tests.sweeps import so_many, sweep

EXAMPLES = so_many(40, whole=120)
UNDOS = [None, Kind.KEYED, Kind.VERIFIED, Kind.UNKEYED]
LATEST_REACH = 40  # crash points that a run comes to, about


@dataclass(frozen=True, kw_only=True)
class Harm:
    """What befalls one run."""

    fates: dict[str, list[Fate]]
    deaths: frozenset[int]  # at which of the crash points reached, counted over all its workers
    handovers: frozenset[int]  # likewise
    busy: frozenset[int]  # at which stays at the gate
    cancel: tuple[int, CancelMode] | None  # at which crash point
    inline: bool


def plans() -> st.SearchStrategy[Plan]:
    steps = st.lists(
        st.tuples(st.sampled_from(Kind), st.sampled_from(UNDOS)), min_size=1, max_size=4
    )
    return st.builds(_plan, steps, st.none() | st.integers(0, 3))


def _plan(steps: list[tuple[Kind, Kind | None]], pivot: int | None) -> Plan:
    """Nothing is undone that only reads, and what follows the pivot is never undone."""
    made = [
        (forward, None if forward is Kind.NONE or (pivot is not None and n > pivot) else undo)
        for n, (forward, undo) in enumerate(steps)
    ]
    return shop_plan(made, pivot=None if pivot is None or pivot >= len(made) else pivot)


def harms() -> st.SearchStrategy[Harm]:
    names = [f"s{n}" for n in range(1, 5)]
    fates = st.lists(st.sampled_from(Fate), max_size=3)
    moments = st.integers(0, LATEST_REACH)
    few = st.frozensets(moments, max_size=3)
    return st.builds(
        Harm,
        fates=st.dictionaries(
            st.sampled_from([*names, *(f"{name}.undo" for name in names)]), fates, max_size=4
        ),
        deaths=few, handovers=few, busy=st.frozensets(st.integers(0, 8), max_size=3),
        cancel=st.none() | st.tuples(moments, st.sampled_from(CancelMode)),
        inline=st.booleans(),
    )  # fmt: skip


class MoodyGate:
    """Implements Gate: busy at some stays, else open after a moment."""

    fresh = True

    def __init__(self, busy: frozenset[int]) -> None:
        self._busy, self._stays, self.inside = busy, 0, 0

    def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
        return None

    def try_enter(self, visit: Visit) -> Permit | None:
        return None

    async def enter(self, visit: Visit, *, patience_seconds: float) -> Permit:
        self._stays += 1
        if self._stays - 1 in self._busy:
            raise GateBusy(30.0)
        await asyncio.sleep(0)
        return self

    def release(self, seen: Seen | None = None) -> None: ...

    def give_up(self, *, after_seconds: float, timeout_seconds: float | None) -> None: ...

    def hand_back(self) -> None: ...


class Ordeal:
    """One run and what befalls it."""

    def __init__(self, house: House, plan: Plan, harm: Harm) -> None:
        self._house, self._plan, self._harm = house, plan, harm
        self._reached = 0
        self._cancelling: asyncio.Task[None] | None = None
        self.order = new_id()
        self.run_id = ""

    async def run(self) -> None:
        """To its real end, people included; each time it settles all promises are checked."""
        house, harm = self._house, self._harm
        house.retire()
        house.broker.hints.clear()
        house.dead.clear()
        house.limits = replace(LIMITS, max_inline_steps=50 if harm.inline else 0)
        house.gate = MoodyGate(harm.busy)
        for name, fates in harm.fates.items():
            house.shop.will(self.order, name, *fates)
        self.run_id = await house.submit(self._plan, self.order)
        crashpoints.install(self._hook)
        try:
            await house.settle(self.run_id)
            await check(house, self.run_id, self.order)
            run = await house.decide_truthfully(self.run_id, self.order)
        finally:
            crashpoints.install(None)
        if self._cancelling is not None:
            await self._cancelling
        assert run.status in FINAL
        await check(house, self.run_id, self.order)
        await self._check_pivot()

    def _hook(self, reached: Reached) -> None:
        if reached.run_id != self.run_id:
            return
        now, self._reached = self._reached, self._reached + 1
        if self._harm.cancel is not None and now == self._harm.cancel[0]:
            self._cancelling = asyncio.ensure_future(self._cancel(self._harm.cancel[1]))
        worker = self._house._worker
        if now in self._harm.handovers and worker is not None and worker.driver is not None:
            worker.driver.hand_over()
            self._house.retire()
        if now in self._harm.deaths:
            raise Killed

    async def _cancel(self, mode: CancelMode) -> None:
        try:
            redelivery = await self._house.store.request_cancel(
                self.run_id, mode=mode, reason="changed my mind", by="ada"
            )
        except Conflict:
            return
        if redelivery is not None:
            await self._house.redeliverer.publish([redelivery])

    async def _check_pivot(self) -> None:
        """Once it has been passed nothing at or before it is undone."""
        run, steps = (
            await self._house.store.run(self.run_id),
            await self._house.store.steps(self.run_id),
        )
        pivot = self._plan.pivot_index
        undone = [step.index for step in steps if step.undo.link.status in HAPPENED]
        if pivot is not None and run.status is RunStatus.SUCCEEDED:
            assert undone == []


@pytest.fixture(scope="module")
def stage(
    migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[asyncio.Runner, House]]:
    """One house for all examples, on a loop of its own."""
    path = tmp_path_factory.mktemp("random") / "orchestrator.db"
    path.write_bytes(migrated_file.read_bytes())

    async def build() -> House:
        return House(f"sqlite:///{path}")

    with asyncio.Runner() as runner:
        house = runner.run(build())
        yield runner, house
        runner.run(house.close())


@sweep
@settings(
    max_examples=EXAMPLES, deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(plan=plans(), harm=harms())
def test_any_run_through_any_harm(
    stage: tuple[asyncio.Runner, House], plan: Plan, harm: Harm
) -> None:
    runner, house = stage
    runner.run(Ordeal(house, plan, harm).run())
