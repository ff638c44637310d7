"""Vectors of texts, for all processes that search. See ports.finding.VectorStore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.store.codec import dump_batch
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx


class SearchVectors(Part):
    """Implements ports.finding.VectorStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        asked = self._dialect.batch({"text": "text"})
        yesterday = self._dialect.later("{now}", "-86400.0")
        past = self._dialect.later("{now}", "-CAST(:seconds AS {real})")
        self._read = self._sql(
            f"SELECT v.text, v.vectors, v.used_at < {yesterday} FROM {asked} AS b"
            " JOIN search_vectors AS v ON v.model = :model AND v.text = b.text"
        )
        # Once a day, lest every start of a process writes every row anew.
        self._use = self._sql(
            "UPDATE search_vectors SET used_at = {now} WHERE model = :model"
            f" AND text IN (SELECT b.text FROM {asked} AS b) AND used_at < {yesterday}"
        )
        self._write = self._sql(
            "INSERT INTO search_vectors (model, text, vectors, used_at)"
            " VALUES (:model, :text, :vectors, {now}) ON CONFLICT (model, text)"
            " DO UPDATE SET vectors = excluded.vectors, used_at = excluded.used_at"
        )
        self._forget = self._sql(f"DELETE FROM search_vectors WHERE used_at < {past}")

    async def vectors(self, model: str, texts: Sequence[str]) -> Mapping[str, bytes]:
        """See VectorStore."""
        batch = dump_batch([[text] for text in texts])
        found = await self._db.rows(self._read, model=model, batch=batch)
        if any(is_old for _, _, is_old in found):
            await self._db.write(lambda tx: tx.change(self._use, model=model, batch=batch))
        return {text: bytes(vectors) for text, vectors, _ in found}

    async def keep_vectors(self, model: str, made: Mapping[str, bytes]) -> None:
        """See VectorStore."""

        async def work(tx: Tx) -> None:
            # In one order, lest two that write the same wait for each other.
            for text, vectors in sorted(made.items()):
                await tx.change(self._write, model=model, text=text, vectors=vectors)

        await self._db.write(work)

    async def forget_vectors(self, *, unused_seconds: float) -> int:
        """See VectorStore."""
        return await self._db.write(lambda tx: tx.change(self._forget, seconds=unused_seconds))
