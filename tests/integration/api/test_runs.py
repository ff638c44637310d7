"""Start runs, look at them, wait for them, cancel them, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from orchestrator.core.states import RunStatus
from orchestrator.errors import Unavailable
from orchestrator.ports import Role
from tests.integration.api.conftest import INPUTS, Face

WISH = {"workflow": "payments", "inputs": INPUTS}


@pytest.fixture
async def ada(face: Face) -> httpx.AsyncClient:
    return await face.asker(Role.OPERATOR)


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_submit_look_and_submit_again(face: Face, ada: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": "k-1", "traceparent": TRACEPARENT}
    states = [("tracestate", "rojo=1"), ("tracestate", " congo=t61 ,")]
    made = await ada.post("/v1/runs", json=WISH, headers=[*headers.items(), *states])
    assert made.status_code == 201, made.text
    run_id = made.json()["run_id"]
    run = await face.store.run(run_id)
    assert (run.traceparent, run.tracestate) == (TRACEPARENT, "rojo=1,congo=t61")
    assert made.json() == {"run_id": run_id, "repeated": False}
    assert made.headers["location"] == f"/v1/runs/{run_id}"
    shown = (await ada.get(made.headers["location"])).json()
    assert (shown["status"], shown["inputs"], shown["outputs"]) == ("pending", INPUTS, None)
    assert (shown["actor"], shown["tenant"], shown["idempotency_key"]) == ("ada", "default", "k-1")
    again = await ada.post("/v1/runs", json=WISH, headers={"idempotency-key": "k-1"})
    assert (again.status_code, again.json()) == (200, {"run_id": run_id, "repeated": True})
    other = {**WISH, "inputs": {**INPUTS, "deposit": 101}}
    refused = await ada.post("/v1/runs", json=other, headers={"idempotency-key": "k-1"})
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["type"] == "/problems/conflict"


async def test_runs_by_their_attributes(face: Face, ada: httpx.AsyncClient) -> None:
    wish = {**WISH, "attributes": {"ticket": "T-7", "region": "eu"}}
    run_id = (await ada.post("/v1/runs", json=wish)).json()["run_id"]
    line = {**WISH, "attributes": {"region": "eu"}, "idempotency_key": "k-l"}
    bad = {**WISH, "attributes": {"password": "x"}, "idempotency_key": "k-b"}
    answer = await ada.post(
        "/v1/runs:bulk", headers={"content-type": "application/x-ndjson"},
        content="\n".join(map(json.dumps, (line, bad))),
    )  # fmt: skip
    told = [json.loads(each) for each in answer.text.splitlines()]
    assert "attribute 'password'" in told[1]["problem"]["problems"][0]["place"]
    other = told[0]["run_id"]

    async def found(*pairs: str) -> list[tuple[str, dict[str, str]]]:
        page = (await ada.get("/v1/runs", params={"attribute": list(pairs)})).json()
        return [(each["id"], each["attributes"]) for each in page["items"]]

    assert await found("region=eu") == [(other, {"region": "eu"}), (run_id, wish["attributes"])]
    assert await found("region=eu", "ticket=T-7") == [(run_id, wish["attributes"])]
    assert await found("region=us") == []
    assert (await ada.get(f"/v1/runs/{run_id}")).json()["attributes"] == wish["attributes"]
    for searched, wanted in (("T-", [run_id]), ("k-l", [other]), (other, [other]), ("x", [])):
        page = (await ada.get("/v1/runs", params={"text": searched})).json()
        assert [each["id"] for each in page["items"]] == wanted
    assert (await ada.get("/v1/runs", params={"text": "  "})).status_code == 422
    refused = await ada.get("/v1/runs", params={"attribute": "region"})
    assert refused.status_code == 422
    assert "NAME=VALUE" in refused.text.upper()
    counted = await ada.post(
        "/v1/runs:count", json={"act": "cancel", "where": {"attributes": {"ticket": "T-7"}}}
    )
    assert counted.json() == {"fit": 1}


async def test_an_agent_acts_through_its_key(ada: httpx.AsyncClient) -> None:
    made = await ada.post("/v1/runs", json={**WISH, "actor": "agent-7", "tenant": "acme"})
    shown = (await ada.get(f"/v1/runs/{made.json()['run_id']}")).json()
    assert (shown["actor"], shown["tenant"]) == ("agent-7 via ada", "acme")


@pytest.mark.parametrize(
    ("body", "status", "place", "wanted"),
    [
        ({"workflow": "nope"}, 404, "workflow", "payments"),
        ({**WISH, "inputs": {**INPUTS, "deposit": "x"}}, 422, "body /inputs/deposit", "integer"),
        ({**WISH, "input": {}}, 422, "body /input", "not permitted"),
        ({**WISH, "version": 7}, 404, "workflow", "1"),
        ({"inputs": {}}, 422, "body /workflow", "required"),
        ({**WISH, "inputs": {**INPUTS, "email": "x" * 20_000}}, 422, "inputs", "at most 10000"),
    ],
)
async def test_what_is_wrong_is_named(
    ada: httpx.AsyncClient, body: dict[str, Any], status: int, place: str, wanted: str
) -> None:
    refused = await ada.post("/v1/runs", json=body)
    assert refused.status_code == status, refused.text
    (problem, *_) = refused.json()["problems"]
    assert place in problem["place"]
    assert wanted.lower() in problem["wanted"].lower()
    assert "submission 0" not in refused.text


async def test_bodies_that_are_no_json_or_too_large(ada: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    broken = await ada.post("/v1/runs", content=b'{"workflow": ', headers=headers)
    assert (broken.status_code, broken.json()["detail"]) == (400, "the body is not JSON")
    large = await ada.post("/v1/runs", content=b" " * 200_000, headers=headers)
    assert large.status_code == 413
    assert large.json()["problems"][0]["wanted"] == "at most 75536 bytes"

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 10_000

    assert (await ada.post("/v1/runs", content=unannounced(), headers=headers)).status_code == 413


async def test_pages_follow_each_other(face: Face, ada: httpx.AsyncClient) -> None:
    made = [await face.accepted(tenant="acme" if n % 2 else "default") for n in range(7)]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        given = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = (await ada.get("/v1/runs", params=given)).json()
        assert len(page["items"]) <= 3
        seen += [run["id"] for run in page["items"]]
        cursor = page["next"]
    assert seen == made[::-1]
    acme = (await ada.get("/v1/runs", params={"tenant": "acme", "status": "pending"})).json()
    assert [run["id"] for run in acme["items"]] == made[1::2][::-1]
    assert (await ada.get("/v1/runs", params={"status": "escalated"})).json()["items"] == []
    odd = await ada.get("/v1/runs", params={"cursor": "ü!"})
    assert (odd.status_code, odd.json()["problems"][0]["place"]) == (422, "query cursor")
    for since, status in (("2026-01-31T12:00:00Z", 200), ("2026-01-31T12:00", 422), ("0.5", 422)):
        answer = await ada.get("/v1/runs/counts", params={"since": since})
        assert answer.status_code == status
    counts = (await ada.get("/v1/runs/counts")).json()
    assert counts == {"since": None, "runs": {"pending": 7}}


async def test_a_run_that_has_not_changed_is_not_sent_again(
    face: Face, ada: httpx.AsyncClient
) -> None:
    run_id = await face.accepted()
    first = await ada.get(f"/v1/runs/{run_id}")
    unchanged = {"if-none-match": first.headers["etag"]}
    again = await ada.get(f"/v1/runs/{run_id}", headers=unchanged)
    assert (again.status_code, again.content) == (304, b"")
    await face.claimed(run_id)
    assert (await ada.get(f"/v1/runs/{run_id}", headers=unchanged)).status_code == 200


async def test_who_submits_may_wait_for_the_end(face: Face, ada: httpx.AsyncClient) -> None:
    client = await face.asker(Role.SUBMITTER)

    async def submit(key: str, seconds: float) -> httpx.Response:
        headers = {"idempotency-key": key}
        return await client.post("/v1/runs", json=WISH, params={"wait": seconds}, headers=headers)

    waiting = asyncio.create_task(submit("k-1", 30))
    async with asyncio.timeout(30):
        while not (page := (await ada.get("/v1/runs")).json()["items"]):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.02)
    assert not waiting.done()
    run_id = page[0]["id"]
    await face.write(
        await face.claimed(run_id), status=RunStatus.SUCCEEDED, outputs={"ok": 1}, release=True
    )
    answer = await asyncio.wait_for(waiting, 30)
    told = answer.json()
    assert (answer.status_code, told["run_id"], told["repeated"]) == (201, run_id, False)
    assert told["run"] == (await ada.get(f"/v1/runs/{run_id}")).json()
    assert (told["run"]["status"], told["run"]["outputs"]) == ("succeeded", {"ok": 1})
    again = await submit("k-1", 30)
    assert (again.status_code, again.json()) == (200, {**told, "repeated": True})
    late = await submit("k-2", 0.1)
    assert (late.status_code, late.json()["run"]["status"]) == (201, "pending")


async def test_a_run_that_cannot_be_waited_for_was_accepted(
    face: Face, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*given: Any, **more: Any) -> None:
        raise Unavailable("database", "there", "it is away")

    monkeypatch.setattr(face.services.watch, "changed", away)
    answer = await ada.post("/v1/runs", json=WISH, params={"wait": 30})
    assert (answer.status_code, list(answer.json())) == (201, ["run_id", "repeated"])
    assert (await face.store.run(answer.json()["run_id"])).status is RunStatus.PENDING


async def test_waiting_ends_with_the_run(face: Face, ada: httpx.AsyncClient) -> None:
    taken = await face.claimed(await face.accepted())
    url = f"/v1/runs/{taken.run.id}"
    waiting = [asyncio.create_task(ada.get(url, params={"wait": 30})) for _ in range(20)]
    await asyncio.sleep(0.15)
    assert not any(task.done() for task in waiting)
    await face.write(taken, status=RunStatus.COMPENSATED, release=True)
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*waiting)
    assert {answer.json()["status"] for answer in answers} == {"compensated"}
    short = await ada.get(f"/v1/runs/{await face.accepted()}", params={"wait": 0.2})
    assert short.json()["status"] == "pending"


async def test_a_run_is_followed_and_taken_up_again(face: Face, ada: httpx.AsyncClient) -> None:
    taken = await face.claimed(await face.accepted())
    url = f"/v1/runs/{taken.run.id}/events"
    following = asyncio.create_task(ada.get(url))
    await asyncio.sleep(0.2)
    await face.write(taken, status=RunStatus.COMPENSATED, release=True)
    async with asyncio.timeout(30):
        told = _events((await following).text)
    kinds = [each["data"].get("kind") for each in told if each["event"] == "audit"]
    assert kinds == ["run.accepted", "run.compensated"]
    assert told[-1]["event"] == "settled"
    assert told[-1]["data"]["status"] == "compensated"
    later = _events((await ada.get(url, headers={"last-event-id": told[0]["id"]})).text)
    assert later == told[1:]


async def test_the_chain_and_the_audit(face: Face, ada: httpx.AsyncClient) -> None:
    _, run_id = await face.stuck()
    chain = (await ada.get(f"/v1/runs/{run_id}/chain")).json()
    assert [link["step"] for link in chain["forward"]] == [s.id for s in face.version.plan.steps]
    assert chain["backward"] == []
    audit = (await ada.get(f"/v1/runs/{run_id}/audit", params={"limit": 1})).json()
    assert [record["kind"] for record in audit["items"]] == ["run.accepted"]
    rest = await ada.get(f"/v1/runs/{run_id}/audit", params={"after": audit["next"]})
    assert [record["kind"] for record in rest.json()["items"]] == ["run.escalated"]


async def test_the_story(face: Face, ada: httpx.AsyncClient) -> None:
    _, run_id = await face.stuck()
    told = (await ada.get(f"/v1/runs/{run_id}/story")).json()
    assert (told["run"], told["status"], told["calls"]) == (run_id, "escalated", [])
    first, last = told["story"]
    assert first["text"].startswith(f"{told['actor']} submitted {told['workflow']}, version 1")
    assert (last["seq"], last["text"][:34]) == (2, "it stopped for a person to decide ")


async def test_cancel(face: Face, ada: httpx.AsyncClient) -> None:
    run_id = await face.accepted()
    asked = await ada.post(f"/v1/runs/{run_id}/cancel", json={"reason": "changed their mind"})
    assert asked.status_code == 202
    (record,) = (await ada.get(f"/v1/runs/{run_id}/audit", params={"after": 1})).json()["items"]
    assert (record["actor"], record["data"]["reason"]) == ("ada", "changed their mind")
    taken = await face.claimed(await face.accepted())
    await face.write(taken, status=RunStatus.COMPENSATED, release=True)
    late = await ada.post(f"/v1/runs/{taken.run.id}/cancel", json={"reason": "x"})
    assert late.status_code == 409


async def test_many_lines_each_answered_for_itself(face: Face, ada: httpx.AsyncClient) -> None:
    good = {**WISH, "idempotency_key": "b-1"}
    given = [
        json.dumps(good), "", "{not json", json.dumps({**WISH, "inputs": {"deposit": 1}}),
        json.dumps({"workflow": "nope"}), json.dumps({**WISH, "idempotency_key": 5}),
        json.dumps(good), json.dumps({**good, "inputs": {**INPUTS, "deposit": 999}}),
        json.dumps(WISH),
    ]  # fmt: skip
    answer = await ada.post(
        "/v1/runs:bulk", content="\n".join(given), headers={"content-type": "application/x-ndjson"}
    )
    assert answer.status_code == 200
    told = {each["line"]: each for each in map(json.loads, answer.text.splitlines())}
    assert list(told) == [1, 3, 4, 5, 6, 7, 8, 9]
    assert {n for n, each in told.items() if "run_id" in each} == {1, 7, 9}
    assert told[1]["run_id"] == told[7]["run_id"] != told[9]["run_id"]
    statuses = {n: each["problem"]["status"] for n, each in told.items() if "problem" in each}
    assert statuses == {3: 422, 4: 422, 5: 404, 6: 422, 8: 409}
    assert told[6]["problem"]["problems"][0]["place"] == "line 6, /idempotency_key"
    assert len((await ada.get("/v1/runs")).json()["items"]) == 2
    wrong = await ada.post("/v1/runs:bulk", content=b"{}", headers={"content-type": "text/csv"})
    assert wrong.status_code == 415


def _events(text: str) -> list[dict[str, Any]]:
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            fields["data"] = json.loads(fields["data"])
            found.append(fields)
    return found
