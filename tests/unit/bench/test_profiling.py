"""Samples belong to the part whose frame is innermost; libraries that serve all belong to none."""

from __future__ import annotations

import pytest

from tests.bench.engine.profiling import part_of, shares, table

LOOP = "_run (asyncio/events.py:80)"
DRIVE = "drive (orchestrator/engine/driver.py:90)"
SEND = "send (orchestrator/engine/http.py:5)"
RECORD = "record (orchestrator/store/journal.py:1)"
TAKE = "take (orchestrator/coordination/limits.py:5)"
TO_REDIS = "send (redis/connection.py:9)"


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        ([LOOP], "other"),
        ([LOOP, DRIVE], "engine"),
        ([LOOP, DRIVE, "decide (orchestrator/core/deciding.py:1)"], "core"),
        ([LOOP, DRIVE, SEND, "update (yarl/_url.py:3)"], "http client"),
        ([LOOP, DRIVE, TAKE, TO_REDIS], "gate"),
        (["start (celery/worker/consumer.py:1)", TO_REDIS], "celery and kombu"),
        ([LOOP, RECORD, "execute (sqlalchemy/engine/base.py:3)"], "store"),
        ([LOOP, "run (orchestrator/engine/batching.py:3)"], "store"),
        ([LOOP, "wait (psycopg_binary/_psycopg.so:3)"], "store"),
        ([LOOP, DRIVE, "begin (orchestrator/engine/showing.py:3)"], "events"),
        ([LOOP, DRIVE, "work (tests/bench/engine/steps.py:3)"], "tasks"),
        ([LOOP, DRIVE, "info (structlog/_native.py:3)"], "logging"),
    ],
)  # fmt: skip
def test_the_innermost_part_has_the_sample(frames: list[str], part: str) -> None:
    assert part_of(frames) == part


def test_shares_are_of_all_samples() -> None:
    lines = [f"{LOOP};{DRIVE} 6", f"{LOOP} 2", f"{LOOP};{DRIVE};dump (json/encoder.py:3) 2"]
    assert shares(lines) == {"engine": 0.8, "other": 0.2}
    assert table(shares(lines)).split() == ["engine", "80.0%", "other", "20.0%"]


def test_nothing_recorded_is_no_part() -> None:
    assert shares([]) == {}
