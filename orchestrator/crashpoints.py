"""Named points at which a test may end, raise or hold a run. Inert unless installed.

The points lie before and after what makes a difference to recovery: the intent's commit, the
effect, the outcome's commit, the publishing of the next hint. A hook learns which run has come to
which point, and at which link it stands. It may raise (the driver is dropped as by the end of its
process), block (the driver's thread hangs), or end the process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.core.saga import Saga, current
from orchestrator.core.states import Direction

VARIABLE = "ORCHESTRATOR_CRASHPOINT"
"""`name` or `name:n`: the process kills itself when it reaches the point for the n-th time."""

POINTS = (
    "before_intent",
    "after_intent",
    "after_effect",
    "before_commit",
    "after_commit",
    "before_publish",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """A run that has come to a point."""

    point: str
    run_id: str
    at: tuple[int, Direction] | None  # the link it stands at; None: its chain is through


Hook = Callable[[Reached], None]

_hook: Hook | None = None


def reach(point: str, run_id: str, saga: Saga) -> None:
    """Called by the engine at each point."""
    if _hook is not None:
        _hook(Reached(point=point, run_id=run_id, at=current(saga)))


def install(hook: Hook | None) -> None:
    """Set or (None) remove the hook of this process. It is called on the driver's thread."""
    global _hook  # noqa: PLW0603 - one hook per process, so that a point costs one comparison
    _hook = hook


def install_from_environment() -> None:
    """Arm the point named by the environment, for tests with real processes."""
    wish = os.environ.get(VARIABLE)
    if not wish:
        return
    name, _, count = wish.partition(":")
    if name not in POINTS:
        raise ValueError(f"{VARIABLE}: found {name!r}; wanted one of {', '.join(POINTS)}")
    install(_killer(name, int(count or 1)))


def _killer(name: str, nth: int) -> Hook:
    seen = 0

    def hook(reached: Reached) -> None:
        nonlocal seen
        seen += reached.point == name
        if seen >= nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook
