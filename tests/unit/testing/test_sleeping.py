"""Sleeping runs on virtual time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from orchestrator import Workflow, task
from orchestrator.testing import Fault, Lab, assert_compensated_in_reverse, assert_succeeded

YEAR = timedelta(days=365)


@task(effects="keyed")
def lend(name: str) -> dict[str, str]:
    return {"lent": name}


@task(effects="keyed")
def take_back(lent: str) -> None: ...


@task(effects="keyed")
def ask_for_it(lent: str) -> None: ...


BACK = "$steps.end.outputs.until"
LOAN = (
    Workflow("loan", inputs=dict.fromkeys(("name", "until"), str), outputs={"back": BACK})
    .step(lend, compensate=take_back)
    .sleep(YEAR, id="rest")
    .until("$inputs.until", id="end")
    .step(ask_for_it, no_compensation="nothing follows")
)


def test_years_pass_at_once() -> None:
    begun = time.monotonic()
    with Lab(LOAN) as lab:
        until = (lab.now + 3 * YEAR).astimezone(UTC).replace(microsecond=0)
        run = lab.run(name="a book", until=until.isoformat())
        assert_succeeded(run)
        assert run.record.outputs == {"back": until.isoformat()}
        assert until <= lab.now < until + timedelta(seconds=60)
    assert time.monotonic() - begun < 20


def test_who_dies_or_fails_after_the_sleep_is_undone_beyond_it() -> None:
    with Lab(LOAN) as lab:
        lab.fail("ask_for_it", Fault.REFUSED)
        run = lab.run(name="a book", until=datetime(2020, 1, 1, tzinfo=UTC).isoformat())
        assert_compensated_in_reverse(run)
        assert run.undone == ["lend"]


def test_a_time_that_is_none_is_told_with_its_place() -> None:
    with Lab(LOAN) as lab:
        run = lab.run(name="a book", until="soon")
        assert_compensated_in_reverse(run)
        assert "/until ($inputs.until): found 'soon'" in run.record.cause
