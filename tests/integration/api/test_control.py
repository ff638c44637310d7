"""Pauses, cancels that leave things as they are, and reruns, over HTTP."""

from __future__ import annotations

import httpx
import pytest

from orchestrator.core.states import RunStatus
from orchestrator.errors import InvalidInput
from orchestrator.ports import JobItemState, Role, RunFilter
from orchestrator.service.jobs import JobWorker
from orchestrator.service.pausing import Scope
from tests.integration.api.conftest import Face


@pytest.fixture
async def ada(face: Face) -> httpx.AsyncClient:
    return await face.asker(Role.OPERATOR)


async def test_pause_and_resume(face: Face, ada: httpx.AsyncClient) -> None:
    run_id = await face.accepted()
    made = await ada.post("/v1/pauses", json={"run_id": run_id, "reason": "look", "seconds": 60})
    assert made.status_code == 201
    assert (await ada.get(f"/v1/runs/{run_id}")).json()["status"] == "paused"
    again = await ada.post("/v1/pauses", json={"run_id": run_id, "reason": "me too"})
    assert again.status_code == 409
    assert "paused by ada since" in again.json()["problems"][0]["found"]
    (listed,) = (await ada.get("/v1/pauses")).json()["items"]
    assert listed == made.json()
    url = f"/v1/pauses/{listed['id']}/resume"
    ended = await ada.post(url, json={"reason": "seen"})
    assert (ended.status_code, ended.json()["ended_by"]) == (200, "ada")
    assert (await ada.post(url, json={"reason": "seen"})).status_code == 409
    assert (await ada.get(f"/v1/runs/{run_id}")).json()["status"] == "running"
    unclear = await ada.post("/v1/pauses", json={"everything": True, "tenant": "x", "reason": "x"})
    assert unclear.status_code == 422


async def test_to_leave_things_as_they_are_takes_an_admin(face: Face) -> None:
    run_id = await face.accepted()
    wish = {"mode": "stop", "reason": "enough"}
    operator, admin = await face.asker(Role.OPERATOR), await face.asker(Role.ADMIN)
    assert (await operator.post(f"/v1/runs/{run_id}/cancel", json=wish)).status_code == 403
    assert (await admin.post(f"/v1/runs/{run_id}/cancel", json=wish)).status_code == 202


async def test_a_rerun_is_a_run_of_its_own(face: Face, ada: httpx.AsyncClient) -> None:
    taken = await face.claimed(await face.accepted())
    url = f"/v1/runs/{taken.run.id}/rerun"
    first = face.version.plan.steps[0].id
    early = await ada.post(url, json={"step": first, "reason": "again"})
    assert early.status_code == 409
    assert "status pending" in early.text
    await face.write(taken, status=RunStatus.COMPENSATED, release=True)
    made = await ada.post(url, json={"step": first, "reason": "again"})
    assert made.status_code == 201
    assert made.headers["location"] == f"/v1/runs/{made.json()['run_id']}"
    new = (await ada.get(made.headers["location"])).json()
    assert new["rerun_of"] == taken.run.id
    listed = (await ada.get("/v1/runs", params={"rerun_of": taken.run.id})).json()["items"]
    assert [each["id"] for each in listed] == [new["id"]]
    assert [each.id for each in (await face.services.runs.show(taken.run.id)).reruns] == [new["id"]]
    assert (await ada.post(url, json={"step": "nope", "reason": "again"})).status_code == 404


async def _carried_out(face: Face, job_id: str) -> None:
    """As a worker would."""
    services = face.services
    worker = JobWorker(
        face.store, services.jobs._publisher, services.escalations._redeliverer,
        services.escalations._dead_letters, services.jobs._kinds,
    )  # fmt: skip
    await worker.work(job_id, 0)


async def test_the_same_on_all_that_fit(face: Face, ada: httpx.AsyncClient) -> None:
    theirs = await face.accepted(tenant="zeta")
    ours = [await face.accepted(tenant="acme") for _ in range(5)]
    taken = await face.claimed(ours[0])
    await face.write(taken, status=RunStatus.SUCCEEDED, release=True)
    where = {"tenant": "acme", "status": ["pending", "succeeded"], "younger_than_seconds": 3600.0}
    for act, wanted in (("pause", 4), ("rerun", 1), ("resume", 0)):
        counted = await ada.post("/v1/runs:count", json={"act": act, "where": where})
        assert counted.json() == {"fit": wanted}

    async def do(act: str, where: dict[str, object], **told: object) -> dict[str, object]:
        wish = {"act": act, "where": where, "reason": "look", **told}
        made = await ada.post("/v1/runs:act", json=wish, headers={"idempotency-key": act})
        assert made.status_code == 202, made.text
        again = await ada.post("/v1/runs:act", json=wish, headers={"idempotency-key": act})
        assert again.json()["id"] == made.json()["id"]
        await _carried_out(face, made.json()["id"])
        done: dict[str, object] = (await ada.get(made.headers["location"])).json()
        return done

    paused = await do("pause", where, seconds=60.0)
    assert (paused["state"], paused["done"], paused["refused"]) == ("done", 4, 0)
    resumed = await do("resume", {"tenant": "acme"})
    assert (resumed["done"], resumed["kind"]) == (4, "runs.resume")
    cancelled = await do("cancel", {"ids": ours[1:3], "tenant": "acme"}, mode="undo")
    assert cancelled["done"] == 2
    first = face.version.plan.steps[0].id
    rerun = await do("rerun", {"tenant": "acme"}, step=first, repeat_effects=True)
    assert rerun["done"] == 1
    (item,) = (await ada.get(f"/v1/jobs/{rerun['id']}/items")).json()["items"]
    new = item["outcome"].removeprefix("run ")
    assert (await ada.get(f"/v1/runs/{new}")).json()["status"] == "running"
    assert (await face.store.run(theirs)).status is RunStatus.PENDING


@pytest.mark.parametrize(
    "wish",
    [
        {"act": "cancel", "where": {}},
        {"act": "cancel", "where": {"status": ["lost"]}},
        {"act": "cancel", "where": {"tenant": "acme"}, "seconds": 3.0},
        {"act": "rerun", "where": {"tenant": "acme"}},
        {"act": "pause", "where": {"since": 12345}},
    ],
)
async def test_what_an_act_on_many_cannot_be_told(
    face: Face, ada: httpx.AsyncClient, wish: dict[str, object]
) -> None:
    await face.accepted(tenant="acme")
    answer = await ada.post("/v1/runs:act", json={**wish, "reason": "look"})
    assert answer.status_code == 422, answer.text
    assert (await ada.get("/v1/jobs")).json()["items"] == []


async def test_who_may_act_on_many(face: Face, ada: httpx.AsyncClient) -> None:
    await face.accepted(tenant="acme")
    wish = {"act": "cancel", "where": {"tenant": "acme"}, "reason": "look", "mode": "stop"}
    assert (await ada.post("/v1/runs:act", json=wish)).status_code == 403
    admin, other = await face.asker(Role.ADMIN), await face.asker(Role.OPERATOR, tenant="zeta")
    assert (await admin.post("/v1/runs:act", json=wish)).status_code == 202
    mine = {**wish, "mode": "undo", "where": {"status": ["pending"]}}
    assert (await other.post("/v1/runs:act", json=wish | {"mode": "undo"})).status_code == 403
    assert (await other.post("/v1/runs:act", json=mine)).status_code == 404
    assert (await other.get("/v1/jobs")).json()["items"] == []


async def test_what_cannot_be_done_for_one_holds_up_no_other(
    face: Face, ada: httpx.AsyncClient
) -> None:
    first, last = await face.accepted(tenant="acme"), await face.accepted(tenant="acme")
    why = {"reason": "look", "by": "ada"}
    jobs = face.services.jobs
    job = await jobs.start("runs.pause", RunFilter(tenant="acme"), **why)
    await face.services.pausing.pause(Scope(run_id=last), **why)
    await _carried_out(face, job.id)
    (refused,) = await jobs.items(job.id, state=JobItemState.REFUSED)
    assert refused.item == last
    assert "paused by ada since" in refused.outcome
    assert (await jobs.show(job.id)).done == 1
    shown = await face.services.runs.show(first)
    assert shown.stopped_by is not None
    assert shown.stopped_by.run_id == first
    with pytest.raises(InvalidInput, match="argument mode"):
        await jobs.start("runs.cancel", RunFilter(), arguments={"mode": "gently"}, **why)
    with pytest.raises(InvalidInput, match="argument step"):
        await jobs.start("runs.rerun", RunFilter(), arguments={"version": True}, **why)
