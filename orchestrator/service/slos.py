"""Objectives of workflows: how they stand, and the pass that raises and ends their alarms."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from orchestrator.core.slo import (
    DAY,
    QUIET_SECONDS,
    AlarmState,
    Count,
    Declared,
    Objective,
    Rule,
    Urgency,
    alarm_moves,
    budget_used,
    burn_rate,
    burning,
    objectives_of,
)
from orchestrator.errors import InvalidSetting, Unavailable
from orchestrator.ports.slo import AlarmRecord, NewAlarm, SloStore

log = structlog.get_logger(__name__)

PASS_SECONDS = 15.0
REST_SECONDS = 0.01
"""Between two days of a first count, in which others write."""
SHOWN_ALARMS_SECONDS = 7.0 * DAY

Read = Callable[[], Declared]
"""What is declared now. Blocks; raises InvalidSetting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SloView:
    """How one objective stands."""

    objective: Objective
    counts: Mapping[int, Count]  # by window, in seconds; the last one is the budget's
    burn_rates: Mapping[int, float]  # of the same windows
    budget_used: float  # above 1: missed
    alarms: Sequence[AlarmRecord]  # open ones


@dataclass(frozen=True, kw_only=True, slots=True)
class SloReport:
    """How all objectives stand, and the alarms of the last days, newest first."""

    at: datetime
    views: Sequence[SloView]
    alarms: Sequence[AlarmRecord]


class Slos:
    """Looks; `SloWatch`, in the workers, counts and raises alarms."""

    def __init__(self, store: SloStore, read: Read) -> None:
        self._store, self._read = store, read

    async def report(self, workflow: str | None = None) -> SloReport:
        """As counted last, a few seconds ago. Raises InvalidSetting, Unavailable."""
        declared = await asyncio.to_thread(self._read)
        objectives = [
            each for each in objectives_of(declared, await self._store.told_objectives())
            if workflow is None or each.workflow == workflow
        ]  # fmt: skip
        at, found = await self._store.event_counts(objectives)
        alarms = [
            each for each in await self._store.alarms(closed_within_seconds=SHOWN_ALARMS_SECONDS)
            if workflow is None or each.workflow == workflow
        ]  # fmt: skip
        views = [
            _view(objective, counts, alarms)
            for objective, counts in zip(objectives, found, strict=True)
        ]
        return SloReport(at=at, views=views, alarms=alarms)


def _view(
    objective: Objective, counts: Mapping[int, Count], alarms: Sequence[AlarmRecord]
) -> SloView:
    return SloView(
        objective=objective, counts=counts, budget_used=budget_used(objective, counts),
        burn_rates={seconds: burn_rate(objective, count) for seconds, count in counts.items()},
        alarms=[
            each for each in alarms
            if each.closed_at is None
            and (each.workflow, each.kind) == (objective.workflow, objective.kind)
        ],
    )  # fmt: skip


class SloWatch:
    """The pass of every worker; the database lets one of them count at a time."""

    def __init__(
        self,
        store: SloStore,
        read: Read,
        *,
        new_id: Callable[[], str],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._read, self._new_id, self._jitter = store, read, new_id, jitter
        self._declared: Declared = {}

    async def run_passes(self) -> None:
        """One pass after the other, until cancelled."""
        while True:
            await asyncio.sleep(PASS_SECONDS * (0.75 + self._jitter() / 2))
            try:
                await self.one_pass(at_least_seconds=PASS_SECONDS / 2)
            except Unavailable as error:
                log.warning("slos.postponed", why=str(error))
            except Exception:
                # A pass is repeatable, and the next one must come.
                log.exception("slos.failed")

    async def one_pass(self, *, at_least_seconds: float = 0.0) -> None:
        """Count what has happened, and raise and end alarms by it. Raises Unavailable."""
        await self._look()
        objectives = objectives_of(self._declared, await self._store.told_objectives())
        behind = await self._store.count_events(objectives, at_least_seconds=at_least_seconds)
        while behind > 0:
            await asyncio.sleep(REST_SECONDS)
            behind = await self._store.count_events(objectives, at_least_seconds=at_least_seconds)
            if behind < 0:  # all are there, or another goes on with it
                behind = 0
        if behind == 0:
            await self._judge(objectives)

    async def _look(self) -> None:
        """What is broken changes nothing: what was declared before holds."""
        try:
            self._declared = await asyncio.to_thread(self._read)
        except InvalidSetting as error:
            log.warning("slos.not_taken", why=str(error))

    async def _judge(self, objectives: Sequence[Objective]) -> None:
        now, found = await self._store.event_counts(objectives)
        alarms: defaultdict[tuple[str, str], list[AlarmRecord]] = defaultdict(list)
        for each in await self._store.alarms(closed_within_seconds=DAY):
            alarms[each.workflow, each.kind].append(each)
        new: list[NewAlarm] = []
        touched: list[str] = []
        quiet: list[str] = []
        for objective, counts in zip(objectives, found, strict=True):
            of_it = alarms.pop((objective.workflow, objective.kind), [])
            holding = burning(objective, counts)
            moves = alarm_moves([_state(each) for each in of_it], holding, now)
            new += [self._new(objective, counts, holding[each]) for each in sorted(moves.opens)]
            touched += _ids(of_it, moves.goes_on)
            quiet += _ids(of_it, moves.closes)
        # Of what is no objective any more.
        quiet += [each.id for left in alarms.values() for each in left if each.closed_at is None]
        await self._write(new, touched, quiet)

    async def _write(
        self, new: Sequence[NewAlarm], touched: Sequence[str], quiet: Sequence[str]
    ) -> None:
        await self._store.touch_alarms(touched)
        await self._store.close_alarms(quiet, quiet_seconds=QUIET_SECONDS)
        if await self._store.open_alarms(new):
            for each in new:
                log.warning(
                    "slo.alarm", workflow=each.objective.workflow, objective=each.objective.kind,
                    urgency=each.urgency, burn_rate=round(each.burn_rate, 1), bad=each.count.bad,
                    total=each.count.total,
                )  # fmt: skip

    def _new(self, objective: Objective, counts: Mapping[int, Count], rule: Rule) -> NewAlarm:
        count = counts[rule.long_seconds]
        return NewAlarm(
            id=self._new_id(), objective=objective, urgency=rule.urgency, count=count,
            long_seconds=rule.long_seconds, burn_rate=burn_rate(objective, count),
        )  # fmt: skip


def _state(alarm: AlarmRecord) -> AlarmState:
    return AlarmState(urgency=alarm.urgency, burning_at=alarm.burning_at, closed_at=alarm.closed_at)


def _ids(alarms: Sequence[AlarmRecord], urgencies: frozenset[Urgency]) -> list[str]:
    return [each.id for each in alarms if each.closed_at is None and each.urgency in urgencies]
