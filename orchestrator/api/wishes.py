"""From a wish for a run to what the services take."""

from __future__ import annotations

from orchestrator.api import shapes
from orchestrator.service.principal import Principal
from orchestrator.service.submitting import Submission

DEFAULT_TENANT = "default"


def submission_of(
    wish: shapes.Submit, who: Principal, key: str | None, traceparent: str | None = None,
    tracestate: str | None = None,
) -> Submission:  # fmt: skip
    """The wish as the services take it, in the name of who asks. Raises NotAllowed."""
    tenant = who.tenant_of(wish.tenant) or DEFAULT_TENANT
    return Submission(
        workflow=wish.workflow, inputs=wish.inputs, version=wish.version, idempotency_key=key,
        tenant=tenant, actor=f"{wish.actor} via {who.name}" if wish.actor else who.name,
        known_as=who.name, priority=wish.priority, deadline_seconds=wish.deadline_seconds,
        attributes=wish.attributes,
        traceparent=traceparent,
        tracestate=tracestate,
    )  # fmt: skip
