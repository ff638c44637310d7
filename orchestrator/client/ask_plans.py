"""What a run would do: dry runs over REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api.plan_shapes import DryRunShape, DryRunWish
from orchestrator.client.requests import Request, only
from orchestrator.ports.dry_runs import Mode


def plan_run(
    workflow: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    mode: Mode = Mode.DRY_RUN,
    fail_at: str | None = None,
    recorded: str | None = None,
    version: int | None = None,
    tenant: str | None = None,
    actor: str | None = None,
) -> Request[DryRunShape]:
    """What a run would send, and what would undo it; nothing is kept, and nothing done.

    With `Mode.SIMULATE` it is played to its end, `fail_at` a step that is refused, with the answers
    of the run `recorded` or made-up ones. With `Mode.READS` what only reads is asked, where the
    deployment lets dry runs read.
    """
    wish = DryRunWish(
        workflow=workflow, inputs=dict(inputs or {}), version=version, tenant=tenant, actor=actor,
        mode=mode, fail_at=fail_at, recorded=recorded,
    )  # fmt: skip
    return Request(
        method="POST", path="/v1/runs:plan", read=only(DryRunShape),
        body=wish.model_dump(mode="json", exclude_none=True),
    )  # fmt: skip
