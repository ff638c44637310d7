"""A process that submits runs: as a client should, with the same keys until it is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator import crashpoints
from orchestrator.crashpoints import Crash, Reached
from orchestrator.errors import Unavailable
from orchestrator.ports import Hint
from orchestrator.service.admission import Admission
from orchestrator.service.submitting import Submission, Submitter
from orchestrator.testing.loop import Process
from tests.faults.simulation.broker import BrokerLink
from tests.faults.workload import RunSeed

if TYPE_CHECKING:
    from tests.faults.simulation.house import House

PAUSE_SECONDS = 0.5
MAX_INPUT_BYTES = 10_000


class Client(Process):
    """One submission of some runs. Killed, it is started again by whoever wanted them."""

    def __init__(self, house: House, name: str, seeds: Sequence[RunSeed]) -> None:
        super().__init__(house.loop, name)
        self.house, self.seeds = house, tuple(seeds)

    async def live(self) -> None:
        """Until it is acknowledged."""
        house = self.house
        store = house.backing.view(house.weather, house.loop)
        publisher = _Publisher(self, BrokerLink(house.broker, house.weather, house.loop))
        submitter = Submitter(
            store, store, house.programs_of(store), publisher, new_id=house.new_id,
            max_input_bytes=MAX_INPUT_BYTES,
            admission=Admission(store, max_pending_runs=10**6, max_pending_runs_per_tenant=None),
        )  # fmt: skip
        wanted = [
            Submission(workflow=seed.shape.name, inputs=seed.inputs, idempotency_key=seed.name)
            for seed in self.seeds
        ]
        while True:
            try:
                accepted = await submitter.submit(wanted)
                break
            except (Unavailable, Crash):
                await asyncio.sleep(PAUSE_SECONDS)
        for seed, answer in zip(self.seeds, accepted, strict=True):
            house.acknowledge(seed, answer.run_id)


class _Publisher:
    """Implements HintPublisher; comes to the points before and after, as a worker does."""

    def __init__(self, client: Client, link: BrokerLink) -> None:
        self._client, self._link = client, link

    async def publish(self, hints: Sequence[Hint]) -> None:
        """See HintPublisher."""
        await self._reach("before_publish", hints)
        await self._link.publish(hints)
        await self._reach("after_publish", hints)

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """See HintPublisher."""
        return await self._link.depth(queues)

    async def _reach(self, point: str, hints: Sequence[Hint]) -> None:
        if crashpoints.hook is None:
            return
        for hint in hints:
            await crashpoints.reach(
                Reached(
                    point=point, run_id=hint.run_id, hop_id=hint.hop_id, worker=self._client.name
                )
            )
