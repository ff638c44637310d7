"""The workflow and activities of Temporal's workers."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from tests.bench.kills import work
    from tests.bench.peers import names

# Its documents ask for as short a time as the longest execution allows: that is how the server
# learns of a worker that is gone. The ledger takes half a second.
LONGEST = timedelta(seconds=3)


@activity.defn
async def do(run: str, step: str) -> None:
    """One step; without retries where the ledger never will."""
    try:
        await work.ACTS[step](run, step)
    except work.Refused as error:
        raise ApplicationError(str(error), non_retryable=True) from error


@activity.defn
async def undo(run: str, step: str) -> None:
    """One undo."""
    await work.undo(run, step)


@workflow.defn(name=work.FLOW)
class Checkout:
    """A saga as its samples write it: a list of undos, run in reverse on an error."""

    @workflow.run
    async def run(self, run: str) -> None:
        """One run."""
        begun: list[str] = []
        try:
            for step in work.STEPS:
                begun.append(step)
                await workflow.execute_activity(
                    do, args=[run, step], start_to_close_timeout=LONGEST
                )
        except ActivityError as error:
            for step in reversed(begun):
                await workflow.execute_activity(
                    undo, args=[run, step], start_to_close_timeout=LONGEST
                )
            raise ApplicationError(names.refused(len(begun)), non_retryable=True) from error
