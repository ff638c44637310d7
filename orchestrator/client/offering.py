"""Workflows as tools of an agent framework: what all adapters share.

Each workflow is a tool whose arguments are its inputs; one more tool tells how a run stands. The
id of the model's call is the idempotency key, so a call that is handled twice runs once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import uuid_utils

from orchestrator.api.shapes import RunDetail
from orchestrator.api.wait_shapes import WaitShape
from orchestrator.client import ask
from orchestrator.client.clients import Client
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.errors import Overloaded, RefusedError
from orchestrator.ports import Asks
from orchestrator.ports.waiting import said_of
from orchestrator.service.projection import project
from orchestrator.service.standing import Ways, meaning_of

STATUS = "run_status"
"""The tool that tells of a run; a workflow of this name is not offered."""
WAIT_SECONDS = 60.0
MOST_OUTPUT_BYTES = 2048
REFUSALS = (RefusedError, Overloaded)
"""Errors that nothing has come of, which the model is told; others are the program's."""

_SLICE_SECONDS = 5.0  # of a wait, after which is looked whether a person is asked
_ASK = "call run_status for this run"
_WAYS = Ways(ask=_ASK, begin="call the tool again")
_STANDS_STILL = frozenset({RunStatus.WAITING, RunStatus.PAUSED})
_STATUS_INPUTS: Mapping[str, Any] = {
    "type": "object",
    "properties": {"run": {"type": "string", "description": "The run, as its tool gave it."}},
    "required": ["run"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """One tool."""

    name: str
    description: str
    inputs: dict[str, Any]  # JSON Schema of its arguments
    workflow: str | None  # None: it tells of a run


class Offering:
    """The tools of one agent. Waits in the caller's thread.

    `scope` goes before each call's id in the idempotency key, for models whose ids are not unique:
    the conversation's id, say. `wait_seconds`: how long a call waits for the end of its run, 0 for
    not at all. Of outputs of more than `most_output_bytes` together the largest are left out.
    """

    def __init__(
        self, client: Client, *, scope: str = "", tenant: str | None = None,
        wait_seconds: float = WAIT_SECONDS, most_output_bytes: int = MOST_OUTPUT_BYTES,
    ) -> None:  # fmt: skip
        self._client, self._scope, self._tenant = client, scope, tenant
        self._seconds, self._most_bytes = wait_seconds, most_output_bytes

    def offers(self, question: str = "", *, limit: int = 20) -> list[Offer]:
        """Those that fit a question, the best first, and the one that tells of runs.

        Raises an error of `orchestrator.errors`.
        """
        found = self._client(ask.tools("mcp", question=question, limit=limit, tenant=self._tenant))
        offers = [
            Offer(
                name=tool["name"], description=tool["description"], inputs=tool["inputSchema"],
                workflow=found.workflows[tool["name"]],
            )
            for tool in found.tools if tool["name"] != STATUS
        ]  # fmt: skip
        return [*offers, _tells_of_runs()]

    def call(self, offer: Offer, arguments: Mapping[str, Any], *, call_id: str | None) -> str:
        """Do what a model has called for; how the run stands, as JSON.

        Without the id of the call each one is a new wish. Raises REFUSALS, which a model can be
        told; and Unavailable where it is not known whether the run has begun: the same call with
        the same id is safe.
        """
        if offer.workflow is None:
            return self._told(str(arguments.get("run", "")), repeated=False)
        key = f"{self._scope}:{call_id}" if self._scope and call_id else call_id
        made = self._client(ask.submit(
            offer.workflow, arguments, key=key or str(uuid_utils.uuid7()), tenant=self._tenant
        ))  # fmt: skip
        return self._told(made.run_id, repeated=made.repeated)

    def _told(self, run_id: str, *, repeated: bool) -> str:
        run, wait = self._waited(run_id)
        told: dict[str, Any] = {"run": run.id, "status": run.status.value}
        told["meaning"] = meaning_of(run.status, run.cause, _WAYS)
        if wait is not None:
            told["meaning"] = _waiting(wait)
        if run.status is RunStatus.SUCCEEDED:
            shown = project(run.outputs or {}, self._most_bytes)
            told["outputs"] = shown.kept
            if shown.left_out:
                told["left_out"] = [each.path for each in shown.left_out]
        if repeated:
            told["repeated"] = True
        return json.dumps(told, ensure_ascii=False)

    def _waited(self, run_id: str) -> tuple[RunDetail, WaitShape | None]:
        """Until it has settled, waits for somebody outside, or the time is over."""
        until = time.monotonic() + self._seconds
        while True:
            left = max(0.0, until - time.monotonic())
            run = self._client(ask.run(run_id, wait_seconds=min(left, _SLICE_SECONDS)))
            if run.status in SETTLED:
                return run, None
            wait = self._open_wait(run) if run.status in _STANDS_STILL else None
            if wait is not None or left <= 0:
                return run, wait

    def _open_wait(self, run: RunDetail) -> WaitShape | None:
        waits = self._client(ask.waits(run.id)).items
        return next((each for each in waits if each.outcome is None), None)


def _waiting(wait: WaitShape) -> str:
    if wait.asks is Asks.SLEEP:
        return f"Asleep until {wait.expires_at}, then it goes on by itself; after that {_ASK}."
    who = said_of(wait.asks, wait.signal)
    return f"Waiting for {who}. Tell whom you work for; later {_ASK}."


def _tells_of_runs() -> Offer:
    return Offer(
        name=STATUS, workflow=None, inputs=dict(_STATUS_INPUTS),
        description="How a run of a workflow stands, and what it gave when it has succeeded.",
    )  # fmt: skip
