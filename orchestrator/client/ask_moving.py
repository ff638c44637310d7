"""Operations of the REST face about runs that go on by another version; `ask` has them as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.api import moving_shapes, shapes
from orchestrator.client.making import act, given, look
from orchestrator.client.requests import Request


def migration(
    run_id: str, to: int, *, step: str | None = None
) -> Request[moving_shapes.MigrationShape]:
    """What going on by another version would be for a waiting run."""
    return look(moving_shapes.MigrationShape, "runs", run_id, "migration", to=to, step=step)


def migrate(
    run_id: str, to: int, *, reason: str, step: str | None = None
) -> Request[shapes.RunDetail]:
    """Have a waiting run go on by another version, at the step at which it waits or another."""
    wish = given(to=to, step=step, reason=reason)
    return act(shapes.RunDetail, "runs", run_id, "migrate", **wish)


def rerun_look(
    run_id: str, step: str, *, version: int | None = None, repeat_effects: bool = False
) -> Request[moving_shapes.RerunLookShape]:
    """What a new run from a step on would take over and do."""
    return look(
        moving_shapes.RerunLookShape, "runs", run_id, "rerun", step=step, version=version,
        repeat_effects=repeat_effects or None,
    )  # fmt: skip


def check_runs(
    act_: str, where: Mapping[str, Any], **more: Any
) -> Request[moving_shapes.CheckedShape]:
    """Try `migrate` or `rerun` on all runs that fit. `more`: as `act_on_runs` takes it."""
    wish = {"act": act_, "where": dict(where), **given(**more)}
    return replace(act(moving_shapes.CheckedShape, "runs:check", **wish), repeatable=True)
