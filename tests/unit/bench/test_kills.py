"""How `bench kills` plans its kills, and what it makes of what the ledger saw."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.embedded.process import Child, ChildSpec
from tests.bench.kills import __main__ as bench
from tests.bench.kills import playing
from tests.bench.kills.engine import Mortal
from tests.bench.kills.judging import Ending, Kill, Verdict, judge
from tests.bench.kills.ours import SHAPE
from tests.bench.kills.playing import Played, load_of
from tests.bench.kills.schedule import Part, Planned, schedule
from tests.bench.kills.work import ACTS, STEPS
from tests.faults.ledger.records import Effect, Records, Request
from tests.faults.workload import refusals

AT = 100.0


def test_a_seed_has_its_kills_for_everybody() -> None:
    planned = schedule(7, 9)
    assert planned == schedule(7, 9) != schedule(8, 9)
    assert [kill.part for kill in planned[:4]] == [
        Part.WORKER, Part.WORKER, Part.SERVER, Part.WORKER,
    ]  # fmt: skip
    assert {kill.turn % 2 for kill in planned if kill.part is Part.WORKER} == {0, 1}
    gaps = [later.at - one.at for one, later in pairwise(planned)]
    assert min(gaps) >= 6


def test_a_third_of_the_runs_is_refused_by_their_names() -> None:
    load = load_of(7, 9, schedule(7, 3))
    assert {name: refusals(name).forward for name in load.runs} == {
        name: 4 if name in load.refused else None for name in load.runs
    }
    assert len(load.refused) == 3


def test_ours_has_the_steps_of_the_peers() -> None:
    assert [step.id for step in SHAPE.plan.steps] == list(STEPS) == list(ACTS)


# --- judging --------------------------------------------------------------------------------------


class Seen:
    """What a ledger saw, line by line."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.effects: list[Effect] = []

    def call(
        self, run: str, step: str, at: float, *, direction: str = "do", effect: bool = True,
        answered: bool = True,
    ) -> None:  # fmt: skip
        """One request, answered half a second later unless its connection was cut."""
        number = len(self.requests) + 1
        self.requests.append(
            Request(
                number=number, at=at, route="plain", run=run, step=step, direction=direction,
                question=False, key=None, digest="", fault="none", replayed=not effect,
                applied=effect, status=200, answered=answered,
                answered_at=at + 0.5 if answered else None, secret=False,
            )
        )  # fmt: skip
        if effect:
            self.effects.append(
                Effect(
                    number=len(self.effects) + 1, at=at, request=number, run=run, step=step,
                    direction=direction,
                )
            )  # fmt: skip

    def steps(self, run: str, *steps: str, at: float = AT, direction: str = "do") -> None:
        """Several, one after the other."""
        for place, step in enumerate(steps):
            self.call(run, step, at + place, direction=direction)

    def judged(
        self, endings: Mapping[str, Ending], *, kills: Sequence[Kill] = (),
        refused: Sequence[str] = (),
    ) -> Verdict:  # fmt: skip
        """The verdict."""
        records = Records(requests=tuple(self.requests), effects=tuple(self.effects))
        return judge(records, kills, endings, set(refused))


def killed(at: float, part: Part = Part.WORKER) -> Kill:
    return Kill(at=at, part=part, name="w1")


def test_nothing_happened_to_a_run_that_went_its_way() -> None:
    seen = Seen()
    seen.steps("a", *STEPS)
    found = seen.judged({"a": Ending.SUCCEEDED}, kills=[killed(AT + 50)]).to_json()
    assert (found["sent_again"], found["doubled"]) == ({}, {})
    assert (found["missing"], found["left"], found["left_to_person"], found["wrong"]) == (
        0, 0, 0, [],
    )  # fmt: skip
    assert found["recovery_seconds"]["worker"]["in_flight"] == 0


def test_an_effect_that_was_repeated_counts_once_more() -> None:
    seen = Seen()
    seen.steps("a", "s1", "s2")
    seen.call("a", "s3", AT + 2, answered=False)
    seen.call("a", "s3", AT + 7)
    seen.call("a", "s4", AT + 8, answered=False)
    seen.call("a", "s4", AT + 9, effect=False)
    seen.call("a", "s5", AT + 10)
    found = seen.judged({"a": Ending.SUCCEEDED}, kills=[killed(AT + 2.2)])
    assert found.sent_again == {"unkeyed": 1, "keyed": 1}
    assert found.doubled == {"unkeyed": 1}
    assert found.recoveries[Part.WORKER].seconds == pytest.approx([4.8])
    assert found.left == found.missing == 0


def test_what_a_success_lacks_is_missing() -> None:
    seen = Seen()
    seen.steps("a", "s1", "s2", "s4", "s5")
    assert seen.judged({"a": Ending.SUCCEEDED}).missing == 1


@pytest.mark.parametrize(
    ("ending", "left", "to_person"),
    [(Ending.UNDONE, 1, 0), (Ending.OPEN, 1, 0), (Ending.FAILED, 1, 0), (Ending.PERSON, 0, 1)],
)
def test_what_stands_after_a_run_that_did_not_succeed(
    ending: Ending, left: int, to_person: int
) -> None:
    seen = Seen()
    seen.steps("a", "s1", "s2")
    seen.steps("a", "s2", at=AT + 5, direction="undo")
    found = seen.judged({"a": ending}, refused=["a"])
    assert (found.left, found.left_to_person) == (left, to_person)


def test_a_run_must_end_as_the_ledger_lets_it() -> None:
    endings = {"a": Ending.SUCCEEDED, "b": Ending.UNDONE, "c": Ending.FAILED, "d": Ending.UNDONE}
    assert seen_wrong(endings, refused=["a", "d"]) == ["a", "b", "c"]


def seen_wrong(endings: Mapping[str, Ending], refused: Sequence[str]) -> Sequence[str]:
    return Seen().judged(endings, refused=refused).wrong


@pytest.mark.parametrize(
    ("ending", "never", "to_person"), [(Ending.OPEN, 1, 0), (Ending.PERSON, 0, 1)]
)
def test_a_run_that_went_on_no_more(ending: Ending, never: int, to_person: int) -> None:
    seen = Seen()
    seen.call("a", "s3", AT, answered=False)
    found = seen.judged({"a": ending}, kills=[killed(AT + 0.1)]).recoveries[Part.WORKER]
    assert (found.in_flight, found.seconds) == (1, ())
    assert (found.never, found.to_person) == (never, to_person)


def test_a_server_s_death_concerns_whoever_was_just_heard_of() -> None:
    seen = Seen()
    seen.call("under way", "s2", AT)
    seen.call("under way", "s3", AT + 3)
    seen.call("done", "s5", AT)
    seen.call("long silent", "s2", AT - 10)
    kill = killed(AT + 0.6, Part.SERVER)
    endings = dict.fromkeys(("under way", "done", "long silent"), Ending.SUCCEEDED)
    found = seen.judged(endings, kills=[kill]).recoveries[Part.SERVER]
    assert found.in_flight == 1
    assert found.seconds == pytest.approx([2.4])


def test_a_run_of_another_worker_is_not_concerned() -> None:
    seen = Seen()
    seen.call("a", "s2", AT)
    seen.call("a", "s3", AT + 1)
    found = seen.judged({"a": Ending.SUCCEEDED}, kills=[killed(AT + 0.2)])
    assert found.recoveries[Part.WORKER].in_flight == 0


# --- playing --------------------------------------------------------------------------------------


class FakeCrew:
    """Accepts at the second try, and ends what it accepted."""

    def __init__(self, child: Child) -> None:
        self.workers, self.servers = [Mortal(child=child)], [Mortal(child=child)]
        self.tried: list[str] = []

    async def submit(self, run: str) -> None:
        self.tried.append(run)
        if self.tried.count(run) == 1:
            raise ConnectionError

    async def endings(self, runs: Sequence[str]) -> Mapping[str, Ending]:
        return {run: Ending.SUCCEEDED for run in runs if self.tried.count(run) > 1}


def test_what_is_killed_is_started_again_and_runs_are_submitted_until_they_are_accepted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(playing, "AWAY_SECONDS", 0.1)
    monkeypatch.setattr(playing, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(playing, "_LOOK_SECONDS", 0.4)
    child = Child(ChildSpec(name="w1", argv=("sleep", "60")), tmp_path / "log")
    child.start()
    first, crew, played = child.pid, FakeCrew(child), Played()
    kills = (Planned(at=0.05, part=Part.WORKER, turn=3),)

    async def whole() -> Mapping[str, Ending]:
        load = load_of(1, 3, kills)
        keeping = asyncio.create_task(playing._keep_up(crew, played))
        await asyncio.gather(
            playing._kill(crew, load, played, lambda _: None), playing._submit(crew, load, played)
        )
        found = await playing._drained(crew, load.runs)
        keeping.cancel()
        return found

    try:
        endings = asyncio.run(whole())
        assert child.running
        assert child.pid != first
    finally:
        child.signal(Mortal(child=child).signal)
        child.stop(by=0.0)
    assert set(endings.values()) == {Ending.SUCCEEDED}
    assert (played.restarts, played.submits_repeated) == (1, 3)
    assert [kill.name for kill in played.kills] == ["w1"]


GOOD: dict[str, Any] = {
    "system": "ours", "endings": {"succeeded": 1}, "left": 0, "missing": 0, "doubled": {},
    "wrong": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "broken"),
    [
        ({}, False),
        ({"left": 1}, True),
        ({"missing": 1}, True),
        ({"doubled": {"unkeyed": 1}}, True),
        ({"wrong": ["a"]}, True),
        ({"endings": {"never ended": 1}}, True),
        ({"system": "dbos", "doubled": {"unkeyed": 1}}, False),
    ],
)
def test_only_our_own_promise_decides_on_the_exit_code(
    more: Mapping[str, Any], broken: bool
) -> None:
    assert bench.broken([{**GOOD, **more}]) is broken


def test_an_engine_that_is_absent_is_named_with_how_to_bring_it() -> None:
    absent: Any = SimpleNamespace(
        system="dbos", promise="", set_up="", missing=lambda: "dbos not installed: pip install …"
    )
    load = load_of(1, 3, ())
    quiet: Any = None
    found = bench.measure(absent, load, quiet, workers=1, keep=False)
    assert found["missing"] == "dbos not installed: pip install …"
    assert "endings" not in found
