"""The services that Restate calls, as an ASGI application: `tests.bench.peers.restate_worker:app`.

Served by Hypercorn or Granian over HTTP/2, as many processes as the variant says.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypedDict

import restate

from orchestrator.embedded.leash import PR_SET_PDEATHSIG
from tests.bench.peers import names, steps

service = restate.Service(names.SERVICE)

if sys.platform == "linux":  # a worker process dies with its master, however that one ends
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


class Wish(TypedDict):
    """One run."""

    number: int
    steps: int


async def refuse(number: int) -> None:
    """As the last step: final, nothing to retry."""
    raise restate.TerminalError(names.REFUSED)


@service.handler("noop")
async def noop(ctx: restate.Context, wish: Wish) -> None:
    """Steps that do nothing."""
    for place in range(wish["steps"]):
        await ctx.run_typed(f"s{place}", steps.work, number=wish["number"])


@service.handler("calls")
async def calls(ctx: restate.Context, wish: Wish) -> None:
    """Calls."""
    for place in range(wish["steps"]):
        await ctx.run_typed(f"s{place}", steps.call, number=wish["number"])


@service.handler("refused")
async def refused_saga(ctx: restate.Context, wish: Wish) -> None:
    """A saga as its guide writes it: a list of undos, run in reverse on a terminal error."""
    number = wish["number"]
    undos: list[Callable[[], Awaitable[None]]] = []
    try:
        for place in range(wish["steps"] - 1):
            undos.append(lambda at=place: ctx.run_typed(f"u{at}", steps.undo, number=number))
            await ctx.run_typed(f"s{place}", steps.work, number=number)
        await ctx.run_typed("last", refuse, number=number)
    except restate.TerminalError as error:
        for undo_one in reversed(undos):
            await undo_one()
        raise restate.TerminalError(names.refused(len(undos))) from error


app = restate.app(services=[service])
