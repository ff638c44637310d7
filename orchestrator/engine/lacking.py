"""Functions that this worker does not have: their runs wait for one that has them.

While workers with old and new code live side by side, a run may come to a step whose function is
not here. That says nothing about the step: no attempt is spent. The run is parked, with a row that
names the function. Where a worker's survey says that there are such rows, it looks whether runs
wait for what it has, and takes these itself, since a message might come to a worker without it
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import Unavailable
from orchestrator.ports import COMPENSATE_TASK, FORWARD_TASK, Done, Hop, Redelivery
from orchestrator.ports.code_waits import CodeWaitStore
from orchestrator.ports.surveys import Surveys

log = structlog.get_logger(__name__)

LACKING_SECONDS = 600.0
"""For so long a run waits for the pass of a worker that has the code, before it is anybody's again:
should its row be lost. Thousands that wait for what nobody has then cost next to nothing."""
MOST_IN_HAND = 100
"""Runs taken by this way and not let go yet: they are beyond the slots that messages have."""


class Code:
    """The functions of this process, and the runs that want others."""

    def __init__(self, registry: TaskRegistry, store: CodeWaitStore) -> None:
        self._registry, self._store = registry, store

    def lacks(self, request: FrozenRequest) -> bool:
        """Whether the function that it calls is not here."""
        return request.method == "TASK" and self._registry.get(request.target) is None

    async def wait(self, run_id: str, request: FrozenRequest) -> None:
        """Note what the run waits for. Without a database it is found again when it is due."""
        try:
            await self._store.wait_for_code(run_id, request.target)
        except Unavailable as error:
            log.warning("code.wait_not_noted", run=run_id, code=request.target, why=str(error))

    async def take(self, most: int) -> Sequence[Redelivery]:
        """Runs that wait for what is here. Raises Unavailable."""
        return await self._store.take_coded(self._registry.names(), limit=most)


class CodeWatch:
    """The pass that takes up runs which wait for the functions of this process."""

    def __init__(self, code: Code, take: Callable[[Hop, Done], None]) -> None:
        """`take`: as a message would be taken up."""
        self._code, self._take = code, take
        self._in_hand = 0

    async def run_passes(self, surveys: Surveys) -> None:
        """One after the other where a survey says that runs wait so, until cancelled."""
        while True:
            if not (await surveys.next()).coded:
                continue
            try:
                await self.one_pass()
            except Unavailable as error:
                log.warning("code.pass_postponed", why=str(error))
            except Exception:
                # A pass is repeatable, and the next one must come.
                log.exception("code.pass_failed")

    async def one_pass(self) -> int:
        """How many were taken up. Raises Unavailable."""
        room = MOST_IN_HAND - self._in_hand
        found = await self._code.take(room) if room > 0 else ()
        for each in found:
            self._in_hand += 1
            self._take(_hop_of(each), self._done)
        return len(found)

    def _done(self, error: BaseException | None = None) -> None:
        """What came of it stands in the run."""
        self._in_hand -= 1


def _hop_of(redelivery: Redelivery) -> Hop:
    forward = redelivery.direction is Direction.FORWARD
    return Hop(
        hop_id=redelivery.hop_id, parent_hop_id=redelivery.parent_hop_id,
        runs=((redelivery.run_id, redelivery.epoch),), label=redelivery.workflow_id,
        task=FORWARD_TASK if forward else COMPENSATE_TASK, queue=redelivery.lane,
    )  # fmt: skip
