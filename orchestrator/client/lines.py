"""Many submissions as lines of JSON, and the lines that answer them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from orchestrator.api import shapes
from orchestrator.client.requests import Request
from orchestrator.errors import Unavailable

BATCH = 1000
"""Of one request: the server reads so many before it answers, so neither waits for the other."""
_MEDIA_TYPE = "application/x-ndjson"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What became of one submission, counted from 0: a run, or the problem document."""

    line: int
    submitted: shapes.Submitted | None = None
    problem: dict[str, Any] | None = None


def request(batch: Sequence[shapes.SubmitLine], first: int) -> Request[list[Answer]]:
    """Submit these. It may be repeated, since each has its key. Raises ValueError without one."""
    if any(each.idempotency_key is None for each in batch):
        raise ValueError("each submission wants an idempotency_key: see ask.submission")
    body = b"".join(each.model_dump_json(exclude_none=True).encode() + b"\n" for each in batch)

    def read(response: httpx.Response) -> list[Answer]:
        found = [_answer(orjson.loads(line), first) for line in response.content.splitlines()]
        if len(found) != len(batch):
            where = str(response.request.url)
            why = f"{len(found)} of {len(batch)} lines were answered; send all again"
            raise Unavailable("orchestrator", where, why)
        return found

    return Request(
        method="POST", path="/v1/runs:bulk", read=read, body=body,
        headers={"content-type": _MEDIA_TYPE},
    )  # fmt: skip


def _answer(line: dict[str, Any], first: int) -> Answer:
    number = first + line["line"] - 1
    if "problem" in line:
        return Answer(line=number, problem=line["problem"])
    made = shapes.Submitted(run_id=line["run_id"], repeated=line["repeated"])
    return Answer(line=number, submitted=made)
