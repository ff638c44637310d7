"""Pauses, cancels that leave things as they are, and reruns, over HTTP."""

from __future__ import annotations

import httpx
import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.errors import InvalidInput
from orchestrator.ports import Role
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
    assert (await ada.post(url, json={"step": "nope", "reason": "again"})).status_code == 404


async def test_the_same_on_all_that_fit(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.service.many_runs.PAGE", 2)
    theirs = await face.accepted(tenant="zeta")
    ours = [await face.accepted(tenant="acme") for _ in range(5)]
    taken = await face.claimed(ours[0])
    await face.write(taken, status=RunStatus.SUCCEEDED, release=True)
    many = face.services.many_runs
    which = await many.chosen("tenant=acme and status=pending,succeeded and age<1h")
    assert await many.count(which) == 4
    why = {"reason": "look", "by": "ada"}
    paused = [each async for each in many.pause(which, also_undoing=False, seconds=None, **why)]
    assert [each.run.id for each in paused] == ours[:0:-1]
    assert [each async for each in many.pause(which, also_undoing=False, seconds=None, **why)] == []
    held = await many.chosen("tenant=acme", among=frozenset({RunStatus.PAUSED}))
    resumed = [each async for each in many.resume(held, **why)]
    assert (len(resumed), {each.refused for each in resumed}) == (4, {""})
    going = await many.chosen("tenant=acme")
    mode = CancelMode.UNDO
    assert len([each async for each in many.cancel(going, mode=mode, **why)]) == 4
    assert (await face.store.run(theirs)).status is RunStatus.PENDING
    with pytest.raises(InvalidInput, match="one or more, with commas between"):
        await many.chosen("status=lost")
    with pytest.raises(InvalidInput, match="one of workflow=, tenant=, status=, age>, age<"):
        await many.chosen("step=s1")


async def test_what_cannot_be_done_for_one_holds_up_no_other(face: Face) -> None:
    first, last = await face.accepted(tenant="acme"), await face.accepted(tenant="acme")
    why = {"reason": "look", "by": "ada"}
    await face.services.pausing.pause(Scope(run_id=last), **why)
    many = face.services.many_runs
    which = await many.chosen("tenant=acme")
    done = [each async for each in many.pause(which, also_undoing=False, seconds=None, **why)]
    assert [(each.run.id, bool(each.refused)) for each in done] == [(last, True), (first, False)]
    assert "paused by ada since" in done[0].refused
    shown = await face.services.runs.show(first)
    assert shown.stopped_by is not None
    assert shown.stopped_by.run_id == first
