"""However an honest history is spoilt, the judge notices."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.checker import spoiling as spoil
from tests.faults.checker.honest import Scribe, World
from tests.faults.checker.invariants import check
from tests.faults.checker.report import as_text
from tests.faults.checker.tables import AuditRow
from tests.faults.checker.weathered import weathered
from tests.faults.workload import SHAPES, Kind, RunSeed, Shape

Links = set[tuple[str, str]]
Way = tuple[str, Callable[[], object]]


def _spoils(world: World, scribe: Scribe) -> Iterator[Way]:
    """Every way to spoil this history that has to be noticed."""
    spare = _spare_intents(world, scribe)
    yield from _at_the_api(world, spare)
    yield from _in_the_audit(scribe, spare)
    yield from _in_the_tables(world, scribe)
    yield "drop run", world.scribes.clear


def _spare_intents(world: World, scribe: Scribe) -> Links:
    """Links of which a request may or may not have come, for all that the audit says."""
    intents: Counter[tuple[str, str]] = Counter()
    for record in scribe.audit:
        if record.kind.endswith((".begun", ".withdrawn")):
            intents[_link_of(record)] += 1 if record.kind.endswith(".begun") else -1
    intents.subtract((r.step, r.direction) for r in world.requests if not r.question)
    return {link for link, spare in intents.items() if spare > 0}


def _link_of(record: AuditRow) -> tuple[str, str]:
    way = "do" if record.kind.startswith("step.") else "undo"
    return str(record.data.get("step")), way


def _at_the_api(world: World, spare: Links) -> Iterator[Way]:
    for effect in world.effects:
        yield f"drop effect {effect.number}", partial(spoil.drop_effect, world, effect.number)
        yield f"double effect {effect.number}", partial(spoil.repeat_effect, world, effect.number)
    for request in world.requests:
        number = request.number
        if not request.question and (request.step, request.direction) not in spare:
            yield f"repeat request {number}", partial(spoil.repeat_request, world, number, later=5)
        if request.applied:
            yield f"drop request {number}", partial(spoil.drop_request, world, number)
        if request.key is not None:
            other_key = partial(spoil.change_request, world, number, key="other")
            yield f"key of {number}", other_key


def _in_the_audit(scribe: Scribe, spare: Links) -> Iterator[Way]:
    for record in scribe.audit:
        yield f"drop {record.seq}", partial(spoil.drop_record, scribe, record)
        if record.seq > 1:
            earlier = partial(spoil.change_record, scribe, record, at=record.at - 9.0)
            yield f"forge {record.seq}", earlier
        made_up_for = record.kind in _UNTOLD or (
            record.kind.endswith(".begun") and _link_of(record) in spare
        )
        if not made_up_for:
            hidden = partial(spoil.drop_record, scribe, record, renumber=True)
            yield f"hide {record.seq} {record.kind}", hidden


_UNTOLD = {"run.recovered", "run.parked"}
"""Kinds that other records make up for: whoever claims a run says so."""


def _in_the_tables(world: World, scribe: Scribe) -> Iterator[Way]:
    for attempt in scribe.attempts:
        yield f"drop attempt {attempt.id}", partial(scribe.attempts.remove, attempt)
    for (step, way), row in scribe.links.items():
        other = "failed" if row.status == "landed" else "landed"
        changed = partial(spoil.change_link, scribe, step, way, status=other)
        yield f"{way} {step} as {other}", changed
        yield f"drop {way} {step}", partial(scribe.links.pop, (step, way))
    for status in ("succeeded", "compensated", "escalated", "abandoned", "running"):
        if status != scribe.row.status:
            yield f"run as {status}", partial(spoil.change_run, scribe, status=status)
    yield "owned", partial(spoil.change_run, scribe, owner="w9")
    if scribe.escalations:
        yield "drop escalation", scribe.escalations.clear
    undone = [step for step, way in scribe.links if way == "undo"]
    for one, other in pairwise(undone):
        swapped = partial(spoil.swap_links, world, scribe, one, other, "undo")
        yield f"swap undos of {one} and {other}", swapped


NAMES = st.sampled_from(["k1-000001", "k1-000001-f1", "k1-000001-f2", "k1-000001-f3",
                         "k1-000001-f5", "k1-000001-f2-u1", "k1-000001-f4-u2"])  # fmt: skip


def _written(seed: RunSeed, weather: int) -> tuple[World, Scribe]:
    world = World()
    return world, weathered(world, seed, random.Random(weather))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SHAPES), NAMES, st.integers(0, 2**16), st.data())
def test_no_spoilt_history_is_accepted(
    shape: Shape, name: str, weather: int, data: st.DataObject
) -> None:
    seed = _possible(RunSeed(name=name, shape=shape))
    world, scribe = _written(seed, weather)
    verdict = check(world.seeds, world.records, world.tables)
    assert not verdict.violations, as_text(verdict)
    ways = [way for way, _ in _spoils(world, scribe)]
    chosen = data.draw(st.sampled_from(ways))
    dict(_spoils(world, scribe))[chosen]()
    assert check([seed], world.records, world.tables).violations, chosen


def _possible(seed: RunSeed) -> RunSeed:
    """The seed, or one without refusals where its shape cannot have them."""
    kinds = [forward for forward, _ in seed.shape.steps]
    numbers = [int(part[1:]) for part in seed.name.split("-")[2:]]
    fits = all(number <= len(kinds) for number in numbers)
    if fits and all(kinds[number - 1] is not Kind.READ for number in numbers):
        return seed
    return replace(seed, name="k1-000001")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_no_way_to_spoil_one_history_is_accepted(shape: Shape) -> None:
    seed = _possible(RunSeed(name="k1-000001-f3", shape=shape))
    for weather in range(8):
        world, scribe = _written(seed, weather)
        for way in [way for way, _ in _spoils(world, scribe)]:
            world, scribe = _written(seed, weather)
            dict(_spoils(world, scribe))[way]()
            assert check([seed], world.records, world.tables).violations, (way, weather)
