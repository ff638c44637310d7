"""Compiled versions, and where their documents say that APIs are."""

from __future__ import annotations

from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.definitions.programs import Programs


def call(api: str, *, verify: Call | None = None) -> Call:
    template = {"kind": "http", "method": "GET", "path": "/", "baseUrl": f"https://{api}.example"}
    return Call(label=api, api=api, effects=Effects.NONE, template=template, verify=verify)


STEP = PlanStep(
    id="s", call=call("a", verify=call("b")),
    compensation=Compensation(call=call("c", verify=call("d"))),
)  # fmt: skip


async def load(workflow_id: str) -> Plan:
    return Plan(workflow=workflow_id, steps=(STEP,))


async def test_every_call_of_a_loaded_version_tells_where_its_api_is() -> None:
    programs = Programs(load)
    assert programs.base_url("a") is None
    await programs.get("w")
    found = {api: programs.base_url(api) for api in "abcde"}
    assert found == {**{api: f"https://{api}.example" for api in "abcd"}, "e": None}


async def test_a_version_is_compiled_once() -> None:
    programs = Programs(load)
    assert await programs.get("w") is await programs.get("w")
