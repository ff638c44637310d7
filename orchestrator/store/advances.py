"""How many requests APIs were let have, written down before they leave. See ports.advances."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.ports.advances import Advance, WrittenAdvance
from orchestrator.store import codec
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx


class Advances(Part):
    """Implements ports.advances.AdvanceStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        batch = self._dialect.batch({"part": "text", "total": "int", "upto": "int"})
        # In one order, lest two that write the same ones wait for each other.
        self._write = self._sql(
            "INSERT INTO advances (api, part, total, upto, written_at)"
            f" SELECT :api, b.part, b.total, b.upto, {{now}} FROM {batch} AS b WHERE true"
            " ORDER BY b.part, b.total"
            " ON CONFLICT (api, part, total) DO UPDATE SET written_at = excluded.written_at,"
            " upto = CASE WHEN excluded.upto > advances.upto THEN excluded.upto"
            " ELSE advances.upto END"
        )
        parts = self._dialect.batch({"part": "text"})
        earlier = self._dialect.later("{now}", "CAST(:seconds AS {real})")
        self._forget = self._sql(
            "DELETE FROM advances WHERE api = :api"
            f" AND part IN (SELECT part FROM {parts} AS b) AND total < (SELECT MAX(old.total)"
            " FROM advances AS old WHERE old.api = advances.api AND old.part = advances.part"
            f" AND old.written_at < {earlier})"
        )
        self._read = self._sql(
            "SELECT part, total, upto, written_at, {now} FROM advances WHERE api = :api"
            f" AND part IN (SELECT part FROM {parts} AS b) AND total >= COALESCE((SELECT"
            " MAX(old.total) FROM advances AS old WHERE old.api = advances.api"
            f" AND old.part = advances.part AND old.written_at < {earlier}), 0)"
            " ORDER BY part, total"
        )

    async def write_advances(
        self, api: str, advances: Sequence[Advance], *, keep_seconds: float
    ) -> None:
        """See AdvanceStore."""
        rows, parts = codec.dump_batch(advances), _batch([each.part for each in advances])

        async def work(tx: Tx) -> None:
            await tx.change(self._write, api=api, batch=rows)
            await tx.change(self._forget, api=api, batch=parts, seconds=-keep_seconds)

        await self._db.write(work)

    async def advances(
        self, api: str, parts: Sequence[str], *, seconds: float
    ) -> dict[str, list[WrittenAdvance]]:
        """See AdvanceStore."""
        found: dict[str, list[WrittenAdvance]] = {part: [] for part in parts}
        rows = await self._db.rows(self._read, api=api, batch=_batch(parts), seconds=-seconds)
        for part, total, upto, written_at, now in rows:
            age = (codec.instant(now) - codec.instant(written_at)).total_seconds()
            found[part].append(WrittenAdvance(max(age, 0.0), total, upto))
        return found


def _batch(parts: Sequence[str]) -> str:
    return codec.dump_batch([[part] for part in parts])
