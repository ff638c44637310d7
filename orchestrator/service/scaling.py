"""How many workers each lane wants: what stands in the tables, held against the gate's limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from orchestrator.core.capacity import Costs, Resource
from orchestrator.core.health import BreakerState
from orchestrator.core.scaling import (
    Group,
    LaneLoad,
    Work,
    Yardstick,
    wanted_workers,
    work_ahead,
)
from orchestrator.core.states import Direction
from orchestrator.core.windows import Window, mean_seconds
from orchestrator.errors import Unavailable
from orchestrator.ports import HOLD, Rate
from orchestrator.ports.api_windows import ApiWindowStore
from orchestrator.ports.gate_view import ApiState
from orchestrator.ports.scaling import LaneGroup, LanesSeen, LanesStore
from orchestrator.service.apis import Apis

log = structlog.get_logger(__name__)

LATELY_SECONDS = 60.0
MOST_SETTLED = 5000
"""More of them tell nothing more."""
HORIZON_SECONDS = 30.0
"""What is due is to be under way within this time. KEDA asks as often."""
UTILISATION = 0.7
"""Of a core, as `orchestrator capacity` plans it."""
CALLS_SECONDS = 600.0
"""By calls of this time it is known how long those of an API take."""
USUAL = Work(steps=5, calls={"any": 5})
"""A run, where none is in hand to look at."""
MOST_LANES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneWants:
    """What one lane asks for."""

    lane: str
    workers: int
    held_back: int  # runs that are due while APIs' limits have no room for them


class ScalingStore(LanesStore, ApiWindowStore, Protocol):
    """Where runs stand, and what calls were like."""


class Scaling:
    """Keeps what was seen of how fast workers are, for as long as the process lives."""

    def __init__(
        self,
        store: ScalingStore,
        apis: Apis,
        costs: Costs,
        parse_rates: Callable[[str | None], Sequence[Rate]],
    ) -> None:
        self._store, self._apis, self._parse_rates = store, apis, parse_rates
        self._by = Yardstick(
            cost=costs.of[Resource.WORKER_CPU], utilisation=UTILISATION,
            horizon_seconds=HORIZON_SECONDS, usual=USUAL,
        )  # fmt: skip
        self._slowdowns: dict[str, float] = {}

    async def wanted(self, lanes: Iterable[str]) -> list[LaneWants]:
        """Of these lanes and all others with runs. Raises Unavailable."""
        seen = await self._store.lanes_seen(seconds=LATELY_SECONDS, most=MOST_SETTLED)
        limits = await self._limits()
        names = dict.fromkeys([*lanes, *(each.lane for each in seen.groups), *seen.settled])
        return [self._of_lane(lane, seen, limits) for lane in list(names)[:MOST_LANES]]

    def _of_lane(self, lane: str, seen: LanesSeen, limits: Mapping[str, float]) -> LaneWants:
        load = lane_load(lane, seen)
        found = wanted_workers(load, limits, self._by, slowdown=self._slowdowns.get(lane, 1.0))
        self._slowdowns[lane] = found.slowdown
        return LaneWants(lane=lane, workers=found.workers, held_back=found.held_back)

    async def _limits(self) -> dict[str, float]:
        """Calls a second of each API that has a limit."""
        fields = await self._apis.in_force("rate", "concurrency", HOLD)
        try:
            states = await self._apis.states()
        except Unavailable:  # broker_up says so; without the gate nothing goes faster than this
            states = {}
        seconds = await self._call_seconds()
        found = {
            api: calls_per_second(
                self._parse_rates(each["rate"]), each["concurrency"], states.get(api, ApiState()),
                is_held=bool(each[HOLD]), call_seconds=seconds.get(api),
            )
            for api, each in fields.items()
        }  # fmt: skip
        return {api: rate for api, rate in found.items() if rate is not None}

    async def _call_seconds(self) -> dict[str, float]:
        """How long calls of each API took lately, on average."""
        sums: defaultdict[str, Window] = defaultdict(Window)
        for each in await self._store.api_windows(seconds=CALLS_SECONDS):
            sums[each.api].merge(each.window)
        means = {api: mean_seconds(window.seconds) for api, window in sums.items()}
        return {api: mean for api, mean in means.items() if mean}


def calls_per_second(
    rates: Sequence[Rate],
    concurrency: int | None,
    state: ApiState,
    *,
    is_held: bool,
    call_seconds: float | None,
) -> float | None:
    """What the gate can let through to an API within the horizon; None: it has no limit.

    Slots limit what calls of a known length do (Little's law).
    """
    if is_held or state.breaker is not BreakerState.CLOSED:
        return 0.0
    limits = [rate.amount / rate.seconds * state.pace for rate in rates]
    if concurrency is not None and call_seconds is not None:
        limits.append(concurrency / call_seconds)
    left = 1.0 - state.paused_seconds / HORIZON_SECONDS
    if left <= 0:
        return 0.0
    return min(limits) * left if limits else None


def lane_load(lane: str, seen: LanesSeen) -> LaneLoad:
    """What was seen of one lane."""
    owners = seen.owners.get(lane, {})
    groups = [each for each in seen.groups if each.lane == lane]
    return LaneLoad(
        groups=[_group(each) for each in groups],
        oldest_due_seconds=max((each.oldest_seconds for each in groups), default=0.0),
        settled=seen.settled.get(lane, 0), lately_seconds=seen.settled_seconds,
        workers=len(owners),
        worker_seconds=sum(min(each, seen.settled_seconds) for each in owners.values()),
    )  # fmt: skip


def _group(each: LaneGroup) -> Group:
    return Group(
        where=each.where, number=each.number,
        ahead=work_ahead(each.plan, each.step, each.direction),
        whole=work_ahead(each.plan, 0, Direction.FORWARD),
    )  # fmt: skip
