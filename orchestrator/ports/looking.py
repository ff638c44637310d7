"""What people only look at may come from a replica of the database; what decides may not.

A *look* is one answer to somebody: a page, a list, one run. Where it is read is chosen with the
first thing that is read within it, and stays so until its end: an answer is of one database. Reads
outside of a look, and all writes, are the primary's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import msgspec

from orchestrator.errors import RefusedError

T = TypeVar("T")


class ReplicaFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How a replica stands beside its primary."""

    where: str  # without secrets
    in_recovery: bool  # False: it is a primary itself
    same_system: bool  # whether it is a copy of this very database server
    same_tables: bool  # whether its tables are of the same release
    can_write: bool  # whether the role would be let write, were the server no replica
    lag_seconds: float | None  # how old what it shows is; None: more than can be told
    max_lag_seconds: float  # up to which it is asked


class Look:
    """Where one answer is read, and how old it is."""

    def __init__(self, *, since: float) -> None:
        """`since`: by the monotonic clock; what this client did until then has to be in it."""
        self.since = since
        self.is_chosen = False
        self.is_at_primary = False
        self.age_seconds: float | None = None
        """When it was chosen; None: read from the primary, or nothing was read."""

    def pin(self) -> None:
        """Read everything else from the primary."""
        self.is_chosen = self.is_at_primary = True
        self.age_seconds = None

    def choose(self, age_seconds: float | None) -> None:
        """Read it from a replica that is so old; None: from the primary."""
        self.is_chosen, self.is_at_primary = True, age_seconds is None
        self.age_seconds = age_seconds


class Looking(Protocol):
    """Begins looks, and remembers who did something."""

    def begin(self, client: str) -> Look:
        """A look of this client, whose own acts it will contain."""

    def within(self, look: Look) -> AbstractContextManager[None]:
        """What this task reads inside of the block belongs to the look."""

    def acted(self, client: str) -> None:
        """This client has changed something: to be called after it was committed."""

    async def lag_seconds(self) -> float | None:
        """How old what the replica shows is; infinite: out of reach. None: there is no replica."""

    async def facts(self) -> ReplicaFacts | None:
        """For `doctor`. None: there is no replica. Raises Unavailable."""


async def looked(looking: Looking, look: Look, read: Callable[[], Awaitable[T]]) -> T:
    """What is read within the look. What is refused on a replica's word (most of all: that there
    is no such thing) is asked of the primary again, since the replica may be behind. Raises
    whatever `read` does.
    """
    with looking.within(look):
        try:
            return await read()
        except RefusedError:
            if look.age_seconds is None:
                raise
            look.pin()
            return await read()
