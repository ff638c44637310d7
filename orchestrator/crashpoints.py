"""Named points at which a test may end, raise or hold the process. Inert unless installed.

The points lie before and after what makes a difference to recovery: the intent's commit, the
effect, the outcome's commit, the publishing of the next hint.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

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

_hook: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Called by the engine at each point."""
    if _hook is not None:
        _hook(point)


def install(hook: Callable[[str], None] | None) -> None:
    """Set or (None) remove the hook of this process."""
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


def _killer(name: str, nth: int) -> Callable[[str], None]:
    seen = 0

    def hook(point: str) -> None:
        nonlocal seen
        seen += point == name
        if seen >= nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook
