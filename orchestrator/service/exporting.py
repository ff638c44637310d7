"""The audit for other systems: each record once, in three formats.

jsonl        one object a record, as it is kept, with its link in the chain
cloudevents  CloudEvents 1.0 in their JSON format, with the extension `sequence`
ocsf         API Activity (class 6003) of the Open Cybersecurity Schema Framework 1.6
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports.auditing import AuditStore, Covered

RUNS_AT_ONCE = 500

Line = Mapping[str, Any]


class ExportFormat(StrEnum):
    """How a record is written."""

    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"
    OCSF = "ocsf"


class Exporting:
    """Reads what checkpoints have come to cover."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    async def reach(self, since: int, *, until: int | None = None) -> int:
        """Up to which checkpoint there is something to read: the newest one, or `until` if that is
        older. Raises InvalidInput for a `since` that no checkpoint has."""
        last = await self._store.last_checkpoint()
        if not 0 <= since <= last:
            problem = Problem(
                place="since", found=str(since), wanted=f"the number of a checkpoint, 0 to {last}"
            )
            raise InvalidInput("there is no such checkpoint", problems=[problem])
        return last if until is None else max(since, min(until, last))

    async def lines(
        self, since: int, upto: int, form: ExportFormat, *, tenant: str | None = None
    ) -> AsyncIterator[Line]:
        """All records that the checkpoints after `since`, up to `upto`, cover, in order of these.

        With a tenant: of its runs alone; whose a run was that is gone is not known any more.
        """
        write = _FORMS[form]
        for number in range(since + 1, upto + 1):
            after: str | None = ""
            while after is not None:
                page, after = await self._store.covered(
                    number, after=after, most=RUNS_AT_ONCE, tenant=tenant
                )
                for record in page:
                    yield write(record)


# --- formats --------------------------------------------------------------------------------------


def _jsonl(record: Covered) -> Line:
    return {
        "run": record.run_id, "seq": record.seq, "at": record.at.isoformat(),
        "kind": record.kind, "actor": record.actor, "tenant": record.tenant,
        "workflow": record.workflow, "data": record.data,
        # Empty: it is linked together with the records that follow, see core/chain.
        "chain": None if record.chain is None else record.chain.hex(),
        "checkpoint": record.checkpoint,
    }  # fmt: skip


def _cloudevent(record: Covered) -> Line:
    told = {
        "specversion": "1.0", "id": f"{record.run_id}/{record.seq}", "source": "/orchestrator/runs",
        "type": f"orchestrator.{record.kind}", "subject": record.run_id,
        "time": record.at.isoformat(), "datacontenttype": "application/json",
        "sequence": f"{record.seq:010d}", "actor": record.actor, "tenant": record.tenant,
        "workflow": record.workflow, "checkpoint": record.checkpoint, "data": record.data,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}


_API_ACTIVITY, _APPLICATION = 6003, 6
_OTHER = 99
_ACTIVITIES = {"POST": 1, "GET": 2, "HEAD": 2, "PUT": 3, "PATCH": 3, "DELETE": 4}
_SUCCESS, _FAILURE, _UNKNOWN = 1, 2, 0
_STATUSES = {
    "landed": _SUCCESS,
    "resolved": _SUCCESS,
    "succeeded": _SUCCESS,
    "failed": _FAILURE,
    "escalated": _FAILURE,
    "abandoned": _FAILURE,
    "pending": _FAILURE,
}
_INFORMATIONAL, _MEDIUM = 1, 3
_GRAVE = frozenset({"failed", "unknown", "escalated", "abandoned"})


def _ocsf(record: Covered) -> Line:
    what = record.kind.rpartition(".")[2]
    call: Mapping[str, Any] = record.data.get("call", {})
    request: Mapping[str, Any] = call.get("request", record.data.get("request", {}))
    activity = _ACTIVITIES.get(request.get("method", ""), _OTHER)
    told: dict[str, Any] = {
        "category_uid": _APPLICATION, "class_uid": _API_ACTIVITY, "activity_id": activity,
        "type_uid": _API_ACTIVITY * 100 + activity, "time": _milliseconds(record.at),
        "severity_id": _MEDIUM if what in _GRAVE else _INFORMATIONAL,
        "status_id": _STATUSES.get(what, _UNKNOWN),
        "metadata": {
            "version": "1.6.0", "product": {"name": "orchestrator", "vendor_name": "orchestrator"},
            "uid": f"{record.run_id}/{record.seq}", "event_code": record.kind,
            "correlation_uid": record.run_id, "sequence": record.seq,
            **({} if record.tenant is None else {"tenant_uid": record.tenant}),
        },
        "actor": {"user": {"name": record.actor}},
        "api": {"operation": record.kind, "service": {"name": record.workflow or "orchestrator"}},
        "src_endpoint": {"name": "orchestrator"},
        "unmapped": {"data": record.data, "checkpoint": record.checkpoint},
    }  # fmt: skip
    if request:
        told["http_request"] = {
            "http_method": request["method"], "url": {"path": request["target"]}
        }  # fmt: skip
    if "status" in call:
        told["http_response"] = {"code": call["status"]}
    if "base" in call:
        told["dst_endpoint"] = {"name": call["base"]}
    return told


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


_FORMS: Mapping[ExportFormat, Callable[[Covered], Line]] = {
    ExportFormat.JSONL: _jsonl, ExportFormat.CLOUDEVENTS: _cloudevent, ExportFormat.OCSF: _ocsf,
}  # fmt: skip
