"""Figures of time in tests: said through one helper, and only they are measured again.

A test that takes the fixture `held_still` may say of a rate, a share or a duration that it was as
it should be. On a machine that does other things in between it sometimes is not, and only then the
test is run again, twice at most. Whatever else fails (a limit exceeded, a call lost or doubled) is
a plain `assert`, and red at once.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

HeldStill = Callable[[bool, str], None]
RERUNS = 2


class NotHeldStill(AssertionError):
    """A figure of time was not as it should be: perhaps the machine's doing."""


def held_still(condition: bool, what: str) -> None:
    """Raises NotHeldStill with `what`, the figure found and the one wanted."""
    if not condition:
        raise NotHeldStill(what)


def measure_again_where_asked(items: list[pytest.Item]) -> None:
    """Mark those tests that take the fixture."""
    for item in items:
        if "held_still" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=RERUNS, only_rerun=[NotHeldStill]))
