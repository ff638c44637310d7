"""What `ask` has for the audit of many runs."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from orchestrator.api.audit import REACHED
from orchestrator.api.story_shapes import ErasedShape, StoryShape, TogetherShape
from orchestrator.client.making import act, given, look
from orchestrator.client.requests import Request
from orchestrator.service.exporting import ExportFormat


def story(run_id: str) -> Request[StoryShape]:
    """What happened to it in plain words, with evidence."""
    return look(StoryShape, "runs", run_id, "story")


def stories(
    attributes: Mapping[str, str], *, tenant: str | None = None, limit: int | None = None
) -> Request[TogetherShape]:
    """The stories of the newest runs with these attributes, and what was done in them twice."""
    pairs = [f"{name}={value}" for name, value in attributes.items()]
    return look(TogetherShape, "stories", attribute=pairs, tenant=tenant, limit=limit)


def erase(run_id: str, *, reason: str) -> Request[ErasedShape]:
    """Take away the payloads of a run that has ended, for good."""
    return act(ErasedShape, "runs", run_id, "erase", reason=reason)


def erase_runs(
    attributes: Mapping[str, str], *, reason: str, tenant: str | None = None
) -> Request[ErasedShape]:
    """The same of the newest 200 ended runs with these attributes; `more` says: ask again."""
    body = {"attributes": dict(attributes), "reason": reason}
    return act(ErasedShape, "runs:erase", **body, **given(tenant=tenant))


def export(
    since: int = 0,
    *,
    until: int | None = None,
    form: ExportFormat = ExportFormat.JSONL,
    tenant: str | None = None,
) -> Request[int]:
    """The audit after checkpoint `since`, for `Client.export`; its value is how far it goes."""
    return Request(
        method="GET", path="/v1/audit", read=_reached,
        params=given(since=since, until=until, format=str(form), tenant=tenant),
    )  # fmt: skip


def _reached(response: httpx.Response) -> int:
    return int(response.headers[REACHED])
