"""A verdict can be read by machines and by people."""

from __future__ import annotations

import json

from tests.faults.checker import spoiling as spoil
from tests.faults.checker.histories import compensated, doubtful
from tests.faults.checker.honest import World, drive
from tests.faults.checker.invariants import INVARIANTS, SECRETS, Verdict, check
from tests.faults.checker.report import as_json, as_text
from tests.faults.workload import BY_NAME, RunSeed


def _judged(world: World) -> Verdict:
    return check(world.seeds, world.records, world.tables)


def test_the_json_has_every_count_and_the_runs_that_only_a_person_can_decide() -> None:
    world = World()
    doubtful(world)
    report = as_json(_judged(world))
    assert json.loads(json.dumps(report)) == report
    assert report["counts"] == dict.fromkeys([*INVARIANTS, SECRETS], 0)
    assert report["endings"] == {"escalated": 1}
    assert [entry["run"] for entry in report["unresolvable"]] == ["k1-000009"]


def test_the_text_tells_the_story_of_a_run_in_order() -> None:
    world = World()
    compensated(world)
    spoil.drop_effect(world, world.effects[-1].number)
    text = as_text(_judged(world))
    assert "orphaned_effects: s1 was done and not undone" in text
    told = [text.index(part) for part in (
        "1 run.accepted", "2 step.begun", "1 asked for the do of s1: 200 after 0.050 s, applied",
        "effect 1: do of s1", "3 step.landed", "undo.begun", "run.compensated",
    )]  # fmt: skip
    assert told == sorted(told)


def test_no_more_than_five_stories_are_told() -> None:
    world = World()
    for number in range(7):
        drive(world, RunSeed(name=f"k1-00000{number}", shape=BY_NAME["one"]))
    world.effects.clear()
    text = as_text(_judged(world))
    assert text.count("run.accepted") == 5
    assert "and 2 runs more" in text


def test_nothing_broken_is_one_line() -> None:
    world = World()
    compensated(world)
    assert as_text(_judged(world)) == "Nothing broken. Runs: compensated 1"
