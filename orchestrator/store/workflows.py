"""Published workflow versions."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import uuid_utils

from orchestrator.core.aliases import STABLE
from orchestrator.core.joining import ids_in
from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import plan_to_json, with_digest
from orchestrator.errors import Conflict, NotFound, Problem
from orchestrator.ports import WorkflowVersion
from orchestrator.ports.records import joined_version
from orchestrator.ports.vouching import Signer
from orchestrator.store import rows
from orchestrator.store.aliases import unknown_workflow
from orchestrator.store.part import MOST_PLANS_KEPT, Part, Shared, not_found
from orchestrator.store.transactions import Tx


def is_signed_by(signer: Signer, version: WorkflowVersion) -> bool:
    """Whether its signature is this key's; Ed25519 makes the same one of the same text."""
    return version.key_id == signer.key_id and version.signature == signer.sign(version.text())


class Workflows(Part):
    """Implements ports.WorkflowStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        read = f"SELECT {rows.WORKFLOW} FROM workflows"
        self._known: dict[str, WorkflowVersion] = {}  # a version never changes
        newest = "FROM workflows WHERE name = :name ORDER BY version DESC LIMIT 1"
        self._newest = self._sql(f"SELECT {rows.WORKFLOW} {newest}")
        self._newest_id = self._sql(f"SELECT id {newest}")
        self._one_id = self._sql(
            "SELECT id FROM workflows WHERE name = :name AND version = :version"
        )
        self._by_id = self._sql(f"{read} WHERE id = :id")
        self._all_of = self._sql(f"{read} WHERE name = :name ORDER BY version DESC")
        self._newest_of_all = self._sql(
            f"{read} WHERE (name, version) IN"
            " (SELECT name, max(version) FROM workflows GROUP BY name) ORDER BY name"
        )
        self._count = self._sql(
            "SELECT (SELECT count(*) FROM workflows)"
            " + (SELECT count(*) FROM workflow_alias_changes)"
        )
        self._offered_ids = self._sql(
            "SELECT w.name, w.id FROM (SELECT newest.name, coalesce(a.version, newest.version)"
            " AS version FROM (SELECT name, max(version) AS version FROM workflows GROUP BY name)"
            f" AS newest LEFT JOIN workflow_aliases AS a ON a.alias = '{STABLE}'"
            " AND a.workflow = newest.name) AS given"
            " JOIN workflows AS w ON w.name = given.name AND w.version = given.version"
            " ORDER BY w.name"
        )
        self._names = self._sql(
            "SELECT name, max(version) FROM workflows GROUP BY name ORDER BY name"
        )
        self._sign = self._sql(
            "UPDATE workflows SET key_id = :key_id, signature = :signature WHERE id = :id"
        )
        self._insert = self._sql(
            f"INSERT INTO workflows ({rows.WORKFLOW}) VALUES"
            " (:id, :name, :version, :digest, :plan, :document, {now}, :by, :operations, NULL,"
            " NULL)"
            f" ON CONFLICT DO NOTHING RETURNING {rows.WORKFLOW}"
        )

    async def publish(
        self, plan: Plan, *, document: str, by: str, operations: str = "",
        signer: Signer | None = None,
    ) -> tuple[WorkflowVersion, bool]:  # fmt: skip
        """See WorkflowStore."""
        for _ in range(10):  # somebody else may take the number first
            published = await self._db.write(
                lambda tx: self._publish(tx, plan, document, by, operations, signer)
            )
            if published is not None:
                return published
        problem = Problem(
            place=f"workflow {plan.workflow}", found="others publishing it all the time",
            wanted="one publisher",
        )  # fmt: skip
        raise Conflict("the workflow could not be published", problems=[problem])

    async def workflow(self, name: str, version: int | None = None) -> WorkflowVersion:
        """A version, or the latest. Raises NotFound that names what exists."""
        row = (
            await self._db.row(self._newest_id, name=name)
            if version is None
            else await self._db.row(self._one_id, name=name, version=version)
        )
        if row is None:
            raise await self._unknown(name, version)
        return self._known.get(row[0]) or await self.workflow_by_id(row[0])

    async def workflow_by_id(self, workflow_id: str) -> WorkflowVersion:
        """The version that a run pins, or all of those by which it was moved. Raises NotFound."""
        ids = ids_in(workflow_id)
        if len(ids) > 1:
            return joined_version([await self._version(each) for each in ids])
        return await self._version(workflow_id)

    async def _version(self, workflow_id: str) -> WorkflowVersion:
        row = await self._db.row(self._by_id, id=workflow_id)
        if row is None:
            raise not_found("workflow version", workflow_id, "the id of a published version")
        found = rows.workflow_of(row)
        if found.unread is not None:  # it may be mended
            self._known.pop(workflow_id, None)
            return found
        if len(self._known) >= MOST_PLANS_KEPT:
            self._known.clear()
        self._known[workflow_id] = found
        return found

    async def keep_signature(self, workflow_id: str, *, key_id: str, signature: bytes) -> None:
        """See WorkflowStore."""
        kept = {"id": workflow_id, "key_id": key_id, "signature": signature}
        await self._db.write(lambda tx: tx.change(self._sign, **kept))

    async def workflows(self) -> list[WorkflowVersion]:
        """The latest version of each workflow, by name."""
        return [rows.workflow_of(row) for row in await self._db.rows(self._newest_of_all)]

    async def changes_published(self) -> int:
        """How often a version was published, or an alias changed; it only grows."""
        row = await self._db.row(self._count)
        return 0 if row is None else int(row[0])

    async def offered_ids(self) -> Mapping[str, str]:
        """By name, the id of the version of each workflow that who names none gets."""
        return {row[0]: row[1] for row in await self._db.rows(self._offered_ids)}

    async def versions(self, name: str) -> list[WorkflowVersion]:
        """All versions of one workflow, newest first; empty for an unknown name."""
        return [rows.workflow_of(row) for row in await self._db.rows(self._all_of, name=name)]

    async def _publish(
        self, tx: Tx, plan: Plan, document: str, by: str, operations: str, signer: Signer | None
    ) -> tuple[WorkflowVersion, bool] | None:
        plan = plan if plan.digest else with_digest(plan)
        digest, text = plan.digest, plan_to_json(plan)
        latest = await tx.row(self._newest, name=plan.workflow)
        # Its text too: whoever changed a row may have left the digest as it was.
        if latest is not None and (latest[3], latest[4]) == (digest, text):
            known = rows.workflow_of(latest)
            if signer is None or is_signed_by(signer, known):
                return known, False
            if (known.document, known.operations) == (document, operations):
                return await self._signed(tx, known, signer), False
        row = await tx.row(
            self._insert, id=str(uuid_utils.uuid7()), name=plan.workflow, digest=digest, by=by,
            version=1 if latest is None else latest[2] + 1, plan=text,
            document=document, operations=operations or None,
        )  # fmt: skip
        if row is None:
            return None
        new = rows.workflow_of(row)
        return new if signer is None else await self._signed(tx, new, signer), True

    async def _signed(self, tx: Tx, version: WorkflowVersion, signer: Signer) -> WorkflowVersion:
        """With a signature over what stands in the row."""
        key_id, signature = signer.key_id, signer.sign(version.text())
        await tx.change(self._sign, id=version.id, key_id=key_id, signature=signature)
        return msgspec.structs.replace(version, key_id=key_id, signature=signature)

    async def _unknown(self, name: str, version: int | None) -> NotFound:
        known = {row[0]: row[1] for row in await self._db.rows(self._names)}
        if name in known:
            return not_found(f"version of workflow {name}", str(version), f"1 to {known[name]}")
        return unknown_workflow(name, list(known))
