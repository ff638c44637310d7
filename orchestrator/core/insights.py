"""What the history of a workflow says about its settings: each with evidence, and what to change.

Nothing is said of a few cases: LEAST of them, and a part of all, have to be so. What is said is of
links (a step or its undo, with all of its attempts) and of single attempts.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.core.exchange import Outcome
from orchestrator.core.plan import Call, Effects, Plan
from orchestrator.core.states import Direction

LEAST = 5
"""Cases; of undos and timeouts FEW."""
FEW = 3
FAILING_PART, TIMED_OUT_PART, REFUSED_PART = 0.05, 0.02, 0.02
NEAR = 0.7
"""Of its time limit: what takes so long is cut off now and then by chance."""
LOOSE = 5.0
"""So many times what 99 of 100 take is a limit that holds runs up for nothing."""
ENOUGH = 50
"""Calls, of which a quantile is told."""
SLOW_SECONDS, SLOWER = 2.0, 10.0
BESIDE_SECONDS, BESIDE_PART = 0.5, 0.2
"""What a run has to become quicker by; the part is of what half of its calls take."""
EXAMPLES = 5
TIMED_OUT = "no answer within"
_VARYING = re.compile(r"[0-9a-f]{8,}(?:-[0-9a-f]{4,}){0,4}|\d+(?:\.\d+)?|'[^']*'|\"[^\"]*\"")


class InsightKind(StrEnum):
    """What is found."""

    STEP_FAILS = "step_fails"
    RETRIES_IN_VAIN = "retries_in_vain"
    TIMEOUT_TIGHT = "timeout_tight"
    TIMEOUT_LOOSE = "timeout_loose"
    LIMIT_HIGH = "limit_high"
    UNDO_FAILS = "undo_fails"
    UNDO_SLOW = "undo_slow"
    DOUBT_STAYS = "doubt_stays"
    COULD_RUN_BESIDE = "could_run_beside"
    LIMIT_LOW = "limit_low"
    UNDOCUMENTED_STATUS = "undocumented_status"
    ANSWER_DIFFERS = "answer_differs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """One attempt. `minute`: of its start, since 1970."""

    run: str
    step: int
    direction: Direction
    outcome: Outcome
    reason: str
    status: int | None
    seconds: float
    minute: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiLimits:
    """What is configured of an API."""

    total_seconds: float
    rate: str  # as configured; empty: none
    concurrency: int | None = None  # requests in flight, over all workers; None: no limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Something of answers that is not as documented."""

    place: str  # JSON pointer, `*` for any element
    found: str
    wanted: str
    cases: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Documented:
    """What the API's document says of an operation, and where answers were otherwise."""

    operation: str  # "GET /orders/{id}"
    statuses: frozenset[str]  # `200`, `4XX`, `DEFAULT`; empty: nothing is said
    file: str  # of the document; empty: nobody knows where it is
    key_header: str | None = None  # in which it takes an idempotency key
    differences: Sequence[Difference] = ()

    def has(self, status: int) -> bool:
        """Whether a status is one of them."""
        return bool({str(status), f"{status // 100}XX", "DEFAULT"} & self.statuses)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One field of a document or file: what stands there, and what should.

    `place`, `before` and `after` are for people; the others say the same to who writes it.
    """

    place: str
    field: str
    before: str
    after: str
    value: float | int | str | None = None  # None: a person has to say what
    step: str = ""  # of the workflow's document, or else
    undo: bool = False  # what undoes the step is meant
    api: str = ""  # whose file it is
    file: str = ""  # of an API's own document; with the operation in it
    operation: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Insight:
    """One finding: about a step or an API, why, and what to do."""

    kind: InsightKind
    about: str
    said: str
    evidence: Mapping[str, float | int | str]
    runs: Sequence[str]  # some of those in which it was so, the newest last
    change: Change | None = None
    number: int = 1  # among those of this kind about the same

    @property
    def id(self) -> str:
        """By which it is chosen: `timeout_tight/charge`; the same as long as it is found."""
        more = f"/{self.number}" if self.number > 1 else ""
        return f"{self.kind}/{self.about}{more}"


Link = Sequence[Tried]
"""All attempts at one link of one run, oldest first."""
Needs = Mapping[int, frozenset[int]]
"""By step: the steps before it without which it cannot begin."""


def signature(reason: str) -> str:
    """The reason without what differs from case to case: numbers, ids and what is quoted."""
    return _VARYING.sub("#", reason)[:120]


def insights_of(
    plan: Plan, tried: Sequence[Tried], apis: Mapping[str, ApiLimits], needs: Needs | None = None
) -> list[Insight]:
    """All that these attempts, of runs that went straight through this plan, give rise to.

    Of each run oldest first. `needs`: None where it is not known.
    """
    links: defaultdict[tuple[int, Direction], dict[str, list[Tried]]] = defaultdict(dict)
    for each in tried:
        if each.step < len(plan.steps):
            links[each.step, each.direction].setdefault(each.run, []).append(each)
    found: list[Insight] = []
    for (step, direction), of_runs in sorted(links.items()):
        call = _call(plan, step, direction)
        if call is not None:
            name = plan.steps[step].id + ("" if direction is Direction.FORWARD else ".undo")
            judged = _Judged(
                plan.workflow, name, call, direction, list(of_runs.values()), plan.steps[step].id
            )
            found += judged.insights(apis.get(call.api))
    forward, backward = Direction.FORWARD, Direction.BACKWARD
    for step in range(len(plan.steps)):
        pair = [list(links[step, way].values()) for way in (forward, backward)]
        found += _slow_undo(plan.steps[step].id, *pair)
    found += _limits(plan, tried, apis)
    if needs is not None:
        ahead = [list(links[step, forward].values()) for step in range(len(plan.steps))]
        found += _beside(plan, ahead, needs)
    return _numbered(found)


def _numbered(found: Sequence[Insight]) -> list[Insight]:
    seen: Counter[tuple[InsightKind, str]] = Counter()
    numbered = []
    for each in found:
        seen[each.kind, each.about] += 1
        numbered.append(replace(each, number=seen[each.kind, each.about]))
    return numbered


def _runs(links: Sequence[Link]) -> list[str]:
    """A few of them, to look at."""
    return [link[-1].run for link in links[-EXAMPLES:]]


def _call(plan: Plan, step: int, direction: Direction) -> Call | None:
    if direction is Direction.FORWARD:
        return plan.steps[step].call
    undo = plan.steps[step].compensation
    return None if undo is None else undo.call


@dataclass(frozen=True, slots=True)
class _Judged:
    """All links of one step in one direction."""

    workflow: str
    name: str
    call: Call
    direction: Direction
    links: Sequence[Link]
    step: str

    def insights(self, api: ApiLimits | None) -> Iterator[Insight]:
        yield from self._failing()
        yield from self._in_vain()
        yield from self._doubts()
        limit = self.call.timeout_seconds or (api.total_seconds if api else None)
        if limit is not None:
            yield from self._timeouts(limit)

    def _failing(self) -> Iterator[Insight]:
        failed = [link for link in self.links if link[-1].outcome is not Outcome.LANDED]
        backward = self.direction is Direction.BACKWARD
        part = len(failed) / len(self.links)
        if len(failed) < (FEW if backward else LEAST) or part < FAILING_PART:
            return
        why, cases = Counter(signature(link[-1].reason) for link in failed).most_common(1)[0]
        yield Insight(
            kind=InsightKind.UNDO_FAILS if backward else InsightKind.STEP_FAILS,
            about=self.name,
            said=f"{part:.0%} of its {len(self.links)} links do not land, mostly: {why}",
            evidence={
                "links": len(self.links), "failed": len(failed), "signature": why, "cases": cases,
            },
            runs=_runs([link for link in failed if signature(link[-1].reason) == why]),
        )  # fmt: skip

    def _in_vain(self) -> Iterator[Insight]:
        """Of what fails in one way first, and is tried again: whether that ever helped."""
        again = [link for link in self.links if len(link) > 1]
        by_why: defaultdict[str, list[Link]] = defaultdict(list)
        for link in again:
            by_why[signature(link[0].reason)].append(link)
        for why, links in sorted(by_why.items()):
            helped = sum(link[-1].outcome is Outcome.LANDED for link in links)
            if helped or len(links) < LEAST:
                continue
            retries = sum(len(link) - 1 for link in links)
            statuses = {each.status for link in links for each in link}
            status = statuses.pop() if len(statuses) == 1 else None
            yield Insight(
                kind=InsightKind.RETRIES_IN_VAIN, about=self.name,
                said=f"{retries} retries after “{why}” helped in none of {len(links)} links",
                evidence={"links": len(links), "retries": retries, "signature": why},
                runs=_runs(links), change=None if status is None else self._change(
                    f"attempts after {status}", str(self.call.retry.max_attempts), "1", status,
                ),
            )  # fmt: skip

    def _doubts(self) -> Iterator[Insight]:
        """Each is a person's work, unless the API can be asked or honours a key."""
        if self.call.effects is not Effects.UNKEYED or self.call.verify is not None:
            return
        doubts = [link for link in self.links if link[-1].outcome is Outcome.UNKNOWN]
        if len(doubts) >= FEW:
            yield Insight(
                kind=InsightKind.DOUBT_STAYS, about=self.name,
                said=f"{len(doubts)} times nobody knew whether it had landed, and a person had to"
                " look",
                evidence={"links": len(self.links), "in_doubt": len(doubts)}, runs=_runs(doubts),
                change=self._change(
                    "x-idempotency or x-verify", "nothing", "how the API can be asked again", None
                ),
            )  # fmt: skip

    def _timeouts(self, limit: float) -> Iterator[Insight]:
        attempts = [each for link in self.links for each in link]
        cut = [link for link in self.links if any(TIMED_OUT in each.reason for each in link)]
        cut_off = sum(TIMED_OUT in each.reason for each in attempts)
        landed = sorted(each.seconds for each in attempts if each.outcome is Outcome.LANDED)
        if cut_off < FEW or cut_off / len(attempts) < TIMED_OUT_PART or not landed:
            return
        most = quantile(landed, 0.99)
        evidence = {
            "attempts": len(attempts), "cut_off": cut_off, "limit_seconds": limit,
            "p50_seconds": round(quantile(landed, 0.5), 3), "p99_seconds": round(most, 3),
        }  # fmt: skip
        if most >= NEAR * limit:
            kind, after = InsightKind.TIMEOUT_TIGHT, 2 * limit
            said = f"{cut_off} answers did not come within {limit:g} s, and those that do take"
        elif most * LOOSE <= limit and len(landed) >= ENOUGH:
            kind, after = InsightKind.TIMEOUT_LOOSE, max(3 * most, 0.5)
            said = f"{cut_off} calls hung for {limit:g} s, while others take"
        else:
            return
        yield Insight(
            kind=kind, about=self.name, said=f"{said} {most:.3g} s (99 of 100)",
            evidence=evidence, runs=_runs(cut), change=self._other_limit(limit, after),
        )  # fmt: skip

    def _other_limit(self, limit: float, after: float) -> Change:
        seconds = math.ceil(after * 10) / 10
        if self.call.timeout_seconds is not None:
            return self._change("timeout", f"{limit:g}", f"{seconds:g}", seconds)
        return of_api(self.call.api, "timeouts.total", f"{limit:g}", f"{seconds:g}", seconds)

    def _change(
        self, field: str, before: str, after: str, value: float | int | str | None
    ) -> Change:
        return Change(
            place=f"workflow {self.workflow}, step {self.name}", field=field, before=before,
            after=after, value=value, step=self.step, undo=self.direction is Direction.BACKWARD,
        )  # fmt: skip


def of_api(api: str, field: str, before: str, after: str, value: float | int | str) -> Change:
    """A change of an API's file."""
    return Change(
        place=f"config/apis/{api}.yaml", field=field, before=before, after=after, value=value,
        api=api,
    )  # fmt: skip


def _slow_undo(name: str, forward: Sequence[Link], backward: Sequence[Link]) -> Iterator[Insight]:
    undone, done = _landed_seconds(backward), _landed_seconds(forward)
    if len(undone) < FEW or not done:
        return
    undo, step = quantile(undone, 0.5), quantile(done, 0.5)
    if undo >= SLOW_SECONDS and undo >= SLOWER * step:
        yield Insight(
            kind=InsightKind.UNDO_SLOW, about=f"{name}.undo",
            said=f"half of its undos take {undo:.3g} s or longer, the step itself {step:.3g} s",
            evidence={"undos": len(undone), "p50_seconds": round(undo, 3),
                      "forward_p50_seconds": round(step, 3)},
            runs=_runs(backward),
        )  # fmt: skip


def _landed_seconds(links: Sequence[Link]) -> list[float]:
    """What their calls took, all attempts together; waits between them are not in it."""
    return sorted(
        sum(each.seconds for each in link) for link in links if link[-1].outcome is Outcome.LANDED
    )


def _limits(plan: Plan, tried: Sequence[Tried], apis: Mapping[str, ApiLimits]) -> Iterator[Insight]:
    by_api: defaultdict[str, list[Tried]] = defaultdict(list)
    for each in tried:
        call = _call(plan, each.step, each.direction) if each.step < len(plan.steps) else None
        if call is not None:
            by_api[call.api].append(each)
    for api, attempts in sorted(by_api.items()):
        refused = sum(each.status == 429 for each in attempts)
        if refused < LEAST or refused / len(attempts) < REFUSED_PART:
            continue
        taken = Counter(each.minute for each in attempts if each.status != 429)
        of_refusals = {each.minute for each in attempts if each.status == 429}
        # What it took in minutes in which it also refused is all that it takes.
        most = max((taken[minute] for minute in of_refusals), default=0)
        known, rate = apis.get(api), f"{max(most, 1)}/minute"
        yield Insight(
            kind=InsightKind.LIMIT_HIGH, about=api,
            said=f"it refused {refused} of {len(attempts)} calls as too many, and took"
            f" {most} a minute beside them",
            evidence={"attempts": len(attempts), "refused": refused, "taken_a_minute": most},
            runs=list(dict.fromkeys(each.run for each in attempts if each.status == 429))[
                -EXAMPLES:
            ],
            change=of_api(
                api, "rate", known.rate if known and known.rate else "nothing", rate, rate
            ),
        )  # fmt: skip


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them do not exceed (nearest rank)."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def _beside(plan: Plan, links: Sequence[Sequence[Link]], needs: Needs) -> Iterator[Insight]:
    """Steps one after the other none of which uses what the others gave."""
    usual = [_usual_seconds(each) for each in links]
    whole = sum(usual)
    for group in _independent(plan, needs):
        seconds = [usual[step] for step in group]
        saved = sum(seconds) - max(seconds)
        if min(len(links[step]) for step in group) < ENOUGH:
            continue
        if saved < BESIDE_SECONDS or saved < BESIDE_PART * whole:
            continue
        names = [plan.steps[step].id for step in group]
        effects = sum(plan.steps[step].call.effects is not Effects.NONE for step in group)
        yield Insight(
            kind=InsightKind.COULD_RUN_BESIDE, about="+".join(names),
            said=f"none of them uses what the others gave; beside each other a run would take"
            f" {saved:.2g} of {whole:.2g} s less"
            + (", if their effects need no order" if effects else ""),
            evidence={
                "steps": len(group), "with_effects": effects, "links": len(links[group[0]]),
                "saved_seconds": round(saved, 3), "run_seconds": round(whole, 3),
            } | {f"p50_seconds of {name}": round(one, 3) for name, one in zip(names, seconds,
                                                                              strict=True)},
            runs=_runs(links[group[-1]]),
        )  # fmt: skip


def _usual_seconds(links: Sequence[Link]) -> float:
    landed = _landed_seconds(links)
    return quantile(landed, 0.5) if landed else 0.0


def _independent(plan: Plan, needs: Needs) -> Iterator[list[int]]:
    """Longest groups of neighbours. What is the pivot, or asks somebody, stays alone."""
    group: list[int] = []
    for index, step in enumerate(plan.steps):
        alone = step.pivot or step.last or step.call.is_answered or step.call.is_local
        needed = needs.get(index, frozenset(range(index)))
        if alone or needed.intersection(group):
            yield from [group] if len(group) > 1 else []
            group = []
        if not alone:
            group.append(index)
    yield from [group] if len(group) > 1 else []
