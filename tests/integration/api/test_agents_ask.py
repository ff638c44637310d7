"""Approvals that the person whom an agent works for may decide, through its own program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult, TextContent

from orchestrator.core.states import RunStatus
from orchestrator.definitions.agent_policies import policy_of
from orchestrator.mcp.callers import the_same
from orchestrator.mcp.server import make_server
from orchestrator.ports import Agent, WaitOutcome, WaitRecord
from orchestrator.service.agents import Actor
from tests.integration.api.conftest import Face

BOT = Actor(name="bot-1", tenant="acme")
ASKED = {"message": "Pay 300?", "show": {"to": "Ada", "large": "x" * 5000}, "requester": True}
YES, NO = {"approve": True}, {"approve": False, "reason": "too dear"}
MODES: Sequence[Literal["legacy", "auto"]] = ("legacy", "auto")


class Person:
    """Answers each question in the same way, and remembers them."""

    def __init__(self, action: Literal["accept", "decline", "cancel"], content: Any = None) -> None:
        self.asked: list[str] = []
        self._answer = ElicitResult(action=action, content=content)

    async def __call__(
        self, context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult:
        self.asked.append(params.message)
        return self._answer


async def status_of(
    face: Face, wait: WaitRecord, mode: Literal["legacy", "auto"], person: Person | None
) -> Any:
    server = make_server(face.services.agents, the_same(BOT), version="1.0")
    async with Client(server, mode=mode, elicitation_callback=person) as client:
        result = await client.call_tool("status", {"run": wait.run_id})
        if result.is_error:
            (content,) = result.content
            assert isinstance(content, TextContent)
            return content.text
        return result.structured_content


async def decided(face: Face, wait: WaitRecord) -> WaitRecord:
    return await face.services.waiting.approval(wait.id)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("said", "outcome"), [(YES, WaitOutcome.APPROVED), (NO, WaitOutcome.REJECTED)]
)
async def test_the_person_behind_an_agent_decides(
    face: Face, mode: Literal["legacy", "auto"], said: dict[str, Any], outcome: WaitOutcome
) -> None:
    wait = await face.asking(asked=ASKED, tenant="acme", actor="bot-1")
    person = Person("accept", said)
    await status_of(face, wait, mode, person)
    assert person.asked == ["Pay 300?\nto: Ada"], "once, without what is large"
    found = await decided(face, wait)
    assert (found.outcome, found.closed_by, found.via) == (outcome, "bot-1", "agent")
    assert (found.answer or {}).get("reason", "") == said.get("reason", "")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_who_does_not_decide_leaves_it_to_others(
    face: Face, mode: Literal["legacy", "auto"], action: Literal["decline", "cancel"]
) -> None:
    wait = await face.asking(asked=ASKED, tenant="acme", actor="bot-1")
    person = Person(action)
    found = await status_of(face, wait, mode, person)
    assert len(person.asked) == 1
    assert (await decided(face, wait)).is_open
    assert found["approval"]["id"] == wait.id
    assert found["meaning"].startswith("Waiting for a person to approve.")


@pytest.mark.parametrize(("asked", "actor"), [({"message": "pay?"}, "bot-1"), (ASKED, "another")])
async def test_what_is_not_theirs_to_decide_is_not_decided_so(
    face: Face, asked: dict[str, Any], actor: str
) -> None:
    wait = await face.asking(asked=asked, tenant="acme", actor=actor)
    person = Person("accept", YES)
    found = await status_of(face, wait, "auto", person)
    assert (await decided(face, wait)).is_open
    if actor == BOT.name:
        assert person.asked == []
        assert found["approval"] == {
            "id": wait.id, "message": "pay?", "roles": ["approver"],
            "page": f"http://localhost/console/approvals/{wait.id}",
        }  # fmt: skip
    else:
        assert "this is for others to decide" in found


async def test_a_client_that_cannot_ask_is_told_where_it_is_decided(face: Face) -> None:
    wait = await face.asking(asked=ASKED, tenant="acme", actor="bot-1")
    found = await status_of(face, wait, "auto", None)
    assert found["approval"]["page"].endswith(wait.id)
    assert found["approval"]["show"] == {"to": "Ada"}
    assert "Tell whom you work for" in found["meaning"]
    assert (await decided(face, wait)).is_open


@pytest.mark.parametrize("mode", MODES)
async def test_an_answer_that_is_none_decides_nothing(
    face: Face, mode: Literal["legacy", "auto"]
) -> None:
    wait = await face.asking(asked=ASKED, tenant="acme", actor="bot-1")
    found = await status_of(face, wait, mode, Person("accept", {"approve": "perhaps"}))
    assert isinstance(found, str)
    assert (await decided(face, wait)).is_open


@pytest.mark.parametrize(
    ("said", "status"),
    [(YES, RunStatus.RUNNING), (NO, RunStatus.RUNNING), (None, RunStatus.PAUSED)],
)
async def test_a_policy_may_let_whom_an_agent_works_for_decide_before_the_run_begins(
    face: Face, said: dict[str, Any] | None, status: RunStatus
) -> None:
    agent = Agent("acme", BOT.name)
    rules = {"approve": {"above": ["0 EUR"], "requester": said is not None}}
    await face.services.policies.set(agent, policy_of(rules, "test"), by="ada", reason="x")
    run_id = await face.guarded(agent, amount=5_000_000)
    person = Person("accept", said or YES)
    found = await status_of(face, await face.services.waiting.approval(run_id), "auto", person)
    assert len(person.asked) == (said is not None)
    assert found["status"] == status
    wait = await face.services.waiting.approval(run_id)
    assert wait.via == (None if said is None else "agent")
    kinds = [each.kind for each in await face.store.audit(run_id)]
    assert ("run.cancel_requested" in kinds) is (said is NO)
