"""Reads of a look go to a replica while it is good; everything else goes to the primary.

This is the one place that chooses: `LookedAt` is a database like the other, given to those parts of
the product that show things to people. The look itself is a context variable, since whatever is
asked on the way to one answer belongs to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import structlog
from sqlalchemy import event

from orchestrator.errors import InvalidSetting, Problem, Unavailable
from orchestrator.ports.looking import Look, ReplicaFacts
from orchestrator.store.engine import Database, Work, open_database, parse_url
from orchestrator.store.failures import Repeatable, address
from orchestrator.store.replica import Replica

T = TypeVar("T")
log = structlog.get_logger(__name__)

MOST_CLIENTS = 10_000
"""Whose latest act is remembered; of more the oldest are forgotten."""

_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)


class LookedAt(Database):
    """The primary, whose connections it shares, with a replica that answers looks."""

    def __init__(self, primary: Database, replica: Replica) -> None:
        super().__init__(primary.url, primary.engine, primary.direct, primary.dialect)
        self.shares_sessions = primary.shares_sessions
        self._replica = replica
        event.listen(self.direct.sync_engine, "checkout", self.distrust)

    async def answer(self, begin: str, work: Work[T]) -> T:
        """See Database. Raises Overloaded where the replica's connections are all in use: what it
        was set up to keep off the primary is not sent there."""
        look = _LOOK.get()
        if look is None or not await self._is_for_replica(look):
            return await super().answer(begin, work)
        try:
            return await self._replica.database.answer(begin, work)
        except Unavailable as error:
            self._replica.leave_out(str(error))
        except Repeatable:  # what it replayed took a row from under the statement
            log.info("replica.statement_lost", replica=self._replica.database.where)
        look.pin()
        return await super().answer(begin, work)

    async def _write(self, begin: str, work: Work[T]) -> T:
        look = _LOOK.get()
        if look is not None:
            look.pin()  # what follows has to show it
        return await super()._write(begin, work)

    async def _is_for_replica(self, look: Look) -> bool:
        if not look.is_chosen:
            look.choose(await self._replica.age_seconds(since=look.since))
        return not look.is_at_primary


class Looks:
    """Implements ports.looking.Looking. Without a replica looks are what all reads are."""

    def __init__(
        self, replica: Replica | None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._replica, self._monotonic = replica, monotonic
        self._acted: dict[str, float] = {}  # by client, oldest first

    def begin(self, client: str) -> Look:
        """See Looking."""
        return Look(since=self._acted.get(client, 0.0))

    @contextmanager
    def within(self, look: Look) -> Iterator[None]:
        """See Looking."""
        token = _LOOK.set(look)
        try:
            yield
        finally:
            _LOOK.reset(token)

    def acted(self, client: str) -> None:
        """See Looking."""
        if self._replica is None:
            return
        self._acted.pop(client, None)
        self._acted[client] = self._monotonic()
        while self._acted:
            oldest = next(iter(self._acted))
            if len(self._acted) <= MOST_CLIENTS and not self._replica.has(self._acted[oldest]):
                break
            del self._acted[oldest]

    async def lag_seconds(self) -> float | None:
        """See Looking."""
        return None if self._replica is None else await self._replica.lag_seconds()

    async def facts(self) -> ReplicaFacts | None:
        """See Looking."""
        return None if self._replica is None else await self._replica.facts()


def open_replica(
    primary: Database,
    url: str,
    *,
    max_lag_seconds: float,
    pool_wait_seconds: float = 10.0,
    monotonic: Callable[[], float] = time.monotonic,
) -> Replica:
    """Connects with the first look. Raises InvalidSetting for what is not PostgreSQL."""
    if parse_url(url).get_backend_name() != "postgresql" or primary.dialect.is_sqlite:
        problem = Problem(
            place="setting database_read_url", found=f"{address(parse_url(url))} beside"
            f" {primary.where}", wanted="a streaming replica of a PostgreSQL in database_url",
        )  # fmt: skip
        raise InvalidSetting("there is no such replica", problems=[problem])
    database = open_database(
        url, pool_wait_seconds=pool_wait_seconds, shares_sessions=primary.shares_sessions
    )
    return Replica(primary, database, max_lag_seconds=max_lag_seconds, monotonic=monotonic)
