"""`GET /v1/tools`: what a program offers its model, and that it is what the caller may use."""

from __future__ import annotations

from orchestrator.client import ask
from orchestrator.definitions.agent_policies import policy_of
from orchestrator.ports import Agent, Role
from orchestrator.service.tools import tool_name
from tests.integration.api.conftest import INPUTS, WORKFLOW, Face
from tests.store.making import new_id


async def test_a_tool_is_called_and_runs_its_workflow_once(face: Face) -> None:
    key = await face.key(Role.SUBMITTER, tenant="acme", name="bot")
    async with face.client(key) as http:
        request = ask.tools("anthropic", question="take payments", limit=5)
        answer = await http.get(request.path, params=request.params)
        found = request.read(answer)
        assert WORKFLOW in found.workflows.values()
        called = {"name": tool_name(WORKFLOW), "input": INPUTS, "id": f"toolu_{new_id()}"}
        (tool,) = [each for each in found.tools if each["name"] == called["name"]]
        assert set(INPUTS) <= set(tool["input_schema"]["properties"])
        wish = {"workflow": found.workflows[str(called["name"])], "inputs": called["input"]}
        headers = {"Idempotency-Key": str(called["id"])}
        runs = [await http.post("/v1/runs", json=wish, headers=headers) for _ in range(2)]
        assert len({each.json()["run_id"] for each in runs}) == 1


async def test_who_may_not_use_a_workflow_is_not_offered_it(face: Face) -> None:
    await face.services.policies.set(
        Agent("acme", "bot"), policy_of({"deny": [WORKFLOW]}, "policy"), by="ada", reason="x"
    )
    for name, offered in (("bot", False), ("other", True)):
        key = await face.key(Role.SUBMITTER, tenant="acme", name=name)
        async with face.client(key) as http:
            found = (await http.get("/v1/tools")).json()
            assert (WORKFLOW in found["workflows"].values()) is offered
            assert len(found["tools"]) == len(found["workflows"])
    await face.services.policies.stop(Agent("acme", "bot"), by="ada", reason="mad")
    key = await face.key(Role.SUBMITTER, tenant="acme", name="bot")
    async with face.client(key) as http:
        assert (await http.get("/v1/tools")).status_code == 403
