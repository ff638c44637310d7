"""What leaves the process: requests, the gate before them, messages, and signs of life."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec

from orchestrator.core.exchange import FrozenRequest, Outcome, Response
from orchestrator.core.health import Health, HealthRules, News
from orchestrator.core.states import Direction
from orchestrator.core.tracing import TraceHeaders
from orchestrator.ports.advances import Counted, Known
from orchestrator.ports.hints import Hint
from orchestrator.ports.records import EscalationRecord


def _always() -> bool:
    return True


class Trail(msgspec.Struct):
    """What a transport says of one attempt's way, whatever comes of it; for the audit."""

    base: str = ""  # URL below which the request went; "" for what goes over no network
    credential: str = ""  # name of the configuration entry, never the secret
    requests: int = 0  # that may have left: more than one after a 401
    calls: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """Of an isolated function: what it had sent, each as the audit tells it."""

    def counting(self, may_leave: Callable[[], bool]) -> Callable[[], bool]:
        """The same question; a yes counts as a request that leaves."""

        def asked() -> bool:
            leaves = may_leave()
            self.requests += leaves
            return leaves

        return asked


class AttemptContext(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends: for headers, logs and Python functions; and a last look before it leaves."""

    run_id: str
    step_id: str
    attempt: int
    direction: Direction
    tenant: str
    may_leave: Callable[[], bool] = _always
    """Asked when the request is about to leave, with nothing to wait for in between. False: this
    process was held up, and its permit is over or it may have lost the run; the transport raises
    HeldUp."""
    may_go_on: Callable[[], bool] = _always
    """The same without the permit, which is for one request: asked before another one of the same
    attempt, with a new credential."""
    trail: Trail = msgspec.field(default_factory=Trail)
    """Filled in on the way."""
    trace_headers: Callable[[], TraceHeaders] | None = None
    """Makes the headers of W3C Trace Context, for APIs that want them; None: no trace."""


class Transport(Protocol):
    """Sends one request of one kind (HTTP, or a call of a Python function)."""

    async def send(
        self,
        api: str,
        request: FrozenRequest,
        context: AttemptContext,
        *,
        timeout_seconds: float | None,
    ) -> Response:
        """The complete answer, whatever its status.

        Raises NotLanded when the request certainly did not leave (DNS, refused, TLS), as NotSent
        when that is this process's doing (credential, egress), HeldUp when it came too late,
        InDoubt when it may have left (timeout, reset, truncated answer).
        """


class Reads(Protocol):
    """Sends what only reads, outside of any run, at the same gate as runs."""

    async def read(
        self, api: str, request: FrozenRequest, *, operation: str, tenant: str, step: str,
        timeout_seconds: float | None,
    ) -> Response:  # fmt: skip
        """The complete answer. It is asked for once, whatever comes of it.

        Raises NotSent, with nothing sent, for a method other than GET and HEAD and when the gate
        has no place; StepError as `Transport.send` does; Unavailable without broker or database.
        """


class Readiness(Protocol):
    """Whether what a call needs beside its API's leave is at hand: a credential.

    Asked before the gate: who waits for a token with a permit in hand lets its turn go by, and a
    thousand that got theirs meanwhile would all leave at once when the token comes.
    """

    def ready(self, api: str, tenant: str, request: FrozenRequest) -> bool:
        """Whether a call could leave without waiting for anything but the gate. Without I/O."""

    async def until_ready(self, api: str, tenant: str, request: FrozenRequest) -> None:
        """Wait until it could, or until it is known that it cannot: sending it says why."""


class Permit(Protocol):
    """Leave to send one request now. Holds one of the API's slots until released."""

    @property
    def fresh(self) -> bool:
        """Whether the request may still leave: a rate reservation is only good for a moment."""

    def release(self, seen: Seen | None = None) -> None:
        """Give the slot back, and say how the call went (None: it says nothing of the API).

        Safe to call twice.
        """

    def give_up(self, *, after_seconds: float, timeout_seconds: float | None) -> None:
        """Nobody waits for the answer any more. The API may be at it until the call's time is over
        (None: the API's own): its slot stays taken so long, less what has gone by. Safe after the
        others, and twice.
        """

    def hand_back(self) -> None:
        """Give slot and place in the rate back: nothing was sent. Safe after either, and twice."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How a call went, as far as the state of its API shows in it."""

    outcome: Outcome  # judged: what the answer means
    response: Response | None  # None: there was no complete one
    seconds: float  # from the first byte out to the last one in


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants to send what to an API."""

    api: str
    run_id: str = ""
    operation: str = ""  # method and path without query: "POST /charges"
    tenant: str = "default"
    priority: int = 0  # of the run; more is sooner
    undo: bool = False  # a compensation: before all new work
    parked: bool = False  # it was told to come back, and has
    retry: bool = False  # the same link was attempted before


class GateBusy(Exception):
    """The API admits nobody within the caller's patience; come back after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"busy for about {seconds:.3f} s")


class Gate(Protocol):
    """Rate limits and concurrency of all APIs, the same for all workers."""

    def try_enter(self, visit: Visit) -> Permit | None:
        """A permit if nothing makes it wait, without waiting and without I/O."""

    def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
        """What `enter` would raise at once: the wait is longer than patience. Without I/O.

        None: it is expected to come within a moment, once it has written its intent down.
        """

    async def enter(self, visit: Visit, *, patience_seconds: float) -> Permit:
        """Wait in turn for a permit. Raises GateBusy when it would take longer than patience.

        A permit is fresh: its request must leave at once. Fails closed while Redis is away.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """At most `amount` requests in any `seconds`."""

    amount: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Slots of one API that this process may fill: the smaller of `allowance` and `share`."""

    allowance: int  # kept free for this process by all others
    share: int  # what is fair now; a process above it lets slots run empty and says so
    valid_until: float  # time.monotonic(); not an instant longer
    review_at: float  # time.monotonic(); the share changes then, ask again


@dataclass(frozen=True, kw_only=True, slots=True)
class RatedPart:
    """Rates of a part of an API's calls, which hold beside those of the API."""

    key: str  # names the part, whatever its rates are
    rates: tuple[Rate, ...]
    spacing_seconds: float = 0.0  # between two of its start times


class Mark(NamedTuple):
    """What names a start time when it is given back."""

    whole: int  # where the API counts it; 0: it does not
    parts: tuple[tuple[str, int], ...] = ()  # by key, where its parts do

    @property
    def names_something(self) -> bool:
        """Whether anybody counts the start time."""
        return bool(self.whole or self.parts)


class TenantWaiting(NamedTuple):
    """What one tenant has waiting in one process, or several tenants that are counted as one."""

    tenant: str
    waiting: int
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """Moments at which requests may leave, counted against every other process's."""

    starts: tuple[float, ...]  # time.monotonic(), ascending; as many as could be had soon
    marks: tuple[Mark, ...]  # what names each of them when it is given back
    given: tuple[int, ...]  # to which of those that were wanted, one for each start
    next_at: float  # time.monotonic(); asking for more before is in vain
    share: float  # of the start times, that this process is entitled to
    waiting_elsewhere: int  # requests that wait in the other processes
    tenants_here: tuple[float, ...] = ()  # of each tenant of `crowd`, the part that waits here
    parts_next_at: tuple[float, ...] = ()  # as `next_at`, for each of the parts
    counted: tuple[Counted | None, ...] = ()
    """Of the API and of each of the parts, where they are counted."""


class SharedLimits(Protocol):
    """Limits of APIs as all processes agree on them. Every method raises Unavailable."""

    async def lease(
        self, api: str, *, limit: int, wanted: int, held: int, scope: str = ""
    ) -> Lease:
        """Renew and resize this process's part of `limit` slots: of the API, or of a part of it.

        `wanted` slots would be filled at once. `held` are those that are filled, or may be before
        the answer is here. The allowance is at least `held`; all allowances together never exceed
        the limit.
        """

    async def reserve(
        self,
        api: str,
        *,
        rates: Sequence[Rate],
        count: int,
        waiting: int,
        headroom_seconds: float,
        spacing_seconds: float,
        closest_seconds: float,
        crowd: Sequence[TenantWaiting] = (),
        unused: Sequence[Mark] = (),
        parts: Sequence[RatedPart] = (),
        wanted: Sequence[Sequence[int]] | None = None,
    ) -> Reservation:
        """Reserve up to `count` start times, none of them far ahead, `spacing_seconds` apart.

        `crowd` says whose the `waiting` requests are. Each tenant is entitled to its weight's part
        of the start times, and each process to that part of a tenant's which waits in it; who does
        not say whose they are makes all processes entitled alike. What one does not use, others
        get.

        `wanted` says for each call under which of the `parts` it is; None: under none. One gets a
        start time when all of its parts and the API have one, or else counts nowhere; those that
        come after one whose parts have none are not kept waiting for it. A part hands out no start
        time that would keep the API's own ones waiting for longer than a moment.

        A request that arrives at the API at most `headroom_seconds` after its start time breaks
        no rate. `unused` are marks of start times on which nothing was sent, nor will be: they
        count no more, but in parts that are not among `parts`. While less was sent than the rates
        allow, start times are only `closest_seconds` apart. May be repeated with the same marks.
        """

    async def leave(
        self, api: str, *, in_use: int = 0, scope: str = "", seconds: float = 0.0
    ) -> None:
        """Give this process's slots back; those in use run out by themselves, in `seconds` or as
        long as a lease lasts.
        """


class CountingLimits(SharedLimits, Protocol):
    """Limits that count what rates of long windows let out, as far as that is written down."""

    async def reserve(
        self,
        api: str,
        *,
        rates: Sequence[Rate],
        count: int,
        waiting: int,
        headroom_seconds: float,
        spacing_seconds: float,
        closest_seconds: float,
        crowd: Sequence[TenantWaiting] = (),
        unused: Sequence[Mark] = (),
        parts: Sequence[RatedPart] = (),
        wanted: Sequence[Sequence[int]] | None = None,
        advances: Mapping[str, Known] | None = None,
    ) -> Reservation:
        """As there. `advances`: what is known of them and was not said before, by part.

        No rate of a long window gives more than they allow; `counted` asks for more of them in
        time. After a loss of memory the windows are filled with the past, as soon as it is told.
        None: nothing is written down, and after a loss of memory a whole window goes by.
        """


class SharedHealth(Protocol):
    """How APIs stand, as all processes have seen them; `core/health.py` has the rules."""

    async def report(self, api: str, rules: HealthRules, news: News) -> Health:
        """Add one process's news; how the API stands then, for this process. Atomic.

        May be repeated with the same number. Raises Unavailable.
        """


class HintPublisher(Protocol):
    """Puts wake-ups on the broker."""

    async def publish(self, hints: Sequence[Hint]) -> None:
        """All in few round trips. Raises Unavailable; the sweep will publish them later."""

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Messages waiting in each queue."""


class DeadLetterQueue(Protocol):
    """The broker's `dead_letter` queue: one message for each open, unclaimed escalation."""

    async def publish(self, escalations: Sequence[EscalationRecord]) -> None:
        """Add one message each."""

    async def take_next(self) -> str | None:
        """Remove the oldest message and return its escalation id; None when empty."""

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        """Remove the messages of these, if there."""

    async def listed(self) -> list[str]:
        """The escalation ids on the queue, oldest first, with repetitions."""


class StepEnd(StrEnum):
    """How a step that was shown as started is shown to go on, in Celery's words."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # no attempt is left
    RETRIED = "retried"  # it waits for its next attempt, or for its API to admit it
    REVOKED = "revoked"  # the run turned back, or ended, before the step was done


class StepEvents(Protocol):
    """Tells watchers (Flower) how steps go, each as a Celery task. Methods return at once."""

    @property
    def watched(self) -> bool:
        """Whether anybody listens; when not, nothing need be told."""

    def step_started(self, hint: Hint, *, by_message: bool = False) -> None:
        """A step began. `by_message`: Celery has shown it, since a message brought it."""

    def step_revived(self, hint: Hint) -> None:
        """A step begun by message is tried again although it may have been shown as ended."""

    def step_ended(self, hint: Hint, end: StepEnd, *, seconds: float, detail: str = "") -> None:
        """It is over here; failures and compensations are never dropped by the budget."""

    def step_left(self, hint: Hint) -> None:
        """Somebody else goes on with it and will show its end."""
