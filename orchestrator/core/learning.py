"""All that a history gives rise to: of attempts alone, and of them beside what is documented."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.core.exchange import Outcome
from orchestrator.core.insights import (
    ENOUGH,
    EXAMPLES,
    FEW,
    ApiLimits,
    Change,
    Documented,
    Insight,
    InsightKind,
    Needs,
    Tried,
    insights_of,
    of_api,
)
from orchestrator.core.plan import Plan
from orchestrator.core.states import Direction

At = tuple[int, Direction]

WAITED_SHARE, WAITED_SECONDS = 0.5, 1.0
"""So many of an API's calls had to wait, and half of these so long: its limit is felt."""
MORE = 1.5
"""Times the limit that is felt; whether the API takes it shows then."""
TOLD = 5
"""Differences that are told of one operation."""
_RATE = re.compile(
    r"(?P<amount>\d+)(?P<rest>\s*(?:/|per)\s*(?P<times>\d+)?\s*(?P<unit>second|minute|hour|day)s?)\b",
    re.IGNORECASE,
)
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What an API's calls were like, those of all workflows and workers together."""

    calls: int
    throttled: int  # 429
    waited: int  # calls that had to wait before the gate
    usual_wait_seconds: float  # of half of these, or less
    usual_seconds: float  # that half of the calls take, or less


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is known beside the attempts."""

    apis: Mapping[str, ApiLimits] = field(default_factory=dict)
    needs: Needs | None = None
    documented: Mapping[At, Documented] = field(default_factory=dict)
    traffic: Mapping[str, Traffic] = field(default_factory=dict)


def learned(plan: Plan, tried: Sequence[Tried], known: Known) -> list[Insight]:
    """All of it. Of each run oldest first."""
    found = [
        _with_key(plan, each, known.documented)
        for each in insights_of(plan, tried, known.apis, known.needs)
    ]
    found += _low_limits(plan, tried, known)
    for at, documented in sorted(known.documented.items()):
        mine = [each for each in tried if (each.step, each.direction) == at]
        name = plan.steps[at[0]].id + ("" if at[1] is Direction.FORWARD else ".undo")
        found += _undocumented(name, mine, documented)
        found += _different(name, mine, documented)
    return found


def _with_key(plan: Plan, insight: Insight, documented: Mapping[At, Documented]) -> Insight:
    """A doubt that a key would settle, where the API's document has a header for one."""
    change = insight.change
    if insight.kind is not InsightKind.DOUBT_STAYS or change is None:
        return insight
    index = next(index for index, step in enumerate(plan.steps) if step.id == change.step)
    way = Direction.BACKWARD if change.undo else Direction.FORWARD
    said = documented.get((index, way))
    if said is None or said.key_header is None:
        return insight
    header = said.key_header
    changed = replace(change, field="x-idempotency", after=f"the header {header}", value=header)
    return replace(insight, change=changed)


def _low_limits(plan: Plan, tried: Sequence[Tried], known: Known) -> Iterator[Insight]:
    runs: defaultdict[str, list[str]] = defaultdict(list)
    for each in tried:
        if each.step < len(plan.steps) and each.direction is Direction.FORWARD:
            runs[plan.steps[each.step].call.api].append(each.run)
    for api, traffic in sorted(known.traffic.items()):
        limits = known.apis.get(api)
        change = None if limits is None else _wider(api, limits, traffic)
        if change is None or not _is_felt(traffic):
            continue
        share = traffic.waited / traffic.calls
        yield Insight(
            kind=InsightKind.LIMIT_LOW, about=api,
            said=f"{share:.0%} of its {traffic.calls} calls waited before the gate, half of them"
            f" {traffic.usual_wait_seconds:.2g} s or longer, and it refused none as too many",
            evidence={
                "calls": traffic.calls, "waited": traffic.waited, "refused": traffic.throttled,
                "p50_waited_seconds": round(traffic.usual_wait_seconds, 3),
                "p50_seconds": round(traffic.usual_seconds, 3),
            },
            runs=list(dict.fromkeys(runs[api]))[-EXAMPLES:], change=change,
        )  # fmt: skip


def _is_felt(traffic: Traffic) -> bool:
    if traffic.calls < ENOUGH or traffic.throttled:
        return False
    share = traffic.waited / traffic.calls
    return share >= WAITED_SHARE and traffic.usual_wait_seconds >= WAITED_SECONDS


def _wider(api: str, limits: ApiLimits, traffic: Traffic) -> Change | None:
    """The limit that makes calls wait, half as wide again: of the slots if they could not carry
    what the rate allows (Little's law: slots = calls a second times seconds of each).
    """
    slots, rate = limits.concurrency, limits.rate
    allowed = calls_a_second(rate)
    if slots is not None and slots / max(traffic.usual_seconds, 1e-3) < allowed:
        wider = max(int(slots * MORE), slots + 1)
        return of_api(api, "concurrency", str(slots), str(wider), wider)
    if math.isinf(allowed):
        return None
    after = _RATE.sub(_more, rate)
    return of_api(api, "rate", rate, after, after)


def calls_a_second(rate: str) -> float:
    """That all windows of a rate allow; infinite where nothing is said that could be read."""
    return min(
        (
            int(each["amount"]) / (int(each["times"] or 1) * _UNITS[each["unit"].lower()])
            for each in _RATE.finditer(rate)
        ),
        default=math.inf,
    )


def _more(rate: re.Match[str]) -> str:
    amount = int(rate["amount"])
    return f"{max(int(amount * MORE), amount + 1)}{rate['rest']}"


def _undocumented(name: str, tried: Sequence[Tried], documented: Documented) -> Iterator[Insight]:
    """Statuses below 500, of which the API's document says nothing."""
    if not documented.statuses:
        return
    counts = Counter(each.status for each in tried if each.status is not None)
    strange = {
        status: count for status, count in counts.items()
        if count >= FEW and status < 500 and not documented.has(status)
    }  # fmt: skip
    if not strange:
        return
    told = ", ".join(str(status) for status in sorted(strange))
    known = ", ".join(sorted(documented.statuses))
    yield Insight(
        kind=InsightKind.UNDOCUMENTED_STATUS, about=name,
        said=f"{documented.operation} answers {told}, and its document knows {known}",
        evidence={f"answers with {status}": count for status, count in sorted(strange.items())},
        runs=list(dict.fromkeys(e.run for e in tried if e.status in strange))[-EXAMPLES:],
        change=Change(
            place=f"{documented.file or 'the document of the API'}, {documented.operation}",
            field="responses", before=known, after=f"{known}, {told}", value=told,
            file=documented.file, operation=documented.operation,
        ),
    )  # fmt: skip


def _different(name: str, tried: Sequence[Tried], documented: Documented) -> Iterator[Insight]:
    if not documented.differences:
        return
    told = documented.differences[:TOLD]
    more = len(documented.differences) - len(told)
    landed = [each.run for each in tried if each.outcome is Outcome.LANDED]
    yield Insight(
        kind=InsightKind.ANSWER_DIFFERS, about=name,
        said=f"answers of {documented.operation} are not as documented: "
        + "; ".join(f"{one.place}: {one.found}, documented: {one.wanted}" for one in told)
        + (f"; and {more} more" if more else ""),
        evidence={one.place: one.cases for one in told},
        runs=list(dict.fromkeys(landed))[-EXAMPLES:],
    )  # fmt: skip
