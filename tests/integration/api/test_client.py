"""The client beside the real face: people's work from elsewhere, request by request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from orchestrator.client import AsyncClient, ask
from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, InvalidInput, NotAllowed, NotFound
from orchestrator.ports import Role
from orchestrator.store import auditing
from tests.integration.api.conftest import Face
from tests.integration.api.operations import NOBODY


@pytest.fixture
async def client(face: Face) -> AsyncIterator[AsyncClient]:
    key = await face.key(Role.ADMIN)
    async with AsyncClient(
        "http://localhost", key=key, transport=httpx.ASGITransport(face.app)
    ) as made:
        yield made


async def test_approvals_and_signals(face: Face, client: AsyncClient) -> None:
    wait = await face.asking(tenant="acme")
    (listed,) = (await client(ask.approvals(tenant="acme"))).items
    seen = await client(ask.approval(listed.id))
    assert (seen.value, seen.value.id) == (listed, wait.id)
    assert (await client(ask.link_approval(wait.id, name="Ada"))).url.startswith("http://localhost")
    with pytest.raises(InvalidInput) as unsaid:
        await client(ask.decide_approval(wait.id, "rejected", tag=seen.tag))
    assert unsaid.value.problems[0].place == "reason"
    decided = await client(
        ask.decide_approval(wait.id, "approved", tag=seen.tag, data={"by": "phone"})
    )
    assert decided.outcome == "approved"
    assert (decided.answer or {})["data"] == {"by": "phone"}
    with pytest.raises(Conflict, match="has changed"):
        await client(ask.decide_approval(wait.id, "approved", tag=seen.tag))
    (of_run,) = (await client(ask.waits(wait.run_id))).items
    assert of_run.outcome == "approved"
    sent = await client(ask.signal(await face.accepted(), "paid", {"n": 1}, key="k"))
    assert (sent.name, sent.key, sent.repeated) == ("paid", "k", False)


async def test_pauses_and_reruns(face: Face, client: AsyncClient) -> None:
    run_id = await face.accepted()
    made = await client(ask.pause(run_id=run_id, reason="look", seconds=60))
    assert (await client(ask.pauses())).items == [made]
    with pytest.raises(Conflict):
        await client(ask.pause(run_id=run_id, reason="look"))
    assert (await client(ask.resume(made.id, reason="seen"))).ended_by == "ada"
    assert (await client(ask.pauses(state="all"))).items[0].scope == f"run {run_id}"
    taken = await face.claimed(await face.accepted())
    await face.write(taken, status=RunStatus.COMPENSATED, release=True)
    step = face.version.plan.steps[0].id
    first = await client(ask.rerun(taken.run.id, step, reason="again", key="k"))
    again = await client(ask.rerun(taken.run.id, step, reason="again", key="k"))
    assert (again.run_id, again.repeated) == (first.run_id, True)


async def test_apis_workers_and_queues(face: Face, client: AsyncClient) -> None:
    assert {"kinto", "stripe"} <= {each.api for each in (await client(ask.apis())).items}
    seen = await client(ask.api("kinto"))
    change = ask.change_api("kinto", set={"concurrency": 3}, reason="slow", tag=seen.tag)
    assert (await client(change)).value("concurrency") == 3
    with pytest.raises(Conflict, match="has changed"):
        await client(change)
    await client(ask.change_api("kinto", reset=["concurrency"], reason="ok"))
    held = (await client(ask.hold_api("kinto", reason="away"))).held
    assert held is not None
    assert held.reason == "away"
    assert (await client(ask.release_api("kinto", reason="back"))).held is None
    with pytest.raises(NotFound, match="no such API: nothing"):
        await client(ask.api("nothing"))
    await face.claimed(await face.accepted())
    assert [each.id for each in (await client(ask.workers())).items] == ["worker-me"]
    assert "dead_letter" in {each.name for each in (await client(ask.queues())).items}
    viewer = AsyncClient(
        "http://localhost", key=await face.key(Role.VIEWER),
        transport=httpx.ASGITransport(face.app),
    )  # fmt: skip
    async with viewer:
        with pytest.raises(NotAllowed):
            await viewer(ask.hold_api("kinto", reason="x"))


async def test_escalations_and_jobs(face: Face, client: AsyncClient) -> None:
    known, _ = await face.stuck()
    assert (await client(ask.claim(known))).claimed_by == "ada"
    assert (await client(ask.assign(known, to="bob"))).claimed_by == "bob"
    assert (await client(ask.release(known))).claimed_by is None
    assert [each.text for each in await client(ask.comment(known, text="called"))] == ["called"]
    told = await client(ask.briefing(known))
    assert {"retry", "abandon"} <= {each.name for each in told.choices}
    where = {"workflow": "payments"}
    assert (await client(ask.count_escalations(where))).fit == 1
    made = await client(ask.act_on_escalations("retry", where, reason="back", key="k"))
    assert (await client(ask.act_on_escalations("retry", where, reason="back", key="k"))) == made
    assert (await client(ask.order_job(made.id, "pause", reason="wait"))).state == "paused"
    assert (await client(ask.order_job(made.id, "cancel", reason="no"))).state == "cancelled"
    assert [each.id async for each in client.pages(ask.jobs(limit=1))] == [made.id]
    assert [each.item async for each in client.pages(ask.job_items(made.id))] == [known]
    with pytest.raises(NotFound):
        await client(ask.job(NOBODY))
    seen = await client(ask.escalation(known))
    done = await client(ask.decide(known, "abandon", reason="seen", tag=seen.tag))
    assert done.run_status == "abandoned"


async def test_many_runs(face: Face, client: AsyncClient) -> None:
    where = {"ids": [await face.accepted()]}
    assert (await client(ask.count_runs_to_act_on("pause", where))).fit == 1
    made = await client(ask.act_on_runs("pause", where, reason="look", key="k", seconds=60.0))
    again = await client(ask.act_on_runs("pause", where, reason="look", key="k", seconds=60.0))
    assert (made, made.kind, made.total) == (again, "runs.pause", 1)


async def test_the_audit(face: Face, client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "SETTLING", timedelta(seconds=-10))
    run_id = await face.accepted(attributes=(("customer", "42"),))
    assert (await client(ask.story(run_id))).run == run_id
    told = await client(ask.stories({"customer": "42"}, limit=5))
    assert ([each.run for each in told.stories], told.doubles) == ([run_id], [])
    await face.services.checkpoints.make()
    async with client.export(ask.export()) as found:
        assert [each["run"] async for each in found.records] == [run_id]
    assert found.upto == 1
    with pytest.raises(InvalidInput):
        async with client.export(ask.export(9)):
            raise AssertionError("nothing is exported")
    with pytest.raises(Conflict):
        await client(ask.erase(run_id, reason="asked for"))
    erased = await client(ask.erase_runs({"customer": "42"}, reason="asked for"))
    assert (erased.runs, erased.under_way) == ([], [run_id])
