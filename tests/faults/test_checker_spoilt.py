"""Each promise catches the history that breaks it and accepts the one that does not."""

from __future__ import annotations

import pytest

from tests.faults.checker import breaches, breaches_of_rows
from tests.faults.checker.breaches import Case
from tests.faults.checker.histories import HONEST, Write
from tests.faults.checker.honest import World
from tests.faults.checker.invariants import INVARIANTS, SECRETS, check
from tests.faults.checker.report import as_text

CASES = [*breaches.CASES, *breaches_of_rows.CASES]


@pytest.mark.parametrize("write", HONEST, ids=lambda write: write.__name__)
def test_an_honest_history_is_accepted(write: Write) -> None:
    world = World()
    write(world)
    verdict = check(world.seeds, world.records, world.tables)
    assert not verdict.violations, as_text(verdict)


@pytest.mark.parametrize("spoilt", CASES, ids=lambda c: f"{c.invariant}: {c.why}")
def test_a_spoilt_history_is_caught_by_the_promise_it_breaks(spoilt: Case) -> None:
    world = World()
    scribe = spoilt.write(world)
    if not spoilt.write.__qualname__.startswith("_needless"):
        assert not check(world.seeds, world.records, world.tables).violations
    spoilt.spoil(world, scribe)
    verdict = check([scribe.seed], world.records, world.tables)
    broken = {violation.invariant for violation in verdict.violations}
    assert broken == {spoilt.invariant, *spoilt.also}, as_text(verdict)


def test_every_promise_has_a_history_that_breaks_it() -> None:
    assert {spoilt.invariant for spoilt in CASES} | {SECRETS} == {*INVARIANTS, SECRETS}
