"""What people do about runs, in a lab: each an act of the real services, in one line of a test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from orchestrator.core.events import CancelMode
from orchestrator.ports import Asks, Decision, EscalationRecord, WaitRecord
from orchestrator.service.escalations import Escalations
from orchestrator.service.runs import Runs
from orchestrator.service.waiting import Waiting
from orchestrator.testing.played import Played

T = TypeVar("T")
BY, WHY = "a person", "as the test says"


class People(ABC):
    """The part of a lab that people act in. Each act waits as `go_on` does."""

    _waiting: Waiting
    _runs: Runs
    _escalations: Escalations
    _new_id: Callable[[], str]

    @abstractmethod
    def _play(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the lab's loop."""

    @abstractmethod
    def look(self, run: str | Played) -> Played:
        """A run as it stands."""

    @abstractmethod
    def go_on(self, run: str | Played) -> Played:
        """Wait until a run has settled, or asks somebody. Raises NotSettled."""

    def signal(self, run: str | Played, name: str, data: Mapping[str, Any] | None = None) -> Played:
        """Tell a run that something has happened, or the one below it that waits for it.

        Raises Conflict.
        """
        seen = self.look(run)
        waits = [each for each in _open_waits(seen) if each.signal == name]
        sending = self._waiting.send_signal(
            waits[0].run_id if waits else seen.id, name, key=self._new_id(), data=data or {},
            by="a test", via="test",
        )  # fmt: skip
        self._play(sending)
        return self.go_on(seen)

    def decide(
        self, run: str | Played, *, approve: bool = True, reason: str = WHY,
        data: Mapping[str, Any] | None = None, by: str = BY,
    ) -> Played:  # fmt: skip
        """Answer the approval that a run waits for, or one below it.

        Raises Conflict, LookupError where nobody is asked.
        """
        seen = self.look(run)
        asked = [each for each in _open_waits(seen) if each.asks is Asks.APPROVAL]
        if not asked:
            raise LookupError(f"run {seen.id} asks nobody; it is {seen.status}")
        decision = Decision.APPROVED if approve else Decision.REJECTED
        self._play(
            self._waiting.decide(asked[0].id, decision, by=by, via="test", reason=reason, data=data)
        )
        return self.go_on(seen)

    def cancel(
        self, run: str | Played, *, stop: bool = False, reason: str = WHY, by: str = BY
    ) -> Played:
        """Ask for a run's end: what it did is undone, or with `stop` left as it is.

        Raises Conflict where it has settled or is past its pivot.
        """
        seen = self.look(run)
        mode = CancelMode.STOP if stop else CancelMode.UNDO
        self._play(self._runs.cancel(seen.id, mode=mode, reason=reason, by=by))
        return self.go_on(seen)

    def retry(
        self, run: str | Played, *, corrections: Mapping[str, Any] | None = None,
        reason: str = WHY, by: str = BY,
    ) -> Played:  # fmt: skip
        """Have the stuck call made once more, with other values of its body if given.

        Raises Conflict, InvalidInput, LookupError where nothing is escalated.
        """
        seen = self.look(run)
        self._play(self._escalations.retry(
            _stuck(seen).id, by=by, reason=reason, corrections=corrections
        ))  # fmt: skip
        return self.go_on(seen)

    def resolve(
        self, run: str | Played, *, landed: bool = True, outputs: Mapping[str, Any] | None = None,
        reason: str = WHY, by: str = BY,
    ) -> Played:  # fmt: skip
        """Vouch for the stuck call: it was done, or certainly had no effect.

        Raises Conflict, InvalidInput, LookupError where nothing is escalated.
        """
        seen = self.look(run)
        self._play(self._escalations.resolve(
            _stuck(seen).id, by=by, reason=reason, landed=landed, outputs=outputs
        ))  # fmt: skip
        return self.go_on(seen)

    def skip(self, run: str | Played, *, reason: str = WHY, by: str = BY) -> Played:
        """Leave the effect of the stuck undo, and go on. Raises Conflict, LookupError."""
        seen = self.look(run)
        self._play(self._escalations.skip(_stuck(seen).id, by=by, reason=reason))
        return self.go_on(seen)

    def abandon(self, run: str | Played, *, reason: str = WHY, by: str = BY) -> Played:
        """End the stuck run as it stands. Raises Conflict, LookupError."""
        seen = self.look(run)
        self._play(self._escalations.abandon(_stuck(seen).id, by=by, reason=reason))
        return self.go_on(seen)


def _open_waits(run: Played) -> list[WaitRecord]:
    return [wait for each in run.runs for wait in each.waits if wait.is_open]


def _stuck(run: Played) -> EscalationRecord:
    found = run.escalation
    if found is None:
        raise LookupError(f"run {run.id} is not escalated; it is {run.status}")
    return found
