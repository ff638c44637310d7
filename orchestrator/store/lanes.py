"""Where the runs of each lane stand. See ports.scaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.core.scaling import Where
from orchestrator.core.states import Direction
from orchestrator.ports.scaling import LaneGroup, LanesSeen
from orchestrator.store.codec import instant
from orchestrator.store.part import Part, Shared
from orchestrator.store.tables import ANNOUNCED, OWNED, SLEEPING, UNDER_WAY
from orchestrator.store.transactions import Tx

PLACES = (
    (Where.DUE, ANNOUNCED, "min(published_at)"),
    (Where.DUE, f"{SLEEPING} AND wake_at <= {{now}}", "min(wake_at)"),
    (Where.IN_HAND, f"{OWNED} AND {UNDER_WAY}", "NULL"),
    (Where.PARKED, f"{SLEEPING} AND wake_at > {{now}} AND status = 'parked'", "NULL"),
)
"""Each with its index, and since when its runs wait; no run stands in two of them."""


class Lanes(Part):
    """Implements ports.scaling.LanesStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        keys = "lane, workflow_id, direction, step"
        self._groups = self._sql(" UNION ALL ".join(
            f"SELECT {keys}, '{where}' AS place, count(*), {since}, {{clock}} FROM runs"
            f" WHERE {some} GROUP BY {keys}"
            for where, some, since in PLACES
        ))  # fmt: skip
        self._owners = self._sql(
            "SELECT held.lane, held.owner, workers.started_at, {clock} FROM"
            f" (SELECT DISTINCT lane, owner FROM runs WHERE {OWNED}) AS held"
            " JOIN workers ON workers.id = held.owner"
        )
        since = self._dialect.later("{now}", "-CAST(:seconds AS {real})")
        self._settled = self._sql(
            "SELECT lane, count(*), min(settled_at), {clock} FROM (SELECT lane, settled_at"
            f" FROM runs WHERE settled_at >= {since} ORDER BY settled_at DESC LIMIT :most)"
            " AS newest GROUP BY lane"
        )

    async def lanes_seen(self, *, seconds: float, most: int) -> LanesSeen:
        """See LanesStore."""

        async def work(tx: Tx) -> LanesSeen:
            counted = await tx.rows(self._groups)
            plans = await self._shared.readable(tx, {row[1] for row in counted})
            groups = [
                LaneGroup(
                    lane=lane, plan=plans[version], direction=Direction(direction), step=step,
                    where=Where(where), number=int(number),
                    oldest_seconds=max(_seconds(since, now), 0.0) if since is not None else 0.0,
                )
                for lane, version, direction, step, where, number, since, now in counted
                if version in plans
            ]  # fmt: skip
            owners: dict[str, dict[str, float]] = {}
            for lane, owner, began, now in await tx.rows(self._owners):
                owners.setdefault(lane, {})[owner] = _seconds(began, now)
            settled = await tx.rows(self._settled, seconds=seconds, most=most)
            return LanesSeen(
                groups=groups, owners=owners, settled={row[0]: int(row[1]) for row in settled},
                settled_seconds=_span(settled, seconds=seconds, most=most),
            )  # fmt: skip

        return await self._db.read(work)


def _span(settled: Sequence[Any], *, seconds: float, most: int) -> float:
    """Within which those have settled: less than was asked for where there were more of them."""
    if sum(int(row[1]) for row in settled) < most:
        return seconds
    oldest = min(settled, key=lambda row: instant(row[2]))
    return min(max(_seconds(oldest[2], oldest[3]), 0.001), seconds)


def _seconds(since: Any, until: Any) -> float:
    return (instant(until) - instant(since)).total_seconds()
