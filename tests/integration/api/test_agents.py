"""Policies and stops of software agents, over HTTP: by the client, and by commands elsewhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from orchestrator.cli import agents
from orchestrator.cli.runs import app as runs_app
from orchestrator.client import AsyncClient, ask
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, InvalidInput, NotAllowed, NotFound
from orchestrator.ports import Agent, JobItemState, Role, RunFilter
from orchestrator.service.jobs import JobWorker
from tests.integration.api.conftest import Face
from tests.integration.api.test_commands_elsewhere import address, commands

RULES = {"allow": ["pay*"], "budgets": ["2 runs/day"], "approve": {"above": ["5 EUR"]}}
BOT, ALL = Agent("acme", "bot"), Agent("acme", "*")

__all__ = ["address"]  # a fixture


@pytest.fixture
async def client(face: Face) -> AsyncIterator[AsyncClient]:
    key = await face.key(Role.ADMIN, tenant="acme")
    async with AsyncClient(
        "http://localhost", key=key, transport=httpx.ASGITransport(face.app)
    ) as made:
        yield made


async def worked(face: Face, job_id: str) -> list[str]:
    """Ids of the runs on which workers have acted, once they are through."""
    jobs = face.services.jobs
    worker = JobWorker(
        face.store, jobs._publisher, face.services.runs._redeliverer,
        face.services.escalations._dead_letters, jobs._kinds,
    )  # fmt: skip
    job = await jobs.show(job_id)
    await worker.work(job.id, job.turn)
    return [each.item for each in await jobs.items(job_id, state=JobItemState.DONE)]


async def test_a_policy_is_set_read_and_removed(face: Face, client: AsyncClient) -> None:
    made = await client(ask.set_agent_policy("bot", RULES, reason="new"))
    assert (made.tenant, made.version, made.policy) == ("acme", 1, RULES)
    await face.guarded(BOT)
    seen = await client(ask.agent("bot"))
    assert [(each.budget, each.left) for each in seen.value.left] == [("2 runs/day", "1")]
    assert seen.value.used == {"runs": {"day": "1", "month": "1"}}
    changed = await client(ask.set_agent_policy("bot", {}, reason="free", tag=seen.tag))
    assert (changed.version, changed.policy) == (2, {"allow": ["*"]})
    with pytest.raises(Conflict, match="has changed"):
        await client(ask.set_agent_policy("bot", RULES, reason="late", tag=seen.tag))
    assert [each.agent for each in (await client(ask.agents())).items] == ["bot"]
    assert (await client(ask.remove_agent_policy("bot", reason="over"))).removed
    with pytest.raises(NotFound):
        await client(ask.agent("bot"))
    changes = (await client(ask.agent_changes("bot"))).items
    assert [(each.kind, each.by, each.reason) for each in changes] == [
        ("remove", "ada", "over"), ("set", "ada", "free"), ("set", "ada", "new"),
    ]  # fmt: skip


async def test_what_cannot_be_a_policy_is_refused_with_its_place(client: AsyncClient) -> None:
    with pytest.raises(InvalidInput) as refused:
        await client(ask.set_agent_policy("bot", {"rates": ["often"]}, reason="x"))
    (problem,) = refused.value.problems
    assert "/rates/0" in problem.place
    assert "10/minute" in problem.wanted


async def test_a_stop_leaves_runs_or_cancels_those_of_the_agent(
    face: Face, client: AsyncClient
) -> None:
    mine, theirs = await face.guarded(BOT), await face.guarded(Agent("acme", "other"))
    left = await client(ask.stop_agent("bot", reason="mad"))
    assert left.stopped is not None
    assert (left.job, left.stopped.by, left.stopped.reason) == (None, "ada", "mad")
    with pytest.raises(Conflict):
        await client(ask.stop_agent("bot", reason="again"))
    stopped = await client(ask.stop_agent("bot", reason="all of it", runs="cancel"))
    assert stopped.job is not None
    assert (stopped.version, stopped.job.total) == (left.version, 1), "it was stopped before"
    assert await worked(face, stopped.job.id) == [mine]
    kinds = {run_id: [e.kind for e in await face.store.audit(run_id)] for run_id in (mine, theirs)}
    assert kinds[mine][-1] == "run.cancel_requested"
    assert kinds[theirs] == ["run.accepted"]
    assert (await client(ask.allow_agent("bot", reason="mended"))).stopped is None


async def test_a_stop_of_all_agents_is_not_for_people(face: Face, client: AsyncClient) -> None:
    await client(ask.set_agent_policy("*", {}, reason="x"))
    mine, _ = await face.guarded(BOT, ALL), await face.accepted(tenant="acme", actor="ada")
    stopped = await client(ask.stop_agent("*", reason="mad", runs="cancel"))
    assert stopped.job is not None
    assert await worked(face, stopped.job.id) == [mine]


async def test_a_stop_of_who_has_no_runs_needs_no_job(client: AsyncClient) -> None:
    stopped = await client(ask.stop_agent("new", reason="early", runs="cancel"))
    assert stopped.job is None
    assert stopped.stopped is not None


async def test_held_runs_are_cancelled_with_the_others(face: Face, client: AsyncClient) -> None:
    await client(ask.set_agent_policy("bot", {"approve": {"above": ["0 EUR"]}}, reason="x"))
    run_id = await face.guarded(BOT, amount=1)
    assert (await client(ask.approval(run_id))).value.step_id == "(start)"
    stopped = await client(ask.stop_agent("bot", reason="mad", runs="cancel"))
    assert stopped.job is not None
    assert await worked(face, stopped.job.id) == [run_id]
    (found,) = await face.store.runs(RunFilter(actor="bot", tenant="acme"))
    assert found.status is RunStatus.RUNNING, "it goes on, to be cancelled"
    assert (await client(ask.approval(run_id))).value.outcome == "withdrawn"


async def test_commands_from_elsewhere(face: Face, address: str, tmp_path: Path) -> None:
    admin = commands(address, await face.key(Role.ADMIN))
    viewer = commands(address, await face.key(Role.VIEWER))
    mine = ("bot", "--tenant", "acme")
    made = await admin(
        agents.app, "set", *mine, "--allow", "pay*", "--budget", "9 EUR/day",
        "--ask-above", "5 EUR", "--duplicates", "ask", "--reason", "new",
    )  # fmt: skip
    assert made["policy"]["approve"] == {"above": ["5 EUR"]}
    assert made["policy"]["duplicates"]["then"] == "ask"
    assert (await viewer(agents.app, "show", *mine))["left"][0]["left"] == "9"
    assert "9 EUR/day: 9 left" in await viewer(agents.app, "show", *mine, drawn=True)
    with pytest.raises(NotAllowed):
        await viewer(agents.app, "stop", *mine, "--reason", "x")
    run_id = await face.accepted(tenant="acme", actor="bot")
    assert [
        each["id"] for each in await viewer(runs_app, "list", "--where", "actor=bot")
    ] == [run_id]  # fmt: skip
    stopped = await admin(agents.app, "stop", *mine, "--reason", "mad", "--runs", "cancel")
    assert stopped["job"]["total"] == 1
    assert "stopped by ada: mad" in await viewer(agents.app, "list", drawn=True)
    assert (await admin(agents.app, "allow", *mine, "--reason", "ok"))["stopped"] is None
    file = tmp_path / "agents.yaml"
    policies = {"bot": {"tenant": "acme", **made["policy"]}, "new": {"allow": ["x"]}}
    file.write_text(json.dumps({"agents": policies}))
    applied = await admin(agents.app, "apply", str(file))
    assert [each["agent"] for each in applied] == ["new"], "the other is so already"
    assert (await admin(agents.app, "remove", *mine, "--reason", "over"))["removed"]
    kinds = [each["kind"] for each in await viewer(agents.app, "history", *mine)]
    assert kinds == ["remove", "allow", "stop", "set"]
    assert "over" in await viewer(agents.app, "history", *mine, drawn=True)
