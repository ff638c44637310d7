"""Every error the orchestrator raises, sorted by what to do about it.

OrchestratorError
├── RefusedError            the caller must change something; nothing was written
│   ├── InvalidDefinition       a workflow or API document does not validate
│   ├── InvalidInput            inputs break the schema or a limit
│   ├── Untrusted               a stored definition is not what was published and signed
│   ├── NotFound                unknown workflow, version, run or escalation
│   ├── Conflict                same key with other inputs; act on a state that moved on
│   │   └── JobHeld                 its job was paused or has ended; or this was done for it before
│   ├── NotAuthenticated        who asks over the network shows no key that is known
│   ├── NotAllowed              the key does not reach so far
│   └── InvalidSetting          a setting, task module or API configuration is wrong
├── Unavailable             database, broker or gate cannot be reached; try again later
│   └── Overloaded              they can, and too much waits already; try again after a while
├── StaleOwner              somebody else owns the run now; drop it and record nothing
├── IllegalTransition       the state machine has no such move (a bug, or a stale decision)
└── StepError               raised by step code and transports: the outcome of one attempt
    ├── NotLanded               certainly no effect (may be worth another try)
    │   ├── NoCredential            its reason is a credential, not the API
    │   └── NotSent                 its reason is this process, not the API
    │       └── HeldUp                  it came too late to leave; with a new permit it may
    └── InDoubt                 the effect may or may not exist
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OrchestratorError(Exception):
    """Base of all errors of this package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing wrong with what somebody gave us.

    `place` is a document with a line or JSON pointer, a step, a field or a setting.
    """

    place: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.place}: found {self.found}; wanted {self.wanted}"


class RefusedError(OrchestratorError):
    """The request was refused as a whole; `problems` names each place."""

    def __init__(self, message: str, *, problems: Sequence[Problem] = ()) -> None:
        self.message = message
        self.problems = tuple(problems)
        super().__init__("\n".join([message, *(f"  {problem}" for problem in self.problems)]))


class InvalidDefinition(RefusedError):
    """A workflow document or builder does not validate."""


class Untrusted(RefusedError):
    """A stored workflow version is not what was published and signed; nothing of it is done.

    Its row was changed, or spoilt so that it cannot be read.
    """


class InvalidInput(RefusedError):
    """Inputs break the workflow's schema or a size limit."""


class NotFound(RefusedError):
    """No such workflow, version, run or escalation."""


class Conflict(RefusedError):
    """The thing exists already with other content, or has moved on since it was read."""


class JobHeld(Conflict):
    """An act for a job that does not run now, or that was done for it before."""


class NotAuthenticated(RefusedError):
    """No key, or one that is not known (any more)."""


class NotAllowed(RefusedError):
    """The key's role or tenant does not reach so far."""


class InvalidSetting(RefusedError):
    """A setting, an API configuration or a task module is wrong."""


class Unavailable(OrchestratorError):
    """A server that we need did not answer; nothing half-written.

    `what` is for example "broker" or "database", `where` its address without secrets.
    """

    def __init__(self, what: str, where: str, why: str) -> None:
        self.what, self.where, self.why = what, where, why
        super().__init__(f"{what} at {where} is not reachable: {why}")


class Overloaded(Unavailable):
    """More waits already than is allowed; nothing was written, and nothing is wrong with the wish.

    Before `retry_after_seconds` the answer will not be another.
    """

    def __init__(
        self, message: str, *, problems: Sequence[Problem], retry_after_seconds: float
    ) -> None:
        self.problems = tuple(problems)
        self.retry_after_seconds = retry_after_seconds
        self.message = f"{message}; try again after {retry_after_seconds:.1f} s"
        self.what, self.where, self.why = "room", "this deployment", message
        lines = [self.message, *(f"  {problem}" for problem in self.problems)]
        OrchestratorError.__init__(self, "\n".join(lines))


class StaleOwner(OrchestratorError):
    """A fenced write was refused: the run has another owner or epoch by now."""

    def __init__(self, run_id: str, epoch: int) -> None:
        self.run_id, self.epoch = run_id, epoch
        super().__init__(f"run {run_id}: epoch {epoch} is no longer the owner's")


class IllegalTransition(OrchestratorError):
    """The transition table has no entry for this event in this state."""

    def __init__(self, *, subject: str, state: str, event: str, wanted: str = "") -> None:
        self.subject, self.state, self.event = subject, state, event
        tail = f"; wanted {wanted}" if wanted else ""
        super().__init__(f"{subject}: {event} is not possible in state {state}{tail}")


class StepError(OrchestratorError):
    """The outcome of one attempt, raised by a transport or by a Python step function.

    `retry_after_seconds` is what the API asked for (Retry-After), if anything.
    """

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        super().__init__(reason)


class NotLanded(StepError):
    """The attempt certainly had no effect.

    `retryable` says whether another attempt may go better (connection refused: yes;
    card declined: no). `settles_doubt` says whether this speaks for earlier attempts, too, whose
    outcome is unknown: by default a final refusal does. Where the attempt never left, it does not.
    """

    def __init__(
        self,
        reason: str,
        *,
        retryable: bool = False,
        settles_doubt: bool | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(reason, retry_after_seconds=retry_after_seconds)
        self.retryable = retryable
        self.settles_doubt = not retryable if settles_doubt is None else settles_doubt


class NoCredential(NotLanded):
    """No credential could be had, or the API did not take it.

    It says nothing about earlier attempts, nor how well the API is.
    """

    def __init__(
        self, reason: str, *, retryable: bool, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(
            reason,
            retryable=retryable,
            settles_doubt=False,
            retry_after_seconds=retry_after_seconds,
        )


class NotSent(NotLanded):
    """The attempt did not come as far as its API: an address that is not allowed, a late process.

    Not that the API cannot be reached: that is how the API stands.
    """


class HeldUp(NotSent):
    """This process was held up between the gate and the socket, and nothing has left.

    Not an attempt: whoever was let in has to ask the gate again.
    """

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where}: this process was held up before the request could leave", retryable=True
        )


class InDoubt(StepError):
    """The request may have had its effect: timeout, connection lost after sending, 5xx."""
