"""What the engine counts is what has happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from orchestrator.core.states import RunStatus
from orchestrator.ports.metering import Unmetered
from tests.integration.engine.house import House
from tests.integration.engine.test_runtime import Process, started
from tests.integration.engine.world import Fate, Kind, shop_plan

KEYED = (Kind.KEYED, Kind.KEYED)


class Told(Unmetered):
    """Counts what it is told, but for the times. Implements Meter."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Any, ...]] = Counter()

    def attempted(self, api: str, direction: str, outcome: str, *rest: Any) -> None:
        assert rest[-1] >= 0
        self.counts["attempt", api, direction, outcome] += 1

    def settled(
        self, workflow: str, step: str, direction: str, status: str, seconds: float
    ) -> None:
        assert seconds >= 0
        self.counts["link", workflow, step, direction, status] += 1

    def ended(self, workflow: str, status: str, seconds: float) -> None:
        assert seconds >= 0
        self.counts["run", workflow, status] += 1

    def claimed(self, lane: str, direction: str, seconds: float) -> None:
        assert seconds >= 0
        self.counts["claim", lane, direction] += 1

    def batched(self, batch: str, items: int, seconds: float) -> None:
        assert items >= 1
        assert seconds >= 0
        self.counts["batch", batch] += 1


async def test_a_run_that_is_undone_is_counted_link_by_link(house: House) -> None:
    told = Told()
    worker = await house.worker()
    worker.deps = replace(worker.deps, meter=told)
    run_id = await house.submit(shop_plan([KEYED] * 3))
    house.shop.will("o-1", "s3", Fate.REFUSED)
    assert (await house.settle(run_id, recoveries=False)).status is RunStatus.COMPENSATED
    attempts = {key[1:]: n for key, n in told.counts.items() if key[0] == "attempt"}
    assert attempts == {
        ("shop", "forward", "landed"): 2, ("shop", "forward", "not_landed"): 1,
        ("shop", "backward", "landed"): 2,
    }  # fmt: skip
    links = {key[2:]: n for key, n in told.counts.items() if key[0] == "link"}
    assert links == {
        ("s1", "forward", "landed"): 1, ("s2", "forward", "landed"): 1,
        ("s3", "forward", "failed"): 1, ("s2", "backward", "landed"): 1,
        ("s1", "backward", "landed"): 1,
    }  # fmt: skip
    assert told.counts["run", "order", "compensated"] == 1
    assert len(house.shop.sent) == sum(attempts.values())


async def test_an_escalation_ends_a_run_as_far_as_the_machine_goes(house: House) -> None:
    told = Told()
    worker = await house.worker()
    worker.deps = replace(worker.deps, meter=told)
    run_id = await house.submit(shop_plan([KEYED] * 2))
    house.shop.will("o-1", "s2", Fate.REFUSED)
    house.shop.will("o-1", "s1.undo", Fate.REFUSED)
    assert (await house.settle(run_id, recoveries=False)).status is RunStatus.ESCALATED
    assert told.counts["link", "order", "s1", "backward", "failed"] == 1
    assert told.counts["run", "order", "escalated"] == 1


async def test_a_process_counts_its_claims_with_their_waits(house: House) -> None:
    told = Told()

    class Metered(Process):
        async def _build(self, worker_id: str) -> Any:
            parts = await super()._build(worker_id)
            return replace(parts, deps=replace(parts.deps, meter=told))

    for number in range(5):
        await house.submit(shop_plan([KEYED]), f"o-{number}")
    with started(house, kind=Metered) as process:
        await process.delivered()
        assert process.runtime.in_hand == 0
    assert told.counts["claim", "default", "forward"] == 5
    assert 1 <= told.counts["batch", "claims"] <= 5
