"""How many workers a lane wants: no more than APIs' limits leave something to do for.

What is wanted is CPU, by the costs of the capacity model:

    cores = slowdown · min(settled a second · a run's cost + due work / horizon, what limits allow)

Due runs count as far as the limits of the APIs that they will call have room for them within the
horizon; runs in workers' hands and parked ones come first there. Parked runs ask for nothing: they
wait for an API, and more workers would not make it faster. How much slower than by the costs a
worker is here is seen whenever runs wait for workers, and remembered.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.capacity import Cost
from orchestrator.core.plan import Call, Plan, PlanStep
from orchestrator.core.states import Direction

TASKS = "tasks"
SATURATED_SECONDS = 5.0
"""Runs that have waited for so long wait for workers. It is as long as a lost message takes."""
MOST_SLOWDOWN = 50.0
ROUNDING = 1e-9


class Where(StrEnum):
    """Whose turn it is with a run."""

    DUE = "due"  # it waits for a worker
    IN_HAND = "in_hand"  # a worker has it
    PARKED = "parked"  # the gate has told it to come back later


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Steps, and what they call: how often, by API."""

    steps: int
    calls: Mapping[str, int]

    def seconds(self, cost: Cost) -> float:
        """Of a worker's CPU, by the costs."""
        calls = sum(number for api, number in self.calls.items() if api != TASKS)
        return cost.run + self.steps * cost.step + calls * cost.call


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Runs of one lane that stand alike."""

    where: Where
    number: int
    ahead: Work  # of each of them, until it ends or waits for somebody's answer
    whole: Work  # of a run like them, from its beginning


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneLoad:
    """One lane as it stands."""

    groups: Sequence[Group]
    oldest_due_seconds: float
    settled: int  # runs, lately
    lately_seconds: float  # how long that is
    workers: int  # that have runs of the lane in hand
    worker_seconds: float  # of these, within `lately_seconds`: less for who has just begun


@dataclass(frozen=True, kw_only=True, slots=True)
class Yardstick:
    """By what workers are counted."""

    cost: Cost  # Resource.WORKER_CPU
    utilisation: float  # of a core that runs are to use, 0 to 1
    horizon_seconds: float  # within which what is due is to be under way
    usual: Work  # of a run, where none is in hand to look at

    @property
    def core(self) -> float:
        """CPU seconds a second that one worker has for runs."""
        return max(self.utilisation - self.cost.worker_second, 0.01)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a lane asks for."""

    workers: int
    held_back: int  # due runs for which APIs' limits have no room within the horizon
    slowdown: float  # to be known the next time


def work_ahead(plan: Plan, step: int | None, direction: Direction) -> Work:
    """Until the run ends or waits for an answer, straight on (or back) from this step of its plan.

    None: behind the last one. An undo counts as one call of its API; retries and questions that
    settle a doubt do not count.
    """
    step = len(plan.steps) if step is None else step
    if direction is Direction.FORWARD:
        return _work(each.call for each in plan.steps[step:])
    return _work(_undos(reversed(plan.steps[: step + 1])))


def _undos(steps: Iterable[PlanStep]) -> Iterable[Call]:
    return (each.compensation.call for each in steps if each.compensation is not None)


def _work(ahead: Iterable[Call]) -> Work:
    steps, calls = 0, defaultdict[str, int](int)
    for call in ahead:
        steps += 1
        if call.is_answered:
            break
        if not call.is_local:
            calls[call.api] += 1
    return Work(steps=steps, calls=calls)


def wanted_workers(
    load: LaneLoad, limits: Mapping[str, float], by: Yardstick, *, slowdown: float = 1.0
) -> Wanted:
    """Workers that the lane has work for. `limits`: calls a second, of APIs that have one; 0: none
    at all. `slowdown` as it was known before.
    """
    admitted = _admitted(load.groups, limits, by)
    usual = _usual_seconds(load.groups, by)
    is_short = any(admitted.values()) and load.oldest_due_seconds >= SATURATED_SECONDS
    slowdown = _slowdown(load, usual, by, known=slowdown, is_short=is_short)
    steady = load.settled / load.lately_seconds * usual
    fresh = (
        sum(number * load.groups[at].ahead.seconds(by.cost) for at, number in admitted.items())
        / by.horizon_seconds
    )
    most = _most(load.groups, limits, by)
    workers = math.ceil(slowdown * min(steady + fresh, most) / by.core - ROUNDING)
    if is_short and not _is_told(load):  # how fast they are cannot be said yet
        workers = max(workers, min(load.workers + 1, math.ceil(sum(admitted.values()))))
    is_asked = any(admitted.values()) or any(each.where is Where.IN_HAND for each in load.groups)
    due = sum(each.number for each in load.groups if each.where is Where.DUE)
    return Wanted(
        workers=max(workers, int(is_asked)), slowdown=slowdown,
        held_back=math.floor(due - sum(admitted.values()) + ROUNDING),
    )  # fmt: skip


def _admitted(
    groups: Sequence[Group], limits: Mapping[str, float], by: Yardstick
) -> dict[int, float]:
    """How many of the due runs, by the place of their group, limits let on within the horizon.

    A group counts at the API that holds it back most. Where several share what is left there, those
    with the most work for each call come first: that is the most which can come of it, and what
    comes of it never shrinks because more is due.
    """
    room = {api: rate * by.horizon_seconds for api, rate in limits.items()}
    for group in groups:
        if group.where is not Where.DUE:
            for api, calls in group.ahead.calls.items():
                if api in room:
                    room[api] = max(room[api] - group.number * calls, 0.0)
    admitted: dict[int, float] = {}
    narrow = defaultdict[str, list[int]](list)
    for at, group in enumerate(groups):
        if group.where is Where.DUE:
            narrowest = _narrowest(group.ahead, limits)
            if narrowest is None:
                admitted[at] = group.number
            else:
                narrow[narrowest].append(at)
    for api, places in narrow.items():
        left = room[api]
        for at in sorted(places, key=lambda at: -_per_call(groups[at].ahead, api, by)):
            calls = groups[at].ahead.calls[api]
            admitted[at] = min(groups[at].number, left / calls)
            left -= admitted[at] * calls
    return admitted


def _narrowest(work: Work, limits: Mapping[str, float]) -> str | None:
    """The API that lets the fewest such runs through; None: no limit is in their way."""
    rates = {api: limits[api] / calls for api, calls in work.calls.items() if api in limits}
    return min(rates, key=lambda api: (rates[api], api)) if rates else None


def _per_call(work: Work, api: str, by: Yardstick) -> float:
    """CPU seconds for each call of the API."""
    return work.seconds(by.cost) / work.calls[api]


def _most(groups: Sequence[Group], limits: Mapping[str, float], by: Yardstick) -> float:
    """CPU seconds a second for which limits leave work; infinite where a run meets none.

    Of runs that have ended nobody knows what they called, unless others like them are in hand.
    """
    if not any(each.where is Where.IN_HAND for each in groups):
        return math.inf
    dearest = defaultdict[str, float](float)
    for group in groups:
        api = _narrowest(group.ahead, limits)
        if api is None and group.where is not Where.PARKED:
            return math.inf
        if api is not None:
            for work in (group.ahead, group.whole):
                if work.calls.get(api):
                    dearest[api] = max(dearest[api], _per_call(work, api, by))
    return sum(limits[api] * seconds for api, seconds in dearest.items())


def _usual_seconds(groups: Sequence[Group], by: Yardstick) -> float:
    """CPU of a whole run, on average over those in hand."""
    in_hand = [each for each in groups if each.where is Where.IN_HAND]
    number = sum(each.number for each in in_hand)
    if not number:
        return by.usual.seconds(by.cost)
    return sum(each.number * each.whole.seconds(by.cost) for each in in_hand) / number


def _is_told(load: LaneLoad) -> bool:
    """Whether so many have ended lately that their number says how fast workers are."""
    in_hand = sum(each.number for each in load.groups if each.where is Where.IN_HAND)
    return load.settled > 0 and load.worker_seconds > 0 and load.settled >= in_hand


def _slowdown(
    load: LaneLoad, usual: float, by: Yardstick, *, known: float, is_short: bool
) -> float:
    """How many times slower than by the costs a worker is.

    Without runs that wait for workers they are at least as fast as they were seen to be.
    """
    if not _is_told(load):
        return known
    seen = by.core / usual / (load.settled / load.worker_seconds)
    seen = min(max(seen, 1 / MOST_SLOWDOWN), MOST_SLOWDOWN)
    return seen if is_short else min(known, seen)
