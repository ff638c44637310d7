"""A worker process is killed in the middle of a block: others go on, and all is undone once."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.ports import RunFilter
from tests.faults.deadly_tasks import ended, lines
from tests.faults.forked_tasks import MODULE, workflow


@pytest.mark.broker
@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_worker_dies_in_a_block(tmp_path: Path) -> None:
    async with ended(tmp_path, MODULE, workflow()) as (services, store, run_id):
        run = await services.runs.get(run_id)
        parts = await store.runs(RunFilter(parent=run_id, limit=None))
    assert (run.status, run.cause) == (RunStatus.COMPENSATED, "nobody wants it")
    assert {part.branch: part.status for part in parts} == {
        "fan/left": RunStatus.SUCCEEDED, "fan/right": RunStatus.SUCCEEDED,
        "fan": RunStatus.COMPENSATED,
    }  # fmt: skip
    done = [name for (name,) in lines(tmp_path)]
    assert (done[0], sorted(done[1:3])) == ("begin", ["left", "right"])
    # The killed attempt was recorded by whoever took the branch over, after all of the other one.
    assert done[3:] == ["left.undo", "right.undo", "begin.undo"]
