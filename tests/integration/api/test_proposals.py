"""The rule of four eyes over HTTP: proposed by one key, confirmed by another."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.plan_json import with_digest
from orchestrator.ports import Role
from tests.integration.api.conftest import Face

WHY = {"reason": "the shop is closed"}


@pytest.fixture
async def guarded(face: Face) -> dict[str, object]:
    """What a run of a workflow under the rule is accepted with."""
    plan = with_digest(replace(face.version.plan, four_eyes={"hours": 1}))
    version, _ = await face.store.publish(plan, document="d", by="root")
    return {"workflow_id": version.id, "version": version.version}


async def test_proposed_and_confirmed(face: Face, guarded: dict[str, object]) -> None:
    escalation_id, run_id = await face.stuck(**guarded)
    ada, bob = [face.client(await face.key(Role.OPERATOR, name=name)) for name in ("ada", "bob")]
    proposed = await ada.post(
        f"/v1/escalations/{escalation_id}/abandon", json=WHY, headers={"if-match": '"open"'}
    )
    told = proposed.json()
    assert (proposed.status_code, told["run_status"]) == (202, "escalated")
    url = f"/v1/proposals/{told['proposal_id']}"
    (listed,) = (await bob.get("/v1/proposals", params={"run": run_id})).json()["items"]
    seen = await bob.get(url)
    assert (listed, seen.headers["etag"]) == (seen.json(), '"open"')
    assert (listed["act"], listed["proposed_by"], listed["reason"]) == (
        "abandoned", "ada", WHY["reason"],
    )  # fmt: skip
    now = {"if-match": seen.headers["etag"]}
    assert (await bob.post(f"{url}/confirm", json={})).status_code == 428
    own = await ada.post(f"{url}/confirm", json={}, headers=now)
    assert (own.status_code, own.json()["problems"][0]["wanted"]) == (409, "another person")
    eves = [face.client(await face.key(Role.OPERATOR, name=f"eve-{n}")) for n in range(3)]
    answers = await asyncio.gather(
        *(each.post(f"{url}/confirm", json={}, headers=now) for each in eves),
        ada.post(f"{url}/refuse", json=WHY, headers=now),
    )
    statuses = sorted(each.status_code for each in answers)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {409, 412}
    over = (await bob.get(url)).json()
    assert over["outcome"] in {"confirmed", "refused"}
    done = over["outcome"] == "confirmed"
    run = (await bob.get(f"/v1/runs/{run_id}")).json()
    assert run["status"] == ("abandoned" if done else "escalated")


async def test_refused_with_a_reason(face: Face, guarded: dict[str, object]) -> None:
    escalation_id, _ = await face.stuck(**guarded)
    ada = await face.asker(Role.OPERATOR)
    made = await ada.post(
        f"/v1/escalations/{escalation_id}/abandon", json=WHY,
        headers={"if-match": "*"},
    )  # fmt: skip
    url = f"/v1/proposals/{made.json()['proposal_id']}"
    assert (await ada.post(f"{url}/refuse", json={"reason": ""})).status_code == 422
    refused = await ada.post(f"{url}/refuse", json=WHY, headers={"if-match": "*"})
    assert (refused.json()["outcome"], refused.json()["closed_by"]) == ("refused", "ada")
    assert (await ada.get("/v1/proposals")).json()["items"] == []
    assert len((await ada.get("/v1/proposals", params={"state": "all"})).json()["items"]) == 1
