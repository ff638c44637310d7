"""The alert rules over histories, judged by Prometheus' own `promtool test rules`.

A history is told minute by minute to what workers count with (`PrometheusMeter`) and to the rules
of objectives, and read as Prometheus would scrape it; so names, labels and buckets are the real
ones. promtool then evaluates the rules of deploy/ over it, hours within a second.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Metric

from orchestrator.core.exchange import Outcome
from orchestrator.core.slo import (
    BUILT_IN,
    MINUTE,
    AlarmState,
    Count,
    Objective,
    ObjectiveKind,
    alarm_moves,
    budget_used,
    burn_rate,
    burning,
)
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.ports.slo import AlarmRecord
from orchestrator.service.measuring import Reading
from orchestrator.service.slos import SloView
from orchestrator.telemetry.metering import PrometheusMeter, gauge_families
from orchestrator.telemetry.metrics import BROKER_UP, DATABASE_UP
from orchestrator.telemetry.system_metrics import readings
from tests.acceptance.test_prometheus import ROOT, program

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
BEGINS = 150  # minutes of peace before anything goes wrong
STEPS, RUNS_A_MINUTE, DAYS_BEFORE = 5, 20, 3
F, B = Direction.FORWARD, Direction.BACKWARD
SUCCESS = Objective(workflow="order", kind=ObjectiveKind.SUCCESS, target=0.99)
_UNDOS = BUILT_IN[ObjectiveKind.COMPENSATION]
assert _UNDOS is not None
UNDOS = replace(_UNDOS, workflow="order")
FIRING = 'ALERTS{alertstate="firing"} or vector(0)'
"""The second is there in every minute, so a minute that promtool leaves out is seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weather:
    """What a minute is like: parts of all."""

    runs_refused: float = 0.0005  # which an API answers 409, at once: the run turns back
    undos_failed: float = 0.0  # of the runs that turn back
    calls_failed: float = 0.0  # 503; the next attempt lands
    call_seconds: float = 0.02


class Story:
    """An objective with its events, and its alarms by the moves of production; days of good runs
    lie behind it."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.good = [RUNS_A_MINUTE * minute for minute in range(DAYS_BEFORE * 24 * 60 + 1)]
        self.bad = [0] * len(self.good)  # sums, by minute
        self.known: list[AlarmState] = []

    def told(self, *, good: int, bad: int) -> None:
        """What the next minute had."""
        self.good.append(self.good[-1] + good)
        self.bad.append(self.bad[-1] + bad)

    def view(self, now: datetime) -> SloView:
        """How it stands after the last minute."""
        counts = {
            seconds: Count(
                good=self.good[-1] - self.good[-min(seconds // MINUTE + 1, len(self.good))],
                bad=self.bad[-1] - self.bad[-min(seconds // MINUTE + 1, len(self.bad))],
            )
            for seconds in self.objective.windows
        }
        moves = alarm_moves(self.known, burning(self.objective, counts), now)
        self.known = [
            replace(state, burning_at=now) if state.urgency in moves.goes_on
            else replace(state, closed_at=now) if state.urgency in moves.closes else state
            for state in self.known
        ] + [AlarmState(urgency=each, burning_at=now) for each in moves.opens]  # fmt: skip
        return SloView(
            objective=self.objective, counts=counts,
            budget_used=budget_used(self.objective, counts),
            burn_rates={each: burn_rate(self.objective, counts[each]) for each in counts},
            alarms=[
                AlarmRecord(
                    id="a", workflow="order", kind=self.objective.kind, urgency=state.urgency,
                    target=self.objective.target, long_seconds=3600, bad=0, total=0, burn_rate=0.0,
                    opened_at=now, burning_at=now,
                )
                for state in self.known if state.closed_at is None
            ],
        )  # fmt: skip


class History:
    """Workers at work, scraped each minute."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._registry = CollectorRegistry()
        self._meter = PrometheusMeter(self._registry)
        self._stories = {each.kind: Story(each) for each in objectives}
        self._rng = random.Random(1)
        self._events: dict[ObjectiveKind, list[int]] = {}
        self._series: defaultdict[str, dict[int, float]] = defaultdict(dict)
        self._minutes = 0

    def live(self, minutes: int, weather: Callable[[int], Weather]) -> History:
        """So many minutes, each with its weather."""
        for minute in range(minutes):
            self._events = {kind: [0, 0] for kind in self._stories}
            for _ in range(RUNS_A_MINUTE):
                self._run(weather(minute))
            now = MONDAY + timedelta(minutes=minute)
            for kind, story in self._stories.items():
                bad, good = self._events[kind]
                story.told(good=good, bad=bad)
            views = [story.view(now) for story in self._stories.values()]
            reading = Reading(database=None, broker=None, queues=None, slos=views)
            gauges = {**readings(reading), DATABASE_UP: {(): 1.0}, BROKER_UP: {(): 1.0}}
            self._scraped(minute, [*self._registry.collect(), *gauge_families(gauges)])
        self._minutes = minutes
        return self

    def _run(self, weather: Weather) -> None:
        refused = self._rng.randrange(STEPS) if self._happens(weather.runs_refused) else STEPS
        for step in range(min(refused, STEPS)):
            self._step(step, weather)
        if refused == STEPS:
            self._ended(RunStatus.SUCCEEDED)
            return
        self._meter.attempted("shop", F, Outcome.NOT_LANDED, 409, weather.call_seconds)
        self._meter.settled("order", f"s{refused}", F, LinkStatus.FAILED, weather.call_seconds)
        stays = refused > 0 and self._happens(weather.undos_failed)
        for step in reversed(range(refused)):
            fails = stays and step == refused - 1
            answer, outcome = (422, Outcome.NOT_LANDED) if fails else (200, Outcome.LANDED)
            self._meter.attempted("shop", B, outcome, answer, weather.call_seconds)
            status = LinkStatus.FAILED if fails else LinkStatus.LANDED
            self._meter.settled("order", f"s{step}", B, status, weather.call_seconds)
            if fails:
                break
        self._ended(RunStatus.ESCALATED if stays else RunStatus.COMPENSATED)
        if refused and ObjectiveKind.COMPENSATION in self._events:
            self._events[ObjectiveKind.COMPENSATION][not stays] += 1

    def _step(self, step: int, weather: Weather) -> None:
        if self._happens(weather.calls_failed):
            self._meter.attempted("shop", F, Outcome.NOT_LANDED, 503, weather.call_seconds)
        self._meter.attempted("shop", F, Outcome.LANDED, 201, weather.call_seconds)
        self._meter.settled("order", f"s{step}", F, LinkStatus.LANDED, weather.call_seconds)

    def _ended(self, status: RunStatus) -> None:
        self._meter.ended("order", status, 1.0)
        if ObjectiveKind.SUCCESS in self._events:
            self._events[ObjectiveKind.SUCCESS][status is RunStatus.SUCCEEDED] += 1

    def _happens(self, part: float) -> bool:
        return self._rng.random() < part

    def _scraped(self, minute: int, families: Sequence[Metric]) -> None:
        for family in families:
            for sample in family.samples:
                labels = ",".join(f"{name}={json.dumps(v)}" for name, v in sample.labels.items())
                self._series[f"{sample.name}{{{labels}}}"][minute] = sample.value

    def firing(self, folder: Path) -> Mapping[str, int]:
        """By alert: the minute from which on it fires. Each does so once, or not at all."""
        minutes = range(self._minutes)
        tests = {
            "rule_files": [str(RULES)], "evaluation_interval": "1m",
            "tests": [{
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": " ".join(_value(of, at) for at in minutes)}
                    for name, of in self._series.items()
                ],
                # As nothing is expected, promtool tells of each what it has got.
                "promql_expr_test": [{"expr": FIRING, "eval_time": f"{at}m"} for at in minutes],
            }],
        }  # fmt: skip
        path = folder / "history.yaml"
        path.write_text(json.dumps(tests))  # which is YAML
        done = subprocess.run(
            [program("promtool"), "test", "rules", str(path)], capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        return dict(_first_minutes(done.stdout + done.stderr, self._minutes))


def _value(of: Mapping[int, float], at: int) -> str:
    return f"{of[at]:g}" if at in of else "_"


def _first_minutes(told: str, minutes: int) -> Iterator[tuple[str, int]]:
    parts = re.findall(r"time: (?:(\d+)h)?(?:(\d+)m|0s)?,(.*?)(?=expr: |$)", told, re.DOTALL)
    assert len(parts) == minutes, told[:2000]
    seen: set[str] = set()
    for hour, minute, got in parts:
        for name in set(re.findall(r'alertname="(\w+)"', got)) - seen:
            seen.add(name)
            yield name, 60 * int(hour or 0) + int(minute or 0)


def from_begin_on(bad: Weather) -> Callable[[int], Weather]:
    return lambda minute: bad if minute >= BEGINS else Weather()


@pytest.mark.timeout(60)
def test_runs_that_fail_though_each_call_is_fast_and_fine(tmp_path: Path) -> None:
    """15 of 100 runs: fewer than 4 of 100 calls are refused, and no rule of calls says a word."""
    history = History([SUCCESS, UNDOS])
    found = history.live(230, from_begin_on(Weather(runs_refused=0.15))).firing(tmp_path)
    assert found.keys() == {"OrchestratorWorkflowFails", "OrchestratorBudgetBurnsFast"}
    # Ten of its fifteen minutes are of 15 %, and it has to last for ten.
    assert BEGINS < found["OrchestratorWorkflowFails"] <= BEGINS + 10 + 10 + 4
    # docs/slos.md: 58 minutes, two more, and chance.
    assert BEGINS < found["OrchestratorBudgetBurnsFast"] <= BEGINS + (58 + 2) * 1.2


@pytest.mark.timeout(60)
def test_an_api_that_is_ill_while_all_runs_succeed(tmp_path: Path) -> None:
    """The other way round: retries land, so no run fails, and the rules of calls do speak."""
    ill = Weather(runs_refused=0.0005, calls_failed=0.3, call_seconds=2.0)
    found = History([SUCCESS, UNDOS]).live(200, from_begin_on(ill)).firing(tmp_path)
    assert found.keys() == {"OrchestratorCallsFail", "OrchestratorCallsSlow"}
    assert all(BEGINS < minute <= BEGINS + 15 + 15 for minute in found.values())


@pytest.mark.timeout(60)
def test_undos_that_fail_more_and_more(tmp_path: Path) -> None:
    """5 of 100 runs turn back, as always; from none to all of their undos fail within six hours."""

    def climbs(minute: int) -> Weather:
        failed = min(max(minute - BEGINS, 0) / (6 * 60), 1.0)
        return Weather(runs_refused=0.05, undos_failed=failed)

    found = History([UNDOS]).live(270, climbs).firing(tmp_path)
    assert found.keys() == {"OrchestratorCompensationsFail", "OrchestratorBudgetBurnsFast"}
    assert BEGINS < found["OrchestratorCompensationsFail"] <= BEGINS + 60
    assert BEGINS < found["OrchestratorBudgetBurnsFast"] <= BEGINS + 100
