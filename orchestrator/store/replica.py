"""How old what a streaming replica shows is, and whether it may be asked at all.

The primary's position in its log of changes is noted together with the time at which it was asked.
Once the replica has replayed up to a position that was noted, it has everything that was committed
before that time. This needs no clock but one's own, is right while nothing is written, and finds a
replica that has lost its primary: the primary's position goes on, the replica's does not. (The time
of the last replayed transaction, which the replica knows by itself, says none of this.)
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

import structlog
from sqlalchemy import text

from orchestrator.errors import OrchestratorError, Unavailable
from orchestrator.ports.looking import ReplicaFacts
from orchestrator.store.engine import Database

log = structlog.get_logger(__name__)

EVERY_SECONDS = 0.5
"""Between two measurements, while somebody looks."""
FIRST_SECONDS = 0.5
"""How long who looks first waits for one; then the primary answers."""
IDLE_SECONDS = 2.5
"""Who comes so long after the last measurement is such a first one."""
MEASURING_SECONDS = 2.0
"""A server that says nothing for so long is out of reach."""
CATCHING_UP = (0.0, 0.01, 0.03, 0.1)
"""Seconds before the replica is asked (again) for the position that was noted just now."""
MOST_NOTED = 1000

_PRIMARY = text(
    "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint,"
    " (SELECT system_identifier FROM pg_control_system())"
)
_REPLICA = text(
    "SELECT pg_is_in_recovery(), pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint,"
    " (SELECT system_identifier FROM pg_control_system())"
)
_RELEASE = text("SELECT version_num FROM alembic_version")
# Of the role, not of the server: a replica refuses every write, until it is promoted.
_CAN_WRITE = text("SELECT has_table_privilege('runs', 'INSERT, UPDATE, DELETE')")


class Replica:
    """A replica of `primary`, reached as `database`. Belongs to one event loop."""

    def __init__(
        self,
        primary: Database,
        database: Database,
        *,
        max_lag_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.database = database
        self._primary, self._max_lag, self._monotonic = primary, max_lag_seconds, monotonic
        self._noted: deque[tuple[float, int]] = deque(maxlen=MOST_NOTED)
        self._fresh_at = -math.inf  # it has what was committed before
        self._measured_at = -math.inf
        self._why = "not looked at yet"  # it is not asked; empty: it is
        self._was_told = False
        self._measuring: asyncio.Task[None] | None = None

    async def age_seconds(self, *, since: float) -> float | None:
        """How old what it shows is, if it may be asked: it is young enough, and has what was
        committed before `since` by the monotonic clock. None: ask the primary."""
        await self._look()
        if self._why or self._fresh_at < since:
            return None
        age = self._monotonic() - self._fresh_at
        return age if age <= self._max_lag else None

    def has(self, moment: float) -> bool:
        """Whether it is known to have what was committed before this time."""
        return self._fresh_at >= moment

    def leave_out(self, why: str) -> None:
        """It failed somebody: until it has been looked at again nobody asks it."""
        self._judge(why)

    async def lag_seconds(self) -> float:
        """How old what it shows is; infinite when it cannot be asked or nothing is known yet."""
        await self._look()
        return self._monotonic() - self._fresh_at

    async def facts(self) -> ReplicaFacts:
        """Looks anew. Raises Unavailable."""
        await self._measure()
        (_, system), (in_recovery, _, own) = await self._positions()
        release = await self._primary.row(_RELEASE)
        lag = self._monotonic() - self._fresh_at
        return ReplicaFacts(
            where=self.database.where, in_recovery=in_recovery, same_system=system == own,
            same_tables=release == await self.database.row(_RELEASE),
            can_write=bool((await self.database.row(_CAN_WRITE))[0]),
            lag_seconds=lag if math.isfinite(lag) else None, max_lag_seconds=self._max_lag,
        )  # fmt: skip

    async def close(self) -> None:
        """Return its connections."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)
        await self.database.close()

    async def _look(self) -> None:
        """Measure beside whoever looks; only who comes after a while waits for it, and not long."""
        idle = self._monotonic() - self._measured_at
        if idle >= EVERY_SECONDS and (self._measuring is None or self._measuring.done()):
            self._measuring = asyncio.create_task(self._measure())
        if idle >= IDLE_SECONDS and self._measuring is not None:
            await asyncio.wait({self._measuring}, timeout=FIRST_SECONDS)

    async def _measure(self) -> None:
        try:
            async with asyncio.timeout(MEASURING_SECONDS):
                why = await self._found()
        except TimeoutError:
            why = f"nothing was heard for {MEASURING_SECONDS:g} s"
        except OrchestratorError as error:
            why = str(error)
        self._measured_at = self._monotonic()
        self._judge(why)

    async def _found(self) -> str:
        """What speaks against it; empty: nothing."""
        began = self._monotonic()
        try:
            position, system = await self._primary.row(_PRIMARY)
        except Unavailable:  # people may go on looking for as long as what they see is young enough
            position = system = None
        if position is not None:
            self._noted.append((began, position))
        for seconds in CATCHING_UP:
            await asyncio.sleep(seconds)
            in_recovery, replayed, own = await self.database.row(_REPLICA)
            if not in_recovery:
                return "it is no replica, but a primary"
            if system is not None and own != system:
                return "it is a replica of another database server"
            self._replayed(replayed)
            if position is None or replayed >= position:
                break
        age = self._monotonic() - self._fresh_at
        if age <= self._max_lag:
            return ""
        return f"it is {age:.0f} s behind" if math.isfinite(age) else "it is behind"

    def _replayed(self, position: int) -> None:
        while self._noted and self._noted[0][1] <= position:
            self._fresh_at = max(self._fresh_at, self._noted.popleft()[0])

    async def _positions(self) -> tuple[tuple[int, int], tuple[bool, int, int]]:
        return await self._primary.row(_PRIMARY), await self.database.row(_REPLICA)

    def _judge(self, why: str) -> None:
        """Told once, and once when it is over."""
        if why and not self._was_told:
            log.warning("replica.left_out", replica=self.database.where, why=why)
        elif not why and self._was_told:
            log.info("replica.asked_again", replica=self.database.where)
        self._why, self._was_told = why, bool(why)
