"""A gate that turns everybody away as often as a test says, and lets them in after that."""

from __future__ import annotations

from orchestrator.ports import GateBusy, Permit, Seen, Visit


class BusyGate:
    """Implements Gate: turns everybody away, `times` times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
        return None

    def try_enter(self, visit: Visit) -> Permit | None:
        return None if self.left else OpenPermit()

    async def enter(self, visit: Visit, *, patience_seconds: float) -> Permit:
        if self.left:
            self.left -= 1
            raise GateBusy(30.0)
        return OpenPermit()


class OpenPermit:
    """Implements Permit."""

    fresh = True

    def release(self, seen: Seen | None = None) -> None: ...

    def hand_back(self) -> None: ...
