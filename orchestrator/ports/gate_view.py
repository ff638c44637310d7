"""How APIs stand at the gate, for people to look at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from orchestrator.core.health import BreakerState


class ApiState(msgspec.Struct, frozen=True, kw_only=True):
    """One API as all processes together see it now; of one that was not called lately: healthy."""

    breaker: BreakerState = BreakerState.CLOSED
    tried_in_seconds: float = 0.0  # of an open breaker: until a few calls are let out
    paused_seconds: float = 0.0  # the API asked not to be called for so long
    pace: float = 1.0  # part of its rate that is used; less after it refused calls as too many
    calls: int = 0  # that ended in the last seconds, see core.health.WINDOW_SECONDS
    failures: int = 0  # of these
    slow: int = 0  # of these
    slots_limit: int | None = None  # as the workers apply it; None: nobody needs a slot
    slots_lent: int = 0  # to processes, in use or at hand
    slots_wanted: int = 0  # by them
    waiting: int = 0  # calls that want a start time


class GateView(Protocol):
    """Looks at the gate, and changes nothing."""

    async def states(self, apis: Collection[str]) -> Mapping[str, ApiState]:
        """Each of these APIs. Raises Unavailable."""
