"""A worker process, as Celery's side and `doctor` see it."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One message as a worker took it from the broker."""

    hop_id: str
    parent_hop_id: str | None
    runs: tuple[tuple[str, int], ...]  # (run id, epoch)
    label: str
    task: str
    queue: str


class ActiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run in this process's hands, as watchers see it."""

    run_id: str
    epoch: int
    hop_id: str  # of the message or inline event of the step it is at
    parent_hop_id: str | None
    label: str
    task: str
    queue: str
    since: float  # UNIX time at which this step began


class Done(Protocol):
    """Called once when a hop is over, from any thread. `error` is None when all went well."""

    def __call__(self, error: BaseException | None = None) -> None: ...


class Runtime(Protocol):
    """The engine of one worker process, as Celery's side sees it. All methods are thread-safe."""

    def start(self, *, name: str) -> None:
        """Start the loop thread and register as `name`; returns when ready. Raises Unavailable."""

    def deliver(self, hop: Hop, done: Done) -> None:
        """Take a hop up; returns at once."""

    def active(self) -> list[ActiveRun]:
        """The runs in hand."""

    @property
    def fit(self) -> bool:
        """Whether what is taken up now would go on: the database answers, the loop moves."""

    def drain(self, *, grace_seconds: float) -> None:
        """Hand runs back, let calls in flight end within the grace time, deregister, stop."""


class BrokerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a Redis or Valkey server says of itself. Sizes in bytes."""

    address: str  # without password
    version: str
    maxmemory_policy: str
    maxmemory: int  # 0: no limit
    used_memory: int
    append_only: bool
    clients: int  # connected now
    max_clients: int
    round_trip_seconds: float


class BrokerInspector(Protocol):
    """Looks at the broker for `doctor`."""

    async def facts(self) -> BrokerFacts:
        """Raises Unavailable."""
