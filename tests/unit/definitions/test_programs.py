"""Compiled versions, and where their documents say that APIs are."""

from __future__ import annotations

import pytest

from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Untrusted


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


async def test_what_may_not_be_run_is_looked_at_and_says_of_no_api_where_it_is() -> None:
    async def refuse(workflow_id: str) -> Plan:
        raise Untrusted("it was changed")

    programs = Programs(refuse, look=load)
    assert (await programs.get("w")).plan.workflow == "w"
    assert [programs.base_url(api) for api in "abcd"] == [None] * 4
    for asked in (programs.trusted("w"), programs.of_run("w", {}), Programs(refuse).get("w")):
        with pytest.raises(Untrusted):
            await asked


async def test_a_version_that_was_mended_is_run_again() -> None:
    changed = True

    async def load_now(workflow_id: str) -> Plan:
        if changed:
            raise Untrusted("it was changed")
        return await load(workflow_id)

    programs = Programs(load_now, look=load)
    await programs.get("w")
    changed = False
    assert (await programs.trusted("w")).plan.workflow == "w"
