"""How APIs are used otherwise than their files say, and who wanted it so."""

from __future__ import annotations

from orchestrator.errors import Conflict, Problem
from orchestrator.ports import ApiChange, ApiOverride, NewApiChange
from orchestrator.store import codec, rows
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx


class Apis(Part):
    """Implements ports.ApiStore. An override's row is never deleted, so that versions go on."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._all = self._sql(f"SELECT {rows.API_OVERRIDE} FROM api_overrides ORDER BY api")
        self._version = self._sql("SELECT version FROM api_overrides WHERE api = :api")
        self._put = self._sql(
            f"INSERT INTO api_overrides ({rows.API_OVERRIDE})"
            " VALUES (:api, :version, :settings, {now})"
            " ON CONFLICT (api) DO UPDATE SET version = excluded.version,"
            " settings = excluded.settings, changed_at = excluded.changed_at"
            f" WHERE api_overrides.version = :expected RETURNING {rows.API_OVERRIDE}"
        )
        self._note = self._sql(
            f"INSERT INTO api_changes ({rows.API_CHANGE})"
            " VALUES (:api, :version, :kind, {now}, :by, :reason, :before, :after)"
        )
        self._changes = self._sql(
            f"SELECT {rows.API_CHANGE} FROM api_changes WHERE api = :api"
            " ORDER BY version DESC LIMIT :most"
        )

    async def api_overrides(self) -> list[ApiOverride]:
        """Of every API that was ever changed, by name."""
        return [rows.api_override_of(row) for row in await self._db.rows(self._all)]

    async def change_api(self, change: NewApiChange) -> ApiOverride:
        """Make a change and record it, in one transaction.

        Raises Conflict when the API is not at `expected_version` any more.
        """

        async def work(tx: Tx) -> ApiOverride:
            version = change.expected_version + 1
            row = await tx.row(
                self._put, api=change.api, version=version, expected=change.expected_version,
                settings=rows.api_settings_as_text(change.settings),
            )  # fmt: skip
            if row is None:
                raise _moved_on(change, await tx.row(self._version, api=change.api))
            await tx.change(
                self._note, api=change.api, version=version, kind=change.kind,
                by=codec.storable(change.by), reason=codec.storable(change.reason),
                before=codec.dump(change.before), after=codec.dump(change.after),
            )  # fmt: skip
            return rows.api_override_of(row)

        return await self._db.write(work)

    async def api_changes(self, api: str, *, limit: int = 50) -> list[ApiChange]:
        """What was changed, newest first."""
        found = await self._db.rows(self._changes, api=api, most=limit)
        return [rows.api_change_of(row) for row in found]


def _moved_on(change: NewApiChange, row: tuple[int] | None) -> Conflict:
    found = "no change yet" if row is None else f"change {row[0]}"
    problem = Problem(
        place=f"API {change.api}", found=found, wanted=f"change {change.expected_version}"
    )
    return Conflict("somebody else has changed the API in between", problems=[problem])
