"""Named points at which a test may end, freeze or fail a worker. They cost a comparison when off.

The points lie before and after each thing that makes a difference to recovery, in this order:

    claim ── intent ── send ── effect ── answer ── commit ── publish ── ack

`commit` is the one that records an outcome. A worker reaches most of them itself. That a request
has left (`after_send`), its effect and that the answer sets out (`before_answer`) happen elsewhere:
these points are for an API that plays along. `ack` is the message's, which is acknowledged as soon
as it is taken up.

A hook learns which worker has come to which point, with which run, at which link. It may raise (the
driver is dropped as by a failure of its process), block (the whole loop hangs), return something to
be awaited (this one run hangs), or end the process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from orchestrator.core.states import Direction

VARIABLE = "ORCHESTRATOR_CRASHPOINT"
"""`name[:n[:how]]`: what the process does when it reaches the point for the n-th time."""

PLACES = ("claim", "intent", "send", "effect", "answer", "commit", "publish", "ack")
POINTS = tuple(f"{side}_{place}" for place in PLACES for side in ("before", "after"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """A run that has come to a point."""

    point: str
    run_id: str
    at: tuple[int, Direction] | None = None  # the link; None: its chain is through, or not known
    hop_id: str | None = None  # of the message, where only that is known
    worker: str = ""  # id of the worker process


Hook = Callable[[Reached], Awaitable[None] | None]

hook: Hook | None = None
"""The one of this process. Callers look at it themselves, so that a point costs nothing when off:

    if crashpoints.hook is not None:
        await crashpoints.reach(Reached(…))
"""


class Crash(Exception):
    """What `raise` in the environment's wish raises."""


async def reach(reached: Reached) -> None:
    """Come to a point."""
    if hook is not None:
        waiting = hook(reached)
        if waiting is not None:
            await waiting


def install(new: Hook | None) -> None:
    """Set or (None) remove the hook of this process. It is called on the driver's thread."""
    global hook  # noqa: PLW0603 - one hook per process, so that a point costs one comparison
    hook = new


def install_from_environment() -> None:
    """Arm the point named by the environment, for tests with real processes.

    Raises ValueError for a wish that cannot be read.
    """
    wish = os.environ.get(VARIABLE)
    if not wish:
        return
    name, count, how = [*wish.split(":"), "", ""][:3]
    if name not in POINTS or how not in _HOW:
        raise ValueError(
            f"{VARIABLE}: found {wish!r}; wanted <point>[:<n>[:{'|'.join(filter(None, _HOW))}]]"
            f" with one of {', '.join(POINTS)}"
        )
    install(_at_nth(name, int(count or 1), _HOW[how]))


def _at_nth(name: str, nth: int, act: Callable[[], None]) -> Hook:
    seen = 0

    def count(reached: Reached) -> None:
        nonlocal seen
        seen += reached.point == name
        if reached.point == name and seen == nth:
            act()

    return count


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise() -> None:
    raise Crash("as the environment wishes")


_HOW: dict[str, Callable[[], None]] = {"": _kill, "kill": _kill, "stop": _stop, "raise": _raise}
