"""What the gate can let through, and what lanes want for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.core.exchange import Outcome
from orchestrator.core.health import BreakerState
from orchestrator.core.scaling import Where
from orchestrator.core.states import Direction
from orchestrator.core.windows import Window
from orchestrator.engine.api_files import ApiFolder
from orchestrator.engine.rates import parse_rates
from orchestrator.errors import Unavailable
from orchestrator.ports.api_windows import ApiWindow
from orchestrator.ports.gate_view import ApiState
from orchestrator.ports.scaling import LaneGroup, LanesSeen
from orchestrator.service.apis import Apis
from orchestrator.service.scaling import HORIZON_SECONDS, Scaling, calls_per_second
from orchestrator.service.sizing import read_costs
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.store.making import plan

WHY = {"by": "ada", "reason": "they asked"}
WELL = ApiState()


def rate_of(
    rates: str | None = None, concurrency: int | None = None, *, state: ApiState = WELL,
    is_held: bool = False, call_seconds: float | None = None,
) -> float | None:  # fmt: skip
    return calls_per_second(
        parse_rates(rates), concurrency, state, is_held=is_held, call_seconds=call_seconds
    )


def test_the_tightest_limit_counts() -> None:
    assert rate_of() is None
    assert rate_of("50/second; 600/minute") == pytest.approx(10.0)
    assert rate_of("50/second", 4, call_seconds=0.5) == pytest.approx(8.0)
    assert rate_of(None, 4) is None, "nobody knows how long its calls take"


def test_what_the_gate_has_learnt_counts_too() -> None:
    slow = ApiState(pace=0.5)
    assert rate_of("50/second", state=slow) == pytest.approx(25.0)
    for breaker in (BreakerState.OPEN, BreakerState.HALF_OPEN):
        assert rate_of("50/second", state=ApiState(breaker=breaker)) == 0.0
    assert rate_of(is_held=True) == 0.0
    pausing = ApiState(paused_seconds=HORIZON_SECONDS / 2)
    assert rate_of("50/second", state=pausing) == pytest.approx(25.0)
    assert rate_of(state=pausing) is None
    assert rate_of(state=ApiState(paused_seconds=HORIZON_SECONDS)) == 0.0


@dataclass
class Tables:
    """What was seen, as the tables would tell it."""

    seen: LanesSeen
    windows: list[ApiWindow] = field(default_factory=list)

    async def lanes_seen(self, *, seconds: float, most: int) -> LanesSeen:
        return replace(self.seen, settled_seconds=seconds)

    async def api_windows(self, *, seconds: float, api: str | None = None) -> list[ApiWindow]:
        return self.windows

    async def write_api_windows(self, windows: Sequence[ApiWindow]) -> None:
        self.windows.extend(windows)

    async def merge_api_windows(self, *, older_than_seconds: float, keep_seconds: float) -> int:
        return 0


@dataclass
class Gate:
    """Knows how each API stands, unless it is away."""

    pace: float = 1.0
    is_away: bool = False

    async def states(self, apis: Sequence[str]) -> Mapping[str, ApiState]:
        if self.is_away:
            raise Unavailable("gate", "here", "it is away")
        return {api: ApiState(pace=self.pace) for api in apis}


def waiting(number: int, lane: str = "default", oldest: float = 1.0) -> LaneGroup:
    return LaneGroup(
        lane=lane, plan=plan(steps=2), direction=Direction.FORWARD, step=0, where=Where.DUE,
        number=number, oldest_seconds=oldest,
    )  # fmt: skip


def seen(*groups: LaneGroup, settled: int = 0) -> LanesSeen:
    return LanesSeen(
        groups=groups, owners={"default": {"w": 60.0}}, settled={"default": settled},
        settled_seconds=60.0,
    )  # fmt: skip


def scaling(tables: Tables, gate: Gate, folder: Path) -> tuple[Scaling, Apis]:
    def read() -> ApiFolder:
        files = ApiFolder(folder)
        files.take(files.read())
        return files

    apis = Apis(MemoryStore(MemoryDatabase(lambda: datetime.now(UTC))), read, gate)
    return Scaling(tables, apis, read_costs()[0], parse_rates), apis


async def test_lanes_want_workers_as_far_as_files_operators_and_the_gate_let_calls_through(
    tmp_path: Path,
) -> None:
    (tmp_path / "shop.yaml").write_text("rate: 1000/second\nconcurrency: 30\n")
    gate = Gate()
    tables = Tables(seen(waiting(1_000_000), waiting(7, "bulk")))
    lanes, apis = scaling(tables, gate, tmp_path)

    async def of_default() -> int:
        return (await lanes.wanted(["default"]))[0].workers

    wide = await of_default()
    assert [(each.lane, each.workers) for each in await lanes.wanted(["idle"])] == [
        ("idle", 0), ("default", wide), ("bulk", 1),
    ]  # fmt: skip
    gate.pace = 0.1
    assert 1 <= await of_default() < wide
    gate.is_away = True
    assert await of_default() == wide, "as the files say"
    gate.is_away, gate.pace = False, 1.0
    slow = Window()
    slow.add(status=200, outcome=Outcome.LANDED, seconds=3.0)
    began = datetime(2026, 1, 2, tzinfo=UTC)
    tables.windows = [
        ApiWindow(api="shop", operation="POST /x", began=began, worker="w", window=slow)
    ]
    assert await of_default() == 1, "thirty slots let ten calls of three seconds through"
    await apis.hold("shop", **WHY)
    (default, bulk) = await lanes.wanted(["default"])
    assert (default.workers, default.held_back, bulk.workers) == (0, 1_000_000, 0)


async def test_how_slow_workers_are_is_known_as_long_as_the_process_lives(tmp_path: Path) -> None:
    tables = Tables(seen(waiting(1000, oldest=20.0), settled=600))
    lanes, _ = scaling(tables, Gate(), tmp_path)
    (short,) = await lanes.wanted(["default"])
    assert short.workers > 1, "ten a second, and a thousand wait"
    tables.seen = seen(settled=600)
    (calm,) = await lanes.wanted(["default"])
    assert calm.workers == 1
    tables.seen = seen(waiting(1000), settled=600)
    assert (await lanes.wanted(["default"]))[0].workers == short.workers
