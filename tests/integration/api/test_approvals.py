"""Approvals and signals over HTTP."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from orchestrator.ports import Role
from tests.integration.api.conftest import Face

YES = {"decision": "approved"}


@pytest.fixture
async def ada(face: Face) -> httpx.AsyncClient:
    return await face.asker(Role.APPROVER)


async def test_look_decide_and_be_told(face: Face, ada: httpx.AsyncClient) -> None:
    asked = {"message": "pay 5?", "show": {"amount": 5}}
    wait = await face.asking(asked=asked)
    url = f"/v1/approvals/{wait.id}"
    (listed,) = (await ada.get("/v1/approvals")).json()["items"]
    seen = await ada.get(url)
    assert seen.json() == listed
    assert (listed["message"], listed["show"], listed["roles"], listed["outcome"]) == (
        "pay 5?", {"amount": 5}, ["approver"], None,
    )  # fmt: skip
    assert (await ada.post(f"{url}/decide", json=YES)).status_code == 428
    tag = {"if-match": seen.headers["etag"]}
    unsaid = await ada.post(f"{url}/decide", json={"decision": "rejected"}, headers=tag)
    assert (unsaid.status_code, unsaid.json()["problems"][0]["place"]) == (422, "reason")
    done = await ada.post(f"{url}/decide", json={**YES, "data": {"n": 1}}, headers=tag)
    assert (done.json()["outcome"], done.json()["closed_by"], done.json()["via"]) == (
        "approved", "ada", "rest",
    )  # fmt: skip
    assert done.json()["answer"]["data"] == {"n": 1}
    late = await ada.post(f"{url}/decide", json=YES, headers=tag)
    assert late.status_code == 412
    late = await ada.post(f"{url}/decide", json=YES, headers={"if-match": "*"})
    assert (late.status_code, late.json()["problems"][0]["found"][:24]) == (
        409, "approved by ada (via res",
    )  # fmt: skip
    assert (await ada.get("/v1/approvals")).json()["items"] == []
    whole = (await ada.get("/v1/approvals", params={"state": "all"})).json()["items"]
    assert [each["id"] for each in whole] == [wait.id]
    (of_run,) = (await ada.get(f"/v1/runs/{wait.run_id}/waits")).json()["items"]
    assert of_run["outcome"] == "approved"


@pytest.mark.parametrize("tag", ["*", '"open"'])
async def test_of_many_at_once_one_decides(face: Face, ada: httpx.AsyncClient, tag: str) -> None:
    wait = await face.asking()
    answers = await asyncio.gather(*(
        ada.post(
            f"/v1/approvals/{wait.id}/decide", headers={"if-match": tag},
            json={"decision": decision, "reason": "x"},
        )
        for decision in ["approved", "rejected"] * 3
    ))  # fmt: skip
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {409, 412}
    audit = (await ada.get(f"/v1/runs/{wait.run_id}/audit")).json()["items"]
    assert len([each for each in audit if each["kind"] == "approval.decided"]) == 1


@pytest.mark.parametrize(
    ("roles", "role", "status"),
    [
        (None, Role.OPERATOR, 403), (None, Role.APPROVER, 200), (["operator"], Role.OPERATOR, 200),
        (["admin"], Role.APPROVER, 403), (["admin", "operator"], Role.APPROVER, 200),
    ],
)  # fmt: skip
async def test_an_approval_says_who_may_decide(
    face: Face, roles: list[str] | None, role: Role, status: int
) -> None:
    asked = {"message": "m"} if roles is None else {"message": "m", "roles": roles}
    wait = await face.asking(asked=asked)
    client = await face.asker(role)
    answer = await client.post(
        f"/v1/approvals/{wait.id}/decide", json=YES, headers={"if-match": "*"}
    )
    assert answer.status_code == status, answer.text


async def test_a_signal_is_kept_and_the_same_key_is_the_same_signal(face: Face) -> None:
    run_id = await face.accepted()
    bank = await face.asker(Role.SUBMITTER)
    url, key = f"/v1/runs/{run_id}/signals/paid", {"idempotency-key": "k"}
    first = await bank.post(url, json={"receipt": 7}, headers=key)
    assert (first.status_code, first.json()) == (
        202,
        {
            "run_id": run_id, "number": 1, "name": "paid", "key": "k", "repeated": False,
            "answers": None,
        },
    )  # fmt: skip
    again = await bank.post(url, json={"receipt": 7}, headers=key)
    assert again.json() == {**first.json(), "repeated": True}
    assert (await bank.post(url, json={"receipt": 8}, headers=key)).status_code == 409
    assert (await bank.post(url, json={"receipt": 7})).json()["number"] == 2  # without a key: new
    assert (await bank.post(url, json=[1])).status_code == 422
    huge = await bank.post(url, json={"x": "x" * 80_000})
    assert huge.status_code == 413
