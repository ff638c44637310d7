"""A process that loses its lock for a moment, and nothing else, keeps its runs."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.definitions.programs import Programs
from orchestrator.service import recovery
from orchestrator.service.recovery import Recovery, RecoveryTimes
from orchestrator.service.redelivery import Redeliverer
from orchestrator.testing.memory.broker import MemoryBroker, MemoryDeadLetters, MemoryHints
from orchestrator.testing.memory.locks import MemoryLocks
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase
from tests.faults.memory.measure import Ticking
from tests.store.making import ME, claimed

TIMES = RecoveryTimes(pass_every=1.0, dead_after=60.0, lost_after=5.0)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_lock_that_is_taken_back_at_once_tells_of_no_death(
    comes_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, broker = MemoryStore(MemoryDatabase(Ticking())), MemoryBroker()
    (run,) = await claimed(store)
    theirs, hints = MemoryLocks(store.database), MemoryHints(broker)
    passes = Recovery(
        store, MemoryLocks(store.database), hints, Redeliverer(hints, Programs(store)),
        MemoryDeadLetters(broker), TIMES,
    )  # fmt: skip

    async def meanwhile(seconds: float) -> None:
        assert seconds == recovery.SECOND_LOOK_SECONDS
        if comes_back:
            await theirs.hold(ME)

    monkeypatch.setattr(asyncio, "sleep", meanwhile)
    await passes.quick_pass(await store.survey(TIMES.of_surveys))
    assert (await store.run(run.run.id)).owner == (ME if comes_back else None)
