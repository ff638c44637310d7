"""Published workflow versions."""

from __future__ import annotations

from hashlib import sha256
from uuid import NAMESPACE_OID, uuid5

import msgspec

from orchestrator.core.joining import ids_in
from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import plan_to_json, with_digest
from orchestrator.errors import NotFound
from orchestrator.ports import WorkflowVersion
from orchestrator.ports.records import joined_version
from orchestrator.ports.vouching import Signer
from orchestrator.store.codec import storable
from orchestrator.store.workflows import is_signed_by
from orchestrator.testing.memory.records import blank_steps, not_found
from orchestrator.testing.memory.tables import MemoryDatabase

MOST_NAMES_SHOWN = 20


def publish(
    database: MemoryDatabase, plan: Plan, *, document: str, by: str, operations: str,
    signer: Signer | None,
) -> tuple[WorkflowVersion, bool]:  # fmt: skip
    """The next version, or the latest when it has the same plan, with False."""
    plan = plan if plan.digest else with_digest(plan)
    known = database.versions.setdefault(plan.workflow, [])
    if known and known[-1].plan.digest == plan.digest:
        latest = known[-1]
        if signer is None or is_signed_by(signer, latest):
            return latest, False
        texts = (storable(document), storable(operations))
        if (latest.document, latest.operations) == texts:
            return _signed(database, latest, signer), False
    number = len(known) + 1
    version = WorkflowVersion(
        # The same in every process that publishes the same.
        id=str(uuid5(NAMESPACE_OID, f"{plan.workflow}/{number}/{plan.digest}")),
        workflow=plan.workflow, version=number, plan=plan, document=storable(document),
        published_at=database.clock(), published_by=storable(by),
        operations=storable(operations),
        plan_digest=sha256(plan_to_json(plan).encode()).hexdigest(),
    )  # fmt: skip
    known.append(version)
    database.version_by_id[version.id] = version
    database.blank_steps[version.id] = blank_steps(plan)
    return version if signer is None else _signed(database, version, signer), True


def keep_signature(
    database: MemoryDatabase, workflow_id: str, *, key_id: str, signature: bytes
) -> WorkflowVersion:
    """The version with this signature in place of one that it has."""
    known = database.version_by_id[workflow_id]
    signed = msgspec.structs.replace(known, key_id=key_id, signature=signature)
    database.version_by_id[workflow_id] = signed
    database.versions[known.workflow][known.version - 1] = signed
    return signed


def _signed(database: MemoryDatabase, version: WorkflowVersion, signer: Signer) -> WorkflowVersion:
    signature = signer.sign(version.text())
    return keep_signature(database, version.id, key_id=signer.key_id, signature=signature)


def workflow(database: MemoryDatabase, name: str, number: int | None) -> WorkflowVersion:
    """A version, or the latest. Raises NotFound that names what exists."""
    known = database.versions.get(name, [])
    if not known:
        raise _unknown(database, name)
    if number is None:
        return known[-1]
    if not 1 <= number <= len(known):
        raise not_found(f"version of workflow {name}", str(number), f"1 to {len(known)}")
    return known[number - 1]


def workflow_by_id(database: MemoryDatabase, workflow_id: str) -> WorkflowVersion:
    """Raises NotFound."""
    found = database.version_by_id.get(workflow_id)
    ids = ids_in(workflow_id)
    if found is None and len(ids) > 1:
        found = joined_version([workflow_by_id(database, each) for each in ids])
        database.version_by_id[workflow_id] = found
        database.blank_steps[workflow_id] = blank_steps(found.plan)
    if found is None:
        raise not_found("workflow version", workflow_id, "the id of a published version")
    return found


def _unknown(database: MemoryDatabase, name: str) -> NotFound:
    known = sorted(database.versions)
    names = ", ".join(known[:MOST_NAMES_SHOWN]) or "nothing is published yet"
    more = len(known) - MOST_NAMES_SHOWN
    return not_found("workflow", name, f"{names} and {more} more" if more > 0 else names)
