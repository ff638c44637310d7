"""Simulated runs keep every promise through dense faults; what simulates them can be trusted."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import deciding
from orchestrator.core.saga import Saga, undo_order
from orchestrator.engine.driver import RunDriver
from orchestrator.testing.loop import Process, Stuck, VirtualLoop
from tests.faults.simulation.__main__ import main
from tests.faults.simulation.run import hunt, simulate
from tests.sweeps import every, so_many, sweep

ROOT = Path(__file__).parents[2]
RUNS, SEEDS = 100, range(1, 5)
ON_SQL = so_many(12, whole=30)


@pytest.mark.parametrize("seed", every(2, SEEDS))
def test_every_promise_is_kept(seed: int) -> None:
    result = simulate(seed, runs=RUNS)
    assert not result.violations, result.report()
    assert not result.stuck
    assert sum(result.endings.values()) == RUNS


def test_people_may_cancel_and_decide_at_any_time() -> None:
    results = [simulate(seed, runs=50, people=True) for seed in (1, 2)]
    for result in results:
        assert not result.violations, result.report()
        assert "escalated" not in result.endings
    assert sum(result.cancels for result in results) > 5
    assert sum(result.acts for result in results) > 5


@sweep
def test_it_runs_on_sql_as_well() -> None:
    result = simulate(1, runs=ON_SQL, store="sqlite", people=True, with_digest=True)
    assert not result.violations, result.report()
    again = simulate(1, runs=ON_SQL, store="sqlite", people=True, with_digest=True)
    assert again.digest == result.digest


def test_the_faults_are_dense() -> None:
    results = [simulate(seed, runs=40) for seed in range(50, 56)]
    assert sum(result.deaths for result in results) > 20
    assert sum(result.freezes for result in results) > 10
    assert sum(result.crashes for result in results) > 20
    assert sum(result.unresolvable for result in results) > 5


def test_a_seed_is_the_same_simulation_in_another_process() -> None:
    here = simulate(7, runs=25, with_digest=True).digest
    program = (
        "from tests.faults.simulation.run import simulate;"
        "print(simulate(7, runs=25, with_digest=True).digest)"
    )
    there = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100,
        check=True, env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)},
    ).stdout.strip()  # fmt: skip
    assert there == here
    assert here != simulate(8, runs=25, with_digest=True).digest


# --- a broken engine ------------------------------------------------------------------------------


@contextmanager
def forward_order() -> Iterator[None]:
    """Compensations run in the order in which their steps were done."""

    def wrong(saga: Saga) -> list[int]:
        return undo_order(saga)[::-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deciding, "undo_order", wrong)
        yield


def test_a_broken_engine_is_found_out_and_stays_so_when_repeated() -> None:
    first = simulate(3, runs=30, sabotage=forward_order())
    assert "out_of_order_compensations" in first.broken
    assert simulate(3, runs=30, sabotage=forward_order()).violations == first.violations
    assert not simulate(3, runs=30).violations


def test_a_hunt_stops_at_the_first_simulation_that_breaks_a_promise() -> None:
    with forward_order():
        found = hunt(range(20, 40), runs=20)
    assert found is not None
    assert found.seed < 25
    assert hunt(range(20, 22), runs=20) is None


def test_a_failing_seed_prints_its_story_and_how_to_see_it_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--runs", "40", "--batch", "20", "--seed", "3", "--jobs", "1"]
    with forward_order():
        assert main(arguments) == 1
    told = capsys.readouterr().err
    assert "seed 3: " in told
    assert "out_of_order_compensations" in told
    assert "the story of k3-" in told
    assert "EFFECT undo" in told
    replay = "python -m tests.faults.simulation --batch 20 --runs 20 --seed 3 --people none"
    assert f"replay: {replay}\n" in told
    with forward_order():
        assert main([*replay.split()[3:], "--json"]) == 1
    assert "seed 3: " in capsys.readouterr().err


def test_an_error_that_the_engine_only_logs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take, taken = RunDriver._take_answer, 0

    def sometimes_broken(self: RunDriver, *args: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == 5:
            raise ZeroDivisionError
        return take(self, *args)

    monkeypatch.setattr(RunDriver, "_take_answer", sometimes_broken)
    result = simulate(4, runs=20)
    assert "errors" in result.broken
    assert "ZeroDivisionError" in result.report()


def test_an_engine_that_gets_nowhere_is_judged_and_does_not_hang() -> None:
    @contextmanager
    def without_recovery() -> Iterator[None]:
        async def nothing(*_: object) -> None: ...

        with pytest.MonkeyPatch.context() as patched:
            for name in ("_recover_dead", "_publish_lost"):
                patched.setattr(f"orchestrator.service.recovery.Recovery.{name}", nothing)
            yield

    result = simulate(4, runs=20, sabotage=without_recovery())
    assert "lost" in result.broken
    assert "not settled" in result.stuck


# --- the loop -------------------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop(latest=1000.0, most_steps=10_000)
    yield made
    made.close()


def test_time_passes_only_where_it_is_waited_for(loop: VirtualLoop) -> None:
    async def work() -> float:
        await asyncio.sleep(500.0)
        return loop.time()

    assert loop.run_until_complete(work()) == 500.0


def test_what_comes_at_the_same_moment_comes_in_the_order_asked_for(loop: VirtualLoop) -> None:
    seen: list[int] = []
    for number in range(50):
        loop.call_later(1.0, seen.append, number)
    loop.run_until_complete(asyncio.sleep(2.0))
    assert seen == list(range(50))


async def _forever() -> None:
    while True:  # noqa: ASYNC110 - busy, as a broken engine might be
        await asyncio.sleep(0)


@pytest.mark.parametrize("seconds", [None, 2000.0])
def test_a_simulation_that_cannot_go_on_says_so(loop: VirtualLoop, seconds: float | None) -> None:
    waiting = loop.create_future() if seconds is None else asyncio.sleep(seconds)
    with pytest.raises(Stuck, match=r"nothing is left|should have been over"):
        loop.run_until_complete(asyncio.wait_for(waiting, None))


def test_a_simulation_that_is_busy_for_ever_says_so(loop: VirtualLoop) -> None:
    with pytest.raises(Stuck, match="busy without end"):
        loop.run_until_complete(_forever())


class _Ticking:
    """A process that counts seconds."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.process, self._loop = Process(loop, "p"), loop
        self.seen: list[float] = []
        self.cleaned_up = False
        self.process.start(self._tick())

    async def _tick(self) -> None:
        try:
            while True:
                await asyncio.sleep(1.0)
                self.seen.append(self._loop.time())
        finally:
            self.cleaned_up = True


def test_of_a_dead_process_nothing_runs_not_even_its_cleanup(loop: VirtualLoop) -> None:
    ticking = _Ticking(loop)
    loop.call_later(2.5, ticking.process.kill)
    loop.run_until_complete(asyncio.sleep(10.0))
    assert ticking.seen == [1.0, 2.0]
    assert not ticking.cleaned_up


def test_a_frozen_process_goes_on_when_it_is_thawed(loop: VirtualLoop) -> None:
    ticking = _Ticking(loop)
    loop.call_later(2.5, ticking.process.freeze)
    loop.call_later(7.2, ticking.process.thaw)
    loop.run_until_complete(asyncio.sleep(9.0))
    assert ticking.seen == [1.0, 2.0, 7.2, 8.2]


def test_what_a_process_starts_ends_with_it(loop: VirtualLoop) -> None:
    seen: list[str] = []
    children: list[asyncio.Future[None]] = []

    async def parent() -> None:
        children.append(asyncio.ensure_future(child()))
        asyncio.get_running_loop().call_later(3.0, seen.append, "timer")

    async def child() -> None:
        await asyncio.sleep(3.0)
        seen.append("child")

    process = Process(loop, "p")
    process.start(parent())
    loop.call_later(2.0, process.kill)
    loop.run_until_complete(asyncio.sleep(5.0))
    assert seen == []
