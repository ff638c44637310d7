"""Escalations and APIs over HTTP: one of two who decide at once wins, and the other is told."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from orchestrator.ports import Role
from orchestrator.service.jobs import JobWorker
from tests.integration.api.conftest import Face

WHY = {"reason": "seen at the bank: charged once"}


@pytest.fixture
async def ada(face: Face) -> httpx.AsyncClient:
    return await face.asker(Role.OPERATOR)


async def test_claim_decide_and_be_told(face: Face, ada: httpx.AsyncClient) -> None:
    escalation_id, run_id = await face.stuck()
    url = f"/v1/escalations/{escalation_id}"
    seen = await ada.get(url)
    assert seen.json()["context"] == {"unknown": ["customer"]}
    claimed = await ada.post(f"{url}/claim")
    assert claimed.json()["claimed_by"] == "ada"
    assert claimed.headers["etag"] != seen.headers["etag"]
    assert (await ada.post(f"{url}/claim")).status_code == 409
    stale = {"if-match": seen.headers["etag"]}
    late = await ada.post(f"{url}/abandon", json=WHY, headers=stale)
    assert (late.status_code, late.json()["problems"][0]["place"]) == (412, "header If-Match")
    assert (await ada.post(f"{url}/abandon", json=WHY)).status_code == 428
    now = {"if-match": claimed.headers["etag"]}
    assert (await ada.post(f"{url}/abandon", json={"reason": " "}, headers=now)).status_code == 422
    done = await ada.post(f"{url}/abandon", json=WHY, headers=now)
    assert done.json() == {
        "escalation_id": escalation_id, "run_id": run_id, "run_status": "abandoned",
        "proposal_id": None,
    }  # fmt: skip
    closed = (await ada.get(url)).json()
    assert (closed["closed_by"], closed["closing_reason"]) == ("ada", WHY["reason"])
    again = await ada.post(f"{url}/abandon", json=WHY, headers={"if-match": "*"})
    assert again.status_code == 409
    audit = (await ada.get(f"/v1/runs/{run_id}/audit")).json()["items"]
    assert "operator.abandoned" in [record["kind"] for record in audit]


async def test_release_gives_it_back(face: Face, ada: httpx.AsyncClient) -> None:
    escalation_id, _ = await face.stuck()
    url = f"/v1/escalations/{escalation_id}"
    assert (await ada.post(f"{url}/release")).status_code == 409
    before = (await ada.get(url)).headers["etag"]
    await ada.post(f"{url}/claim")
    released = await ada.post(f"{url}/release")
    assert (released.json()["claimed_by"], released.headers["etag"]) == (None, before)


@pytest.mark.parametrize("tag", ["*", '"open"'])
async def test_of_many_who_decide_at_once_one_wins(
    face: Face, ada: httpx.AsyncClient, tag: str
) -> None:
    escalation_id, run_id = await face.stuck()
    acts = ["retry", "resolve", "abandon", "retry", "resolve", "abandon"]
    answers = await asyncio.gather(*(
        ada.post(f"/v1/escalations/{escalation_id}/{act}", json=WHY, headers={"if-match": tag})
        for act in acts
    ))  # fmt: skip
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {409, 412}
    audit = (await ada.get(f"/v1/runs/{run_id}/audit")).json()["items"]
    assert len([r for r in audit if r["kind"].startswith("operator.")]) == 1


async def test_a_decision_races_with_a_claim(face: Face, ada: httpx.AsyncClient) -> None:
    """Whoever decides on what was open does not decide on what a colleague has just taken."""
    for _ in range(5):
        escalation_id, _ = await face.stuck()
        url = f"/v1/escalations/{escalation_id}"
        claimed, decided = await asyncio.gather(
            ada.post(f"{url}/claim"),
            ada.post(f"{url}/abandon", json=WHY, headers={"if-match": '"open"'}),
        )
        assert {claimed.status_code, decided.status_code} in ({200, 409}, {200, 412})


async def test_an_open_list_in_pages(face: Face, ada: httpx.AsyncClient) -> None:
    made = [(await face.stuck())[0] for _ in range(3)]
    await ada.post(f"/v1/escalations/{made[0]}/abandon", json=WHY, headers={"if-match": "*"})
    page = (await ada.get("/v1/escalations", params={"limit": 1})).json()
    rest = (await ada.get("/v1/escalations", params={"cursor": page["next"]})).json()
    assert [e["id"] for e in page["items"] + rest["items"]] == made[1:]
    whole = (await ada.get("/v1/escalations", params={"state": "all"})).json()
    assert [e["id"] for e in whole["items"]] == made


async def test_apis_are_changed_held_and_released(face: Face) -> None:
    boss = await face.asker(Role.ADMIN)
    seen = await boss.get("/v1/apis/stripe")
    assert seen.json()["version"] == 0
    based = {"if-match": seen.headers["etag"]}
    body = {"set": {"concurrency": 3}, "reason": "slow today"}
    made = await boss.patch("/v1/apis/stripe", json=body, headers=based)
    fields = {field["name"]: field for field in made.json()["fields"]}
    assert (fields["concurrency"]["value"], fields["concurrency"]["change"]["by"]) == (3, "ada")
    assert (await boss.patch("/v1/apis/stripe", json=body, headers=based)).status_code == 412
    odd = await boss.patch("/v1/apis/stripe", json={"set": {"rate": "x"}, "reason": "y"})
    assert odd.status_code == 422
    assert (await boss.patch("/v1/apis/stripe", json={"reason": "y"})).status_code == 422
    held = await boss.post("/v1/apis/stripe/hold", json=WHY)
    assert held.json()["held"]["reason"] == WHY["reason"]
    assert (await boss.post("/v1/apis/stripe/hold", json=WHY)).status_code == 409
    released = await boss.post("/v1/apis/stripe/release", json=WHY)
    assert released.json()["held"] is None
    back = await boss.patch("/v1/apis/stripe", json={"reset": ["concurrency"], "reason": "ok"})
    assert back.status_code == 200
    assert (await boss.get("/v1/apis/nope")).status_code == 404
    listed = (await boss.get("/v1/apis")).json()["items"]
    assert {"kinto", "stripe"} <= {api["api"] for api in listed}


async def test_workers_queues_workflows_and_health(face: Face, ada: httpx.AsyncClient) -> None:
    await face.claimed(await face.accepted())
    (worker,) = (await ada.get("/v1/workers")).json()["items"]
    assert worker["id"] == "worker-me"
    queues = (await ada.get("/v1/queues")).json()["items"]
    assert {"default.forward", "default.compensation", "dead_letter"} == {q["name"] for q in queues}
    (listed,) = (await ada.get("/v1/workflows")).json()["items"]
    assert (listed["name"], listed["version"]) == ("payments", 1)
    shown = (await ada.get("/v1/workflows/payments", params={"version": 1})).json()
    assert shown["plan"][0]["id"] == face.version.plan.steps[0].id
    assert shown["inputs"]["properties"]["deposit"]["minimum"] == 50
    assert len((await ada.get("/v1/workflows/payments/versions")).json()["items"]) == 1
    document = await ada.get("/v1/workflows/payments/versions/1/document")
    assert "Deposit and balance" in document.text
    anybody = face.client()
    assert (await anybody.get("/health/live")).json() == {"status": "ok"}
    assert (await anybody.get("/health/ready")).json() == {"status": "ok"}


async def test_the_blast_radius_of_an_api(face: Face) -> None:
    await face.stuck()
    await face.accepted()
    viewer = await face.asker(Role.VIEWER)
    found = (await viewer.get("/v1/apis/stripe/impact", params={"outage_seconds": 60})).json()
    assert (found["active"], found["outage_seconds"]) == (2, 60)
    assert found["total"]["affected"] == found["by_workflow"]["payments"]["affected"] == 2
    assert found["by_tenant"].keys() == {"default"}
    assert found["total"]["waiting"] >= 1
    assert (await viewer.get("/v1/apis/kinto/impact")).json()["total"]["affected"] == 0
    assert (await viewer.get("/v1/apis/nope/impact")).status_code == 404
    wrong = await viewer.get("/v1/apis/stripe/impact", params={"outage_seconds": -1})
    assert wrong.status_code == 422
    bound = await face.asker(Role.ADMIN, tenant="acme")
    assert (await bound.get("/v1/apis/stripe/impact")).status_code == 403


async def test_objectives_of_workflows(face: Face) -> None:
    viewer = await face.asker(Role.VIEWER)
    found = (await viewer.get("/v1/slos", params={"workflow": "payments"})).json()
    (view,) = found["views"]
    assert (view["objective"]["kind"], view["objective"]["target"]) == ("compensation", 0.99)
    assert (await viewer.get("/v1/slos", params={"workflow": "nope"})).json()["views"] == []
    bound = await face.asker(Role.ADMIN, tenant="acme")
    assert (await bound.get("/v1/slos")).status_code == 403


async def test_metrics_show_how_the_deployment_stands(face: Face) -> None:
    await face.stuck()
    await face.accepted()
    bound = await face.asker(Role.ADMIN, tenant="acme")
    assert (await bound.get("/metrics")).status_code == 403
    assert (await face.client().get("/metrics")).status_code == 401
    viewer = await face.asker(Role.VIEWER)
    answer = await viewer.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = answer.text.splitlines()
    assert 'orchestrator_runs{status="pending",workflow="payments"} 1.0' in lines
    assert 'orchestrator_escalations_open{age="15m",reason="in_doubt"} 1.0' in lines
    assert 'orchestrator_queue_due_runs{queue="default.forward"} 1.0' in lines
    assert "orchestrator_database_up 1.0" in lines
    assert "orchestrator_broker_up 1.0" in lines
    await face.accepted()
    assert (await viewer.get("/metrics")).text == answer.text  # within KEPT_SECONDS


async def test_a_bulk_act_is_a_job(face: Face, ada: httpx.AsyncClient) -> None:
    stuck = [(await face.stuck())[0] for _ in range(3)]
    await ada.post(f"/v1/escalations/{stuck[0]}/claim")
    count = await ada.post("/v1/escalations:count", json={"where": {"reason": "in_doubt"}})
    assert count.json() == {"fit": 2}
    wish = {"act": "resolve", "where": {"workflow": "payments"}, "landed": False, **WHY}
    key = {"idempotency-key": "k-1"}
    made = await ada.post("/v1/escalations:bulk", json=wish, headers=key)
    job, url = made.json(), made.headers["location"]
    assert (made.status_code, job["kind"], job["total"]) == (202, "escalations.resolve", 2)
    assert (job["by"], job["arguments"], job["pending"]) == ("ada", {"landed": False}, 2)
    assert (await ada.post("/v1/escalations:bulk", json=wish, headers=key)).json() == job
    other = await ada.post("/v1/escalations:bulk", json={**wish, "landed": True}, headers=key)
    assert other.status_code == 409
    assert (await ada.get("/v1/jobs")).json()["items"] == [(await ada.get(url)).json()]

    paused = await ada.post(f"{url}/pause", json=WHY)
    assert (paused.json()["state"], paused.json()["orders"][0]["by"]) == ("paused", "ada")
    assert (await ada.post(f"{url}/pause", json=WHY)).status_code == 409
    assert (await ada.post(f"{url}/resume", json=WHY)).json()["state"] == "running"
    assert (await ada.post(f"{url}/cancel", json=WHY)).json()["state"] == "cancelled"
    assert (await ada.post(f"{url}/resume", json=WHY)).status_code == 409
    items = (await ada.get(f"{url}/items", params={"state": "pending"})).json()["items"]
    assert [each["item"] for each in items] == sorted(stuck[1:])


@pytest.mark.parametrize(
    ("changes", "status", "place"),
    [
        ({"where": {}}, 422, "body /where"),
        ({"where": {"color": "red"}}, 422, "body /where/color"),
        ({"where": {"ids": ["x"]}}, 422, "body /where/ids/0"),
        ({"where": {"workflow": "none"}}, 404, "where"),
        ({"where": {"workflow": "payments"}, "landed": True}, 422, "argument landed"),
        ({"act": "sing"}, 422, "body /act"),
        ({"reason": " "}, 422, "body /reason"),
    ],
)
async def test_a_bulk_act_that_is_refused(
    face: Face, ada: httpx.AsyncClient, changes: dict[str, object], status: int, place: str
) -> None:
    await face.stuck()
    wish = {"act": "retry", "where": {"workflow": "payments"}, **WHY, **changes}
    answer = await ada.post("/v1/escalations:bulk", json=wish)
    assert answer.status_code == status, answer.text
    assert place in {each["place"] for each in answer.json()["problems"]}
    assert (await ada.get("/v1/jobs")).json()["items"] == []


async def test_a_briefing_over_http(face: Face, ada: httpx.AsyncClient) -> None:
    escalation_id, _ = await face.stuck()
    told = (await ada.get(f"/v1/escalations/{escalation_id}/briefing")).json()
    choices = {each["name"]: each for each in told["choices"]}
    assert choices["abandon"]["status"] == "abandoned"
    assert choices["skip"]["refused"] is not None
    assert (told["similar"], told["similar_ids"]) == (0, [])
    wish = {"outputs": {"id": "x"}, **WHY}
    answer = await ada.post(
        f"/v1/escalations/{escalation_id}/resolve", json=wish, headers={"if-match": "*"}
    )
    assert (answer.status_code, answer.json()["problems"][0]["place"]) == (422, "outputs")


async def test_the_queue_is_as_long_as_the_inbox(face: Face, ada: httpx.AsyncClient) -> None:
    """The queue that Flower shows holds what the console's inbox holds and nobody has taken."""
    letters = face.services.escalations._dead_letters
    stuck = [(await face.stuck())[0] for _ in range(5)]
    await letters.publish(await face.store.escalations())

    async def same(many: int) -> None:
        inbox = (await ada.get("/v1/escalations", params={"claimed": False})).json()["items"]
        assert sorted(await letters.listed()) == sorted(each["id"] for each in inbox)
        assert len(inbox) == many

    await same(5)
    await ada.post(f"/v1/escalations/{stuck[0]}/claim")
    await same(4)
    await ada.post(f"/v1/escalations/{stuck[0]}/release")
    await same(5)
    anyhow = {"if-match": "*"}
    await ada.post(f"/v1/escalations/{stuck[0]}/abandon", json=WHY, headers=anyhow)
    await same(4)
    many = {"act": "abandon", "where": {"ids": stuck[1:4]}, **WHY}
    job = (await ada.post("/v1/escalations:bulk", json=many)).json()
    escalations, jobs = face.services.escalations, face.services.jobs
    worker = JobWorker(face.store, jobs._publisher, escalations._redeliverer, letters, jobs._kinds)
    await worker.work(job["id"], 0)
    assert (await ada.get(f"/v1/jobs/{job['id']}")).json()["state"] == "done"
    await same(1)


async def test_given_to_somebody_with_a_remark(face: Face, ada: httpx.AsyncClient) -> None:
    escalation_id, _ = await face.stuck()
    url = f"/v1/escalations/{escalation_id}"
    seen = (await ada.get(url)).json()
    assert (seen["severity"], seen["claimed_until"]) == ("high", None)
    assert seen["due_at"] > seen["opened_at"]
    given = await ada.post(f"{url}/assign", json={"to": "bob"})
    assert given.json()["claimed_by"] == "bob"
    assert given.json()["claimed_until"] > given.json()["claimed_at"], "claims end by themselves"
    assert (await ada.post(f"{url}/assign", json={"to": " "})).status_code == 422
    remarks = (await ada.post(f"{url}/comments", json={"text": "the bank called"})).json()
    assert [(each["by"], each["text"]) for each in remarks] == [("ada", "the bank called")]
    assert (await ada.get(f"{url}/briefing")).json()["comments"] == remarks
    for overdue, found in ((True, 0), (False, 1)):
        listed = await ada.get("/v1/escalations", params={"overdue": overdue})
        assert len(listed.json()["items"]) == found


async def test_an_act_may_be_held_against_what_it_was_based_on(
    face: Face, ada: httpx.AsyncClient
) -> None:
    known, _ = await face.stuck()
    url = f"/v1/escalations/{known}"
    free = {"if-match": (await ada.get(url)).headers["etag"]}
    taken = await ada.post(f"{url}/claim", headers=free)
    assert taken.status_code == 200
    mine = {"if-match": taken.headers["etag"]}
    for late in (
        await ada.post(f"{url}/claim", headers=free),
        await ada.post(f"{url}/assign", headers=free, json={"to": "bob"}),
        await ada.post(f"{url}/release", headers=free),
    ):
        assert late.status_code == 412, late.text
    assert (await ada.post(f"{url}/assign", headers=mine, json={"to": "bob"})).status_code == 200
    assert (await ada.post(f"{url}/release", headers=mine)).status_code == 412
    assert (await ada.post(f"{url}/release")).status_code == 200

    run_id = await face.accepted()
    wish = {"reason": "wrong"}
    before = {"if-match": (await ada.get(f"/v1/runs/{run_id}")).headers["etag"]}
    await ada.post("/v1/pauses", json={"run_id": run_id, **wish})
    cancel = f"/v1/runs/{run_id}/cancel"
    assert (await ada.post(cancel, json=wish, headers=before)).status_code == 412
    now = {"if-match": (await ada.get(f"/v1/runs/{run_id}")).headers["etag"]}
    assert (await ada.post(cancel, json=wish, headers=now)).status_code == 202

    which = {"where": {"ids": [known]}, "act": "retry", **wish}
    job = (await ada.post("/v1/escalations:bulk", json=which)).headers["location"]
    running = {"if-match": (await ada.get(job)).headers["etag"]}
    assert (await ada.post(f"{job}/pause", json=wish, headers=running)).status_code == 200
    assert (await ada.post(f"{job}/cancel", json=wish, headers=running)).status_code == 412
    assert (await ada.post(f"{job}/cancel", json=wish)).status_code == 200
