"""Keys of those who ask over the network."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.errors import Conflict, Problem
from orchestrator.ports import AccessKey, NewAccessKey
from orchestrator.store import codec, rows
from orchestrator.store.part import Part, Shared, not_found
from orchestrator.store.transactions import Tx


class Access(Part):
    """Implements ports.AccessStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        columns = rows.ACCESS_KEY
        # Of no seconds it is no time: NULL, for ever.
        expires = self._dialect.later("{now}", "CAST(:lives_seconds AS {real})")
        self._add = self._sql(
            f"INSERT INTO access_keys ({columns}) VALUES (:id, :name, :role, :tenant, :digest,"
            f" {{now}}, :by, {expires}, NULL, NULL) RETURNING {columns}"
        )
        self._all = self._sql(f"SELECT {columns} FROM access_keys ORDER BY id DESC")
        self._one = self._sql(f"SELECT {columns} FROM access_keys WHERE id = :id")
        self._usable = self._sql(
            f"SELECT {columns} FROM access_keys WHERE id IN (SELECT b.id FROM"
            f" {self._dialect.batch({'id': 'text'})} AS b) AND revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > {now})"
        )
        self._revoke = self._sql(
            "UPDATE access_keys SET revoked_at = {now}, revoked_by = :by"
            f" WHERE id = :id AND revoked_at IS NULL RETURNING {columns}"
        )

    async def add_key(self, key: NewAccessKey) -> AccessKey:
        """Keep it, with the database's time."""

        async def work(tx: Tx) -> AccessKey:
            row = await tx.row(
                self._add, id=key.id, name=codec.storable(key.name), role=key.role,
                tenant=None if key.tenant is None else codec.storable(key.tenant),
                digest=key.digest, by=codec.storable(key.created_by),
                lives_seconds=key.lives_seconds,
            )  # fmt: skip
            return rows.access_key_of(row)

        return await self._db.write(work)

    async def keys(self) -> list[AccessKey]:
        """All of them, newest first."""
        return [rows.access_key_of(row) for row in await self._db.rows(self._all)]

    async def usable_keys(self, key_ids: Collection[str]) -> list[AccessKey]:
        """Those of them that are there, and have neither expired nor been revoked by now."""
        batch = codec.dump_batch([(codec.storable(each),) for each in key_ids])
        return [rows.access_key_of(row) for row in await self._db.rows(self._usable, batch=batch)]

    async def revoke_key(self, key_id: str, *, by: str) -> AccessKey:
        """From now on it is good for nothing. Raises Conflict when it is revoked, NotFound."""

        async def work(tx: Tx) -> AccessKey:
            row = await tx.row(self._revoke, id=key_id, by=codec.storable(by))
            if row is not None:
                return rows.access_key_of(row)
            before = await tx.row(self._one, id=key_id)
            if before is None:
                raise not_found("key", key_id, "the whole id of a key")
            raise _revoked_already(rows.access_key_of(before))

        return await self._db.write(work)


def _revoked_already(key: AccessKey) -> Conflict:
    problem = Problem(
        place=f"key {key.id}", found=f"revoked by {key.revoked_by} at {key.revoked_at}",
        wanted="a key that is not revoked",
    )  # fmt: skip
    return Conflict("the key was revoked already", problems=[problem])
