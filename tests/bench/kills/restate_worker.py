"""The service that Restate calls, an ASGI application: `tests.bench.kills.restate_worker:app`."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Awaitable, Callable

import restate

from orchestrator.embedded.leash import PR_SET_PDEATHSIG
from tests.bench.kills import work
from tests.bench.peers import names

service = restate.Service(names.SERVICE)

if sys.platform == "linux":  # a worker process dies with its master, however that one ends
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


async def do(run: str, step: str) -> None:
    """One step; without retries where the ledger never will."""
    try:
        await work.ACTS[step](run, step)
    except work.Refused as error:
        raise restate.TerminalError(str(error)) from error


@service.handler(work.FLOW)
async def checkout(ctx: restate.Context, run: str) -> None:
    """A saga as its guide writes it: a list of undos, run in reverse on a terminal error."""
    undos: list[Callable[[], Awaitable[None]]] = []
    try:
        for step in work.STEPS:
            undos.append(lambda at=step: ctx.run_typed(f"undo {at}", work.undo, run=run, step=at))
            await ctx.run_typed(step, do, run=run, step=step)
    except restate.TerminalError as error:
        for undo_one in reversed(undos):
            await undo_one()
        raise restate.TerminalError(names.refused(len(undos))) from error


app = restate.app(services=[service])
