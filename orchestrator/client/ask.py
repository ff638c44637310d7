"""One function for each operation of the REST face: what to send, and the shape that comes back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import uuid_utils

from orchestrator.api import job_shapes, shapes
from orchestrator.client.requests import Request, only
from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus

T = TypeVar("T")
LONGEST_WAIT = 30.0
"""Seconds of one long poll; the server allows 60."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tagged(Generic[T]):
    """A thing with its entity tag, which a decision on it carries."""

    value: T
    tag: str


def me() -> Request[shapes.Me]:
    """Whom the key stands for."""
    return Request(method="GET", path="/v1/me", read=only(shapes.Me))


# --- workflows ------------------------------------------------------------------------------------


def workflow(name: str, *, version: int | None = None) -> Request[shapes.WorkflowDetail]:
    """One version, with its steps; the latest."""
    return Request(
        method="GET", path=f"/v1/workflows/{_safe(name)}", read=only(shapes.WorkflowDetail),
        params=_given(version=version),
    )  # fmt: skip


# --- runs -----------------------------------------------------------------------------------------


def submit(
    workflow: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    version: int | None = None,
    tenant: str | None = None,
    actor: str | None = None,
    priority: int = 0,
    deadline_seconds: float | None = None,
) -> Request[shapes.Submitted]:
    """Start a run. Without a key one is made, so that sending it again starts no second run."""
    wish = shapes.Submit(
        workflow=workflow, inputs=dict(inputs or {}), version=version, tenant=tenant, actor=actor,
        priority=priority, deadline_seconds=deadline_seconds,
    )  # fmt: skip
    return Request(
        method="POST", path="/v1/runs", read=only(shapes.Submitted),
        body=wish.model_dump(exclude_none=True),
        headers={"Idempotency-Key": key or str(uuid_utils.uuid7())},
    )  # fmt: skip


def submission(
    workflow: str, inputs: Mapping[str, Any] | None = None, *, key: str | None = None, **more: Any
) -> shapes.SubmitLine:
    """One of many runs, for `submit_many`. `more`: as `submit` takes it."""
    return shapes.SubmitLine(
        workflow=workflow, inputs=dict(inputs or {}),
        idempotency_key=key or str(uuid_utils.uuid7()), **more,
    )  # fmt: skip


def runs(
    *,
    status: Collection[RunStatus] = (),
    workflow: str | None = None,
    tenant: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Request[shapes.Page[shapes.RunSummary]]:
    """A page of runs, newest first."""
    return Request(
        method="GET", path="/v1/runs", read=only(shapes.Page[shapes.RunSummary]),
        params=_given(
            status=[str(each) for each in status] or None, workflow=workflow, tenant=tenant,
            since=_moment(since), until=_moment(until), cursor=cursor, limit=limit,
        ),
    )  # fmt: skip


def run(run_id: str, *, wait_seconds: float = 0.0) -> Request[shapes.RunDetail]:
    """One run; with a wait once it has settled, or as it is after these seconds (60 at most)."""
    return Request(
        method="GET", path=f"/v1/runs/{_safe(run_id)}", read=only(shapes.RunDetail),
        params=_given(wait=wait_seconds or None), waits_seconds=wait_seconds,
    )  # fmt: skip


def chain(run_id: str) -> Request[shapes.Chain]:
    """Its steps and undos, each with its attempts."""
    return Request(
        method="GET", path=f"/v1/runs/{_safe(run_id)}/chain", read=only(shapes.Chain)
    )  # fmt: skip


def audit(
    run_id: str, *, after: int = 0, limit: int = 1000
) -> Request[shapes.Page[shapes.AuditShape]]:
    """What happened to it, oldest first."""
    return Request(
        method="GET", path=f"/v1/runs/{_safe(run_id)}/audit",
        read=only(shapes.Page[shapes.AuditShape]), params={"after": after, "limit": limit},
    )  # fmt: skip


def cancel(
    run_id: str, *, reason: str, mode: CancelMode = CancelMode.UNDO
) -> Request[shapes.RunDetail]:
    """Ask for its end."""
    return Request(
        method="POST", path=f"/v1/runs/{_safe(run_id)}/cancel", read=only(shapes.RunDetail),
        body={"reason": reason, "mode": str(mode)}, repeatable=False,
    )  # fmt: skip


# --- escalations ----------------------------------------------------------------------------------


def escalations(
    *, state: str = "open", cursor: str | None = None, limit: int = 50, **where: Any
) -> Request[shapes.Page[shapes.EscalationShape]]:
    """A page of escalations. `where`: parameters as the REST face documents them."""
    return Request(
        method="GET", path="/v1/escalations", read=only(shapes.Page[shapes.EscalationShape]),
        params=_given(state=state, cursor=cursor, limit=limit, **where),
    )  # fmt: skip


def escalation(escalation_id: str) -> Request[Tagged[shapes.EscalationShape]]:
    """One, with the tag that a decision on it carries."""
    return Request(
        method="GET", path=f"/v1/escalations/{_safe(escalation_id)}",
        read=_tagged(only(shapes.EscalationShape)),
    )  # fmt: skip


def decide(
    escalation_id: str, act: str, *, reason: str, tag: str, **more: Any
) -> Request[shapes.Decided]:
    """`retry`, `resolve`, `skip` or `abandon`, on what was read with this tag."""
    return Request(
        method="POST", path=f"/v1/escalations/{_safe(escalation_id)}/{_safe(act)}",
        read=only(shapes.Decided), body={"reason": reason, **more}, headers={"If-Match": tag},
        repeatable=False,
    )  # fmt: skip


def job(job_id: str) -> Request[job_shapes.JobShape]:
    """An act on many things, and how far it has come."""
    return Request(method="GET", path=f"/v1/jobs/{_safe(job_id)}", read=only(job_shapes.JobShape))


# --------------------------------------------------------------------------------------------------


def after(request: Request[shapes.Page[T]], cursor: str) -> Request[shapes.Page[T]]:
    """The same list, from this cursor on."""
    name = "after" if "after" in request.params else "cursor"
    return replace(request, params={**request.params, name: cursor})


def _tagged(read: Callable[[httpx.Response], T]) -> Callable[[httpx.Response], Tagged[T]]:
    return lambda response: Tagged(value=read(response), tag=response.headers["etag"])


def _safe(part: str) -> str:
    """As one segment of a path, whatever is in it."""
    return quote(part, safe="")


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _given(**params: Any) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
