"""A worker process is killed in the middle of a map: others go on, each item is done once, and all
of it undone in reverse."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.states import RunStatus
from tests.faults.deadly_tasks import ended, lines
from tests.faults.mapped_tasks import ITEMS, MODULE, workflow


@pytest.mark.broker
@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_worker_dies_in_a_map(tmp_path: Path) -> None:
    async with ended(tmp_path, MODULE, workflow()) as (services, store, run_id):
        run = await services.runs.get(run_id)
        done, _ = await services.runs.maps(run_id)
        items = await store.map_items(done.id, limit=ITEMS)
    assert (run.status, run.cause) == (RunStatus.COMPENSATED, "nobody wants it")
    assert (done.counts.succeeded, done.counts.failed) == (ITEMS, 0)
    written = lines(tmp_path)
    booked = [int(number) for what, number in written if what == "book"]
    cancelled = [int(number) for what, number in written if what == "cancel"]
    assert sorted(booked) == list(range(ITEMS))
    assert cancelled == [each.index for each in sorted(items, key=lambda item: -(item.place or 0))]
