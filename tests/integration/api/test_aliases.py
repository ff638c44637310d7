"""Aliases of versions over REST, by the client, by commands and agents, and in schedules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cli import workflows
from orchestrator.client import AsyncClient, ask
from orchestrator.core.plan_json import with_digest
from orchestrator.core.schedules import Rhythm, Schedule
from orchestrator.errors import InvalidInput, NotAllowed, NotFound
from orchestrator.ports import Role
from orchestrator.ports.dry_runs import Mode
from orchestrator.service.agents import Actor
from orchestrator.service.looking import Looks
from orchestrator.service.submitting import Submission
from tests.integration.api.conftest import INPUTS, Face
from tests.integration.api.test_client import client
from tests.integration.api.test_commands_elsewhere import address, commands

__all__ = ["address", "client"]


@pytest.fixture
async def workflow(face: Face) -> str:
    """Of two versions."""
    for title in ("one", "two"):
        plan = replace(face.version.plan, workflow="aliased", title=title, digest="")
        await face.store.publish(with_digest(plan), document="", by="root")
    return "aliased"


async def test_who_names_no_version_gets_stable_and_a_share_the_canary(
    face: Face, client: AsyncClient, workflow: str
) -> None:
    await client(ask.set_alias(workflow, "stable", 1, reason="proven"))
    found = await client(ask.set_alias(workflow, "canary", 2, share=100))
    assert [(each.alias, each.version, each.share) for each in found.aliases] == [
        ("canary", 2, 100.0), ("stable", 1, 0.0),
    ]  # fmt: skip

    async def begun(asked: str) -> tuple[int, str | None]:
        answer = await client(ask.submit(asked, INPUTS))
        run = await client(ask.run(answer.run_id))
        return run.version, run.alias

    assert await begun(workflow) == (2, "canary")
    assert await begun("aliased@1") == (1, None)
    found = await client(ask.remove_alias(workflow, "canary", reason="slow"))
    assert [(each.alias, each.version, each.by) for each in found.changes] == [
        ("canary", None, "ada"), ("canary", 2, "ada"), ("stable", 1, "ada"),
    ]  # fmt: skip
    assert await begun(workflow) == (1, "stable")
    told = await client(ask.story((await client(ask.submit(workflow, INPUTS))).run_id))
    assert "version 1 (its alias stable)" in told.story[0].text


async def test_an_alias_names_what_there_is(client: AsyncClient, workflow: str) -> None:
    with pytest.raises(NotFound) as refused:
        await client(ask.set_alias(workflow, "stable", 9))
    assert "alias stable of workflow aliased: found version 9; wanted 1 to 2" in str(refused.value)
    with pytest.raises(NotFound, match="there is no aliased@beta"):
        await client(ask.submit("aliased@beta", INPUTS))
    with pytest.raises(InvalidInput, match="canary alone takes a share"):
        await client(ask.set_alias(workflow, "stable", 1, share=10))
    assert (await client(ask.aliases(workflow))).changes == []


async def test_by_command_from_elsewhere(face: Face, address: str, workflow: str) -> None:
    operator = commands(address, await face.key(Role.OPERATOR))
    told = await operator(workflows.app, "alias", "set", workflow, "canary", "2", "--share", "10")
    assert told["aliases"][0]["version"] == 2
    drawn = await operator(workflows.app, "alias", "list", workflow, drawn=True)
    assert "who names no version gets v2, the latest; 10 % of these runs get v2" in drawn
    told = await operator(workflows.app, "alias", "remove", workflow, "canary")
    assert told["aliases"] == []
    bound = commands(address, await face.key(Role.OPERATOR, tenant="acme"))
    with pytest.raises(NotAllowed, match="all tenants"):
        await bound(workflows.app, "alias", "set", workflow, "stable", "1")


async def test_agents_schedules_and_dry_runs_go_by_aliases(face: Face, workflow: str) -> None:
    services = face.services
    await services.aliases.set(workflow, "stable", 1, by="bob")
    actor, looks = Actor(name="bot", allowed=("alia*",)), Looks()

    async def version_of(run: str) -> int:
        return (await services.runs.get(run)).version

    described = await services.agents.describe("aliased@latest", actor=actor, looks=looks)
    assert (described.workflow, described.version) == ("aliased", 2)
    for asked, version in ((workflow, 1), ("aliased@latest", 2)):
        standing = await services.agents.execute(
            asked, INPUTS, key=asked, wait_seconds=0.0, actor=actor, looks=looks
        )
        assert await version_of(standing.run) == version
    with pytest.raises(NotFound, match="there is no workflow payments@stable"):
        await services.agents.describe("payments@stable", actor=actor, looks=looks)

    wish = Submission(workflow=workflow, inputs=INPUTS)
    assert (await services.dry_runs.of(wish, Mode.DRY_RUN)).version == 1
    await services.schedules.set(
        "acme", "nightly",
        Schedule(workflow="aliased@stable", rhythm=Rhythm(cron="0 3 * * *"), inputs=INPUTS),
        by="bob", reason="x",
    )  # fmt: skip
    with pytest.raises(NotFound, match="aliased@beta"):
        await services.schedules.set(
            "acme", "never",
            Schedule(workflow="aliased@beta", rhythm=Rhythm(cron="0 3 * * *"), inputs=INPUTS),
            by="bob", reason="x",
        )  # fmt: skip
