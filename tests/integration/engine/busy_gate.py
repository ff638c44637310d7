"""Gates that turn everybody away, or let them in too late, as often as a test says."""

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

    def give_up(self, *, after_seconds: float, timeout_seconds: float | None) -> None: ...

    def hand_back(self) -> None: ...


class LateGate(BusyGate):
    """Implements Gate: the first permits are over before the request can leave on them."""

    def __init__(self, *, lates: int) -> None:
        super().__init__(0)
        self.lates = lates
        self.given: list[NotedPermit] = []

    def try_enter(self, visit: Visit) -> Permit | None:
        permit = NotedPermit()
        self.given.append(permit)
        return permit

    def on_send(self, _: str) -> None:
        """For `Shop`: a request is on its way out."""
        if len(self.given) <= self.lates:
            self.given[-1].fresh = False


class NotedPermit(OpenPermit):
    """Implements Permit, and notes how it ends."""

    def __init__(self) -> None:
        self.fresh = True
        self.ends: list[str] = []

    def release(self, seen: Seen | None = None) -> None:
        if not self.ends:
            self.ends.append("released")

    def give_up(self, *, after_seconds: float, timeout_seconds: float | None) -> None:
        if not self.ends:
            self.ends.append("given up")

    def hand_back(self) -> None:
        if not self.ends:
            self.ends.append("handed back")
