"""Submits runs through the real service, again and again with the same keys until acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import Unavailable
from orchestrator.service.submitting import Submission, Submitter
from tests.faults.workload import RunSeed

BATCH_SECONDS = 0.5
RETRY_SECONDS = 0.3
GIVE_UP_SECONDS = 180.0


@dataclass(kw_only=True)
class Submissions:
    """What was asked for and what was promised."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """Run id by name."""
    retried: int = 0
    """Batches that had to be sent again."""

    async def spread(
        self, submitter: Submitter, seeds: Sequence[RunSeed], *, seconds: float
    ) -> None:
        """All of them, evenly over this time (0: at once); returns when all are acknowledged.

        Raises TimeoutError when one batch is refused for longer than GIVE_UP_SECONDS.
        """
        async with asyncio.TaskGroup() as batches:
            begun = asyncio.get_running_loop().time()
            for number, batch in enumerate(_batches(seeds, seconds)):
                due = begun + number * BATCH_SECONDS
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                batches.create_task(self._insist(submitter, batch))

    async def _insist(self, submitter: Submitter, batch: Sequence[RunSeed]) -> None:
        wanted = [
            Submission(
                workflow=seed.shape.name, inputs=seed.inputs, idempotency_key=seed.name,
                actor="bench",
            )
            for seed in batch
        ]  # fmt: skip
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while True:
                try:
                    answers = await submitter.submit(wanted)
                    break
                except Unavailable:
                    self.retried += 1
                    await asyncio.sleep(RETRY_SECONDS)
        for seed, answer in zip(batch, answers, strict=True):
            self.acknowledged[seed.name] = answer.run_id


def _batches(seeds: Sequence[RunSeed], seconds: float) -> Iterator[Sequence[RunSeed]]:
    count = max(1, int(seconds / BATCH_SECONDS))
    for number in range(count):
        some = seeds[number * len(seeds) // count : (number + 1) * len(seeds) // count]
        if some:
            yield some
