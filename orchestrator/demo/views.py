"""From the orchestrator's records of a run to what the demo compares and prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.core.states import HAPPENED, STUCK
from orchestrator.demo.reconcile import Record, RunView
from orchestrator.ports import EscalationRecord, RunRecord
from orchestrator.service.runs import ChainLink
from orchestrator.service.runs import RunView as FullRun

_RECORD = re.compile(r"/collections/([^/?]+)/records/([^/?]+)")


def brief_view(run: RunRecord) -> RunView:
    """Of a run that went through, or has not settled: its row says enough."""
    return RunView(
        run_id=run.id, status=run.status, started_at=run.started_at, settled_at=run.settled_at
    )


def full_view(
    full: FullRun, named: Callable[[EscalationRecord, str], frozenset[Record]]
) -> RunView:
    """Of a run that turned back: with the order of its links and what its escalation names."""
    letters = full.escalations
    failed = [link.step_id for link in full.forward if link.record.link.status in STUCK]
    return RunView(
        run_id=full.run.id,
        status=full.run.status,
        failed_at=failed[0] if failed else None,
        completed=_in_order(full.forward),
        undone=_in_order(full.backward),
        named=named(letters[-1], full.run.idempotency_key) if letters else frozenset(),
        started_at=full.run.started_at,
        settled_at=full.run.settled_at,
    )


def standing_records(escalation: EscalationRecord) -> frozenset[Record]:
    """The server's records that an escalation says are, or may be, still there."""
    named = [record_in(item.get("request")) for item in escalation.context["standing"]]
    if escalation.context["unknown"]:
        named.append(stuck_record(escalation))
    return frozenset(record for record in named if record is not None)


def stuck_record(escalation: EscalationRecord) -> Record | None:
    """The record that the stuck link is about."""
    stuck: Mapping[str, Any] = escalation.context.get("stuck") or {}
    request = stuck.get("request") or {}
    return record_in(request.get("target"))


def record_in(request: str | None) -> Record | None:
    """Collection and id in a request's method and target, or in its target alone."""
    found = _RECORD.search(request or "")
    if found is None or (request or "").startswith("GET "):  # reading leaves nothing behind
        return None
    return found[1], found[2]


def _in_order(links: Sequence[ChainLink]) -> tuple[str, ...]:
    happened = [link for link in links if link.record.link.status in HAPPENED]
    happened.sort(key=lambda link: link.sequence or 0)
    return tuple(link.step_id for link in happened)
