"""Blast radius: whom an API touches among all runs that are not final, and what if it is away."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import chain
from typing import Protocol

from orchestrator.core.impact import Reach, Standing, Touch
from orchestrator.core.plan import Plan
from orchestrator.core.states import Direction, RunStatus
from orchestrator.definitions.children import children_of
from orchestrator.definitions.reaching import whole_reach
from orchestrator.ports import WorkflowVersion
from orchestrator.ports.impact import RunGroup, StandingsStore
from orchestrator.service.apis import Apis

OUTAGE_SECONDS = 3600.0
LONGEST_OUTAGE_SECONDS = 365 * 86_400.0
MOST_NAMES = 100
KEPT_SECONDS = 2.0
OTHERS = "(others)"


@dataclass(kw_only=True, slots=True)
class Counts:
    """Numbers of runs. One run may be ahead of the API, past it and undone through it at once."""

    affected: int = 0  # blocked, ahead or undo
    blocked: int = 0  # the link at which they stand calls it
    parked: int = 0  # of these: the gate has told them to come back
    ahead: int = 0  # a later step of theirs calls it
    past: int = 0  # a step that happened did
    undo: int = 0  # they go back, or would, through an undo that calls it
    # While the API is away for the time asked for:
    waiting: int = 0  # go forward, need it, and have the time to wait
    turning_back: int = 0  # go forward, need it, and reach their deadline first
    escalating: int = 0  # the same past their pivot: a person decides
    undo_waiting: int = 0  # go back, or would have to turn back, and cannot finish that without it

    def add(self, names: Iterable[str], number: int) -> None:
        """So many runs more that count in these fields."""
        for name in names:
            setattr(self, name, getattr(self, name) + number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Impact:
    """What an API means for all runs that are not final. Names by their affected runs, most first;
    those beyond MOST_NAMES are together under OTHERS.
    """

    api: str
    at: datetime
    outage_seconds: float
    active: int  # runs that are not final, touched or not
    total: Counts
    by_workflow: Mapping[str, Counts]
    by_tenant: Mapping[str, Counts]


@dataclass(kw_only=True, slots=True)
class _Sums:
    total: Counts = field(default_factory=Counts)
    by_workflow: dict[str, Counts] = field(default_factory=dict)
    by_tenant: dict[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """Where all stood."""

    at: datetime
    groups: list[RunGroup]
    outage_seconds: float
    until: float  # by the monotonic clock


class ImpactStore(StandingsStore, Protocol):
    """Where runs stand, when that was, and what versions they begin runs of."""

    async def versions(self, name: str) -> list[WorkflowVersion]:
        """All of one workflow."""

    async def now(self) -> datetime:
        """The database's clock."""


class Impacts:
    """Answers about one API at a time; those asked for within KEPT_SECONDS are of one moment."""

    def __init__(
        self, store: ImpactStore, apis: Apis, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._apis, self._monotonic = store, apis, monotonic
        self._kept: _Kept | None = None
        self._plans: dict[tuple[str, str], Plan] = {}  # of which runs are begun: name and digest
        self._reaches: dict[str, Reach] = {}  # by a plan's digest

    async def of(self, api: str, *, outage_seconds: float = OUTAGE_SECONDS) -> Impact:
        """Whom it touches. Raises NotFound for an API that nobody knows."""
        kept = await self._standing(outage_seconds)
        sums = sums_of(kept.groups, api, self._reaches)
        if not sums.by_workflow:
            await self._apis.show(api)
        return Impact(
            api=api, at=kept.at, outage_seconds=outage_seconds, total=sums.total,
            active=sum(group.number for group in kept.groups),
            by_workflow=_most(sums.by_workflow), by_tenant=_most(sums.by_tenant),
        )  # fmt: skip

    async def _standing(self, outage_seconds: float) -> _Kept:
        kept = self._kept
        if (
            kept is not None
            and kept.outage_seconds == outage_seconds
            and self._monotonic() < kept.until
        ):
            return kept
        at = await self._store.now()
        groups = await self._store.run_groups(deadline_within_seconds=outage_seconds)
        await self._learn({group.standing.saga.plan.digest: group.standing for group in groups})
        kept = self._kept = _Kept(
            at=at, groups=groups, outage_seconds=outage_seconds,
            until=self._monotonic() + KEPT_SECONDS,
        )  # fmt: skip
        return kept

    async def _learn(self, standings: Mapping[str, Standing]) -> None:
        """Keep what runs of these plans reach; versions never change."""
        for digest, standing in standings.items():
            if digest not in self._reaches:
                plan = standing.saga.plan
                await self._find(plan)
                self._reaches[digest] = whole_reach(plan, self._plans)

    async def _find(self, plan: Plan) -> None:
        """Plans of the runs that it begins, and of those that these begin."""
        for name, digest in children_of(plan):
            if (name, digest) not in self._plans:
                found = {each.plan.digest: each.plan for each in await self._store.versions(name)}
                if digest in found:
                    self._plans[name, digest] = found[digest]
                    await self._find(found[digest])


def sums_of(groups: Iterable[RunGroup], api: str, reaches: Mapping[str, Reach]) -> _Sums:
    """What an API means for these; those that it does not touch are left out.

    Of tenants there may be thousands in each group, so theirs are counted by what they count as.
    """
    sums = _Sums()
    of_tenants: defaultdict[tuple[str, ...], list[Sequence[str]]] = defaultdict(list)
    for group in groups:
        touch = group.standing.touch(api, reaches[group.standing.saga.plan.digest])
        if touch.affected or touch.past:
            names, number = counted_as(group, touch), group.number
            sums.total.add(names, number)
            sums.by_workflow.setdefault(group.workflow, Counts()).add(names, number)
            of_tenants[names].append(group.tenants)
    for names, tenants in of_tenants.items():
        for tenant, number in Counter(chain.from_iterable(tenants)).items():
            sums.by_tenant.setdefault(tenant, Counts()).add(names, number)
    return sums


def counted_as(group: RunGroup, touch: Touch) -> tuple[str, ...]:
    """The fields of Counts in which a group's runs count."""
    saga = group.standing.saga
    forward = saga.direction is Direction.FORWARD
    stuck = forward and (touch.blocked or touch.ahead)
    no_way_back = forward and saga.past_pivot
    turning = stuck and group.late and not no_way_back
    parked = touch.blocked and saga.status is RunStatus.PARKED
    holds = {
        "affected": touch.affected, "blocked": touch.blocked, "parked": parked,
        "ahead": touch.ahead, "past": touch.past, "undo": touch.undo,
        "waiting": stuck and not group.late, "turning_back": turning,
        "escalating": stuck and group.late and no_way_back,
        "undo_waiting": touch.undo and (turning or not forward),
    }  # fmt: skip
    return tuple(name for name, held in holds.items() if held)


def _most(found: Mapping[str, Counts]) -> dict[str, Counts]:
    names = sorted(found, key=lambda name: (-found[name].affected, name))
    kept = {name: found[name] for name in names[:MOST_NAMES]}
    others = names[MOST_NAMES:]
    if others:
        rest = kept[OTHERS] = Counts()
        for name in others:
            for each in fields(Counts):
                rest.add([each.name], getattr(found[name], each.name))
    return kept
