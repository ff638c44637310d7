"""How many requests APIs were let have, in memory. See ports.advances.AdvanceStore."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.errors import Unavailable
from orchestrator.ports.advances import Advance, WrittenAdvance

_Row = tuple[int, int, float]  # total, upto, when it was written


class MemoryAdvances:
    """Implements AdvanceStore; `clock` is the database's, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.away = False
        self._clock = clock
        self._rows: dict[tuple[str, str], dict[int, _Row]] = {}

    async def write_advances(
        self, api: str, advances: Sequence[Advance], *, keep_seconds: float
    ) -> None:
        """See AdvanceStore."""
        self._check()
        now = self._clock()
        for part, total, upto in advances:
            rows = self._rows.setdefault((api, part), {})
            known = rows.get(total)
            rows[total] = (total, max(upto, known[1] if known else upto), now)
            kept = self._since(api, part, keep_seconds)
            self._rows[api, part] = {row[0]: row for row in kept}

    async def advances(
        self, api: str, parts: Sequence[str], *, seconds: float
    ) -> dict[str, list[WrittenAdvance]]:
        """See AdvanceStore."""
        self._check()
        now = self._clock()
        return {
            part: [
                WrittenAdvance(now - at, total, upto)
                for total, upto, at in self._since(api, part, seconds)
            ]
            for part in parts
        }

    def _since(self, api: str, part: str, seconds: float) -> list[_Row]:
        """The younger ones, and the newest of the others, by total."""
        rows = sorted(self._rows.get((api, part), {}).values())
        old = [total for total, _, at in rows if at < self._clock() - seconds]
        return [row for row in rows if row[0] >= max(old, default=0)]

    def _check(self) -> None:
        if self.away:
            raise Unavailable("database", "memory", "it is away")
