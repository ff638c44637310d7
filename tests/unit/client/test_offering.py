"""What all adapters of agent frameworks share, before a server that is played."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from orchestrator.client import Client
from orchestrator.client.offering import REFUSALS, STATUS, Offer, Offering
from orchestrator.core.retry import RetryPolicy
from orchestrator.core.states import Direction, RunStatus
from orchestrator.errors import InvalidInput, Unavailable

RUN = "01939c5e-7f2a-7c11-9f4e-0c2f5a1b9d10"
AT = "2026-11-29T12:00:00Z"
SCHEMA = {"type": "object", "properties": {"amount": {"type": "integer"}}}
OUT_OF_REACH = RetryPolicy(max_attempts=1)


class Server:
    """Answers as the REST face does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.run: dict[str, Any] = {"status": RunStatus.SUCCEEDED, "outputs": {"id": 7}}
        self.waits: list[dict[str, Any]] = []
        self.submitted: list[httpx.Request] = []
        self.refusal: httpx.Response | None = None

    def offering(self, **options: Any) -> Offering:
        client = Client(
            "http://orchestrator.example", policy=OUT_OF_REACH,
            transport=httpx.MockTransport(self._answer),
        )  # fmt: skip
        return Offering(client, **options)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/v1/tools":
            tools = [
                {"name": name, "title": name, "description": f"Does {name}.", "inputSchema": SCHEMA}
                for name in ("order", STATUS)
            ]
            workflows = {"order": "order.eu", STATUS: STATUS}
            return httpx.Response(200, json={"tools": tools, "workflows": workflows})
        if path == "/v1/runs":
            self.submitted.append(request)
            if self.refusal is not None:
                return self.refusal
            seen = [each.headers["idempotency-key"] for each in self.submitted]
            answer = {"run_id": RUN, "repeated": seen.count(seen[-1]) > 1}
            return httpx.Response(202, json=answer)
        if path.endswith("/waits"):
            return httpx.Response(200, json={"items": self.waits, "next": None})
        return httpx.Response(200, json=_detail(**self.run))


def _detail(**changes: Any) -> dict[str, Any]:
    return {
        "id": RUN, "workflow": "order.eu", "version": 1, "tenant": "acme", "actor": "bot",
        "lane": "default", "priority": 0, "status": "succeeded", "direction": Direction.FORWARD,
        "cause": "", "idempotency_key": "k", "cancel": None, "owner": None, "created_at": AT,
        "started_at": AT, "settled_at": AT, "wake_at": None, "deadline_at": None, "audit_seq": 3,
        "inputs": {}, "outputs": None, **changes,
    }  # fmt: skip


def _order(offering: Offering) -> Offer:
    return offering.offers("an order")[0]


def test_each_workflow_is_a_tool_and_one_more_tells_of_runs() -> None:
    offers = Server().offering().offers()
    assert [(each.name, each.workflow) for each in offers] == [
        ("order", "order.eu"), (STATUS, None),
    ]  # fmt: skip
    assert offers[0].inputs == SCHEMA


def test_the_call_is_the_wish_so_the_same_one_twice_is_one_run() -> None:
    server = Server()
    offering = server.offering(scope="talk-1")
    told = [
        json.loads(offering.call(_order(offering), {"amount": 1}, call_id="c1")) for _ in range(2)
    ]
    assert [each.get("repeated", False) for each in told] == [False, True]
    assert told[0] == {"run": RUN, "status": "succeeded", "meaning": "Done.", "outputs": {"id": 7}}
    keys = [each.headers["idempotency-key"] for each in server.submitted]
    assert keys == ["talk-1:c1", "talk-1:c1"]
    assert json.loads(server.submitted[0].content)["workflow"] == "order.eu"


def test_calls_without_an_id_are_wishes_of_their_own() -> None:
    server = Server()
    offering = server.offering(scope="talk-1")
    for _ in range(2):
        offering.call(_order(offering), {}, call_id=None)
    keys = {each.headers["idempotency-key"] for each in server.submitted}
    assert len(keys) == 2


def test_large_outputs_are_left_out_by_name() -> None:
    server = Server()
    server.run["outputs"] = {"id": 7, "report": "x" * 5000}
    offering = server.offering()
    told = json.loads(offering.call(_order(offering), {}, call_id="c"))
    assert (told["outputs"], told["left_out"]) == ({"id": 7}, ["/report"])


def test_who_is_waited_for_is_told_at_once() -> None:
    server = Server()
    server.run = {"status": RunStatus.WAITING, "settled_at": None}
    server.waits = [{
        "id": RUN, "run_id": RUN, "step_id": "ask", "attempt": 1, "asks": "approval",
        "signal": None, "opened_at": AT, "expires_at": None, "reminders": 0, "closed_at": None,
        "outcome": None, "answer": None, "closed_by": None, "via": None,
    }]  # fmt: skip
    offering = server.offering(wait_seconds=600)
    told = json.loads(offering.call(_order(offering), {}, call_id="c"))
    assert told["meaning"].startswith("Waiting for a person to approve.")
    looked = offering.call(offering.offers()[-1], {"run": RUN}, call_id="d")
    assert json.loads(looked)["status"] == "waiting"
    assert len(server.submitted) == 1


def test_what_failed_says_what_to_do_with_these_tools() -> None:
    server = Server()
    server.run = {"status": RunStatus.COMPENSATED, "cause": "card declined"}
    offering = server.offering()
    told = json.loads(offering.call(_order(offering), {}, call_id="c"))
    assert told["meaning"].endswith("call the tool again. Cause: card declined")


def test_refusals_are_for_the_model_and_doubt_is_for_the_program() -> None:
    server = Server()
    offering = server.offering()
    order = _order(offering)
    problem = {
        "type": "urn:orchestrator:invalid-input", "title": "inputs", "status": 422,
        "detail": "amount: found x",
    }  # fmt: skip
    server.refusal = httpx.Response(
        422, json=problem, headers={"content-type": "application/problem+json"}
    )
    with pytest.raises(InvalidInput) as refused:
        offering.call(order, {"amount": "x"}, call_id="c")
    assert isinstance(refused.value, REFUSALS)
    server.refusal = httpx.Response(503)
    with pytest.raises(Unavailable) as doubtful:
        offering.call(order, {}, call_id="c")
    assert not isinstance(doubtful.value, REFUSALS)
