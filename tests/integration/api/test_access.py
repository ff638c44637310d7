"""Who may ask what: every operation by every role and tenant, and a face without keys."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.errors import NotAuthenticated
from orchestrator.ports import EscalationFilter, Role
from orchestrator.service.access import TRUSTED_SECONDS, Access
from orchestrator.service.pausing import Scope
from orchestrator.service.principal import Principal
from tests.integration.api.conftest import Face
from tests.store.making import new_id

NOBODY = "01939c5e-7f2a-7c11-9f4e-0c2f5a1b9d10"
WHY = {"reason": "x"}
LEAST = {
    "showMe": Role.VIEWER, "listWorkflows": Role.VIEWER, "showWorkflow": Role.VIEWER,
    "listVersions": Role.VIEWER, "showDocument": Role.VIEWER, "listRuns": Role.VIEWER,
    "countRuns": Role.VIEWER, "showRun": Role.VIEWER, "showChain": Role.VIEWER,
    "showAudit": Role.VIEWER, "followRun": Role.VIEWER, "submitRun": Role.SUBMITTER,
    "submitRuns": Role.SUBMITTER, "cancelRun": Role.OPERATOR, "listEscalations": Role.VIEWER,
    "showEscalation": Role.VIEWER, "claim": Role.OPERATOR, "release": Role.OPERATOR,
    "retry": Role.OPERATOR, "resolve": Role.OPERATOR, "skip": Role.OPERATOR,
    "abandon": Role.OPERATOR, "listApis": Role.VIEWER, "showApi": Role.VIEWER,
    "changeApi": Role.ADMIN, "holdApi": Role.OPERATOR, "releaseApi": Role.OPERATOR,
    "listWorkers": Role.VIEWER, "listQueues": Role.VIEWER, "countEscalations": Role.VIEWER,
    "actOnEscalations": Role.OPERATOR, "listJobs": Role.VIEWER, "showJob": Role.VIEWER,
    "listJobItems": Role.VIEWER, "briefEscalation": Role.VIEWER,
    "assign": Role.OPERATOR, "comment": Role.OPERATOR,
    "pauseJob": Role.OPERATOR, "resumeJob": Role.OPERATOR,
    "cancelJob": Role.OPERATOR,
    "listApprovals": Role.VIEWER, "showApproval": Role.VIEWER,
    "decideApproval": Role.OPERATOR, "sendSignal": Role.SUBMITTER, "listWaits": Role.VIEWER,
    "listPauses": Role.VIEWER, "pause": Role.OPERATOR,
    "resume": Role.OPERATOR, "rerunRun": Role.OPERATOR,
}  # fmt: skip
OPEN_TO_ALL = {"isAlive", "isReady"}
OF_ALL_TENANTS = {
    "countRuns", "listApis", "showApi", "changeApi", "holdApi", "releaseApi", "listWorkers",
    "listQueues",
}  # fmt: skip
BODIES: dict[str, Any] = {
    "submitRun": {"workflow": "payments"}, "changeApi": {"set": {"rate": "x"}, "reason": "x"},
    "pause": {"workflow": "payments", "tenant": None, "reason": "x"},
    "rerunRun": {"step": "deposit", "reason": "x"},
    "countEscalations": {"where": {"api": "none"}}, "assign": {"to": "bob"},
    "comment": {"text": "x"},
    "decideApproval": {"decision": "approved"}, "sendSignal": {},
    "actOnEscalations": {"act": "retry", "where": {"api": "none"}, "reason": "x"},
}  # fmt: skip


def operations(face: Face) -> list[tuple[str, str, str]]:
    paths = face.app.openapi()["paths"]
    return [
        (method, path, operation["operationId"])
        for path, item in paths.items()
        for method, operation in item.items()
    ]


async def ask(
    client: httpx.AsyncClient, face: Face, operation: tuple[str, str, str], **ids: str
) -> httpx.Response:
    method, path, name = operation
    names = {"name": "payments", "version": "1", "api": "stripe", **ids}
    body = BODIES.get(name, WHY) if method in {"post", "patch"} else None
    headers = {"if-match": "*"}
    if name == "submitRuns":
        body, headers = None, {"content-type": "application/x-ndjson"}
    kinds = ("run_id", "escalation_id", "job_id", "approval_id", "pause_id")
    nobody = dict.fromkeys(kinds, NOBODY)
    url = path.format_map({**nobody, **names})
    return await client.request(method, url, json=body, headers=headers)


async def test_every_operation_has_its_least_role(face: Face) -> None:
    asked = {name for _, _, name in operations(face)}
    assert asked == {*LEAST, *OPEN_TO_ALL}
    for role in Role:
        client = await face.asker(role)
        for operation in operations(face):
            answer = await ask(client, face, operation)
            refused = operation[2] in LEAST and not role.covers(LEAST[operation[2]])
            assert (answer.status_code == 403) is refused, (role, operation, answer.text)
            assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("shown", [None, "nonsense", f"ork_{'0' * 32}_{'x' * 43}"])
async def test_nobody_gets_in_without_a_key(face: Face, shown: str | None) -> None:
    client = face.client(shown)
    for operation in operations(face):
        answer = await ask(client, face, operation)
        if operation[2] in OPEN_TO_ALL:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, operation
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert shown is None or shown not in answer.text


async def test_another_tenants_things_do_not_exist(face: Face) -> None:
    escalation_id, run_id = await face.stuck(tenant="acme")
    job = await face.services.jobs.start(
        "escalations.retry", EscalationFilter(tenant="acme"), by="ada", reason="back"
    )
    approval = await face.asking(tenant="acme")
    pause = await face.services.pausing.pause(Scope(tenant="acme"), by="ada", reason="x")
    ids = {
        "run_id": run_id, "escalation_id": escalation_id, "job_id": job.id,
        "approval_id": approval.id, "pause_id": pause.id,
    }  # fmt: skip
    ours, theirs = (
        await face.asker(Role.ADMIN, tenant="acme"), await face.asker(Role.ADMIN, tenant="zeta")
    )  # fmt: skip
    for operation in operations(face):
        name = operation[2]
        answer = await ask(theirs, face, operation, **ids)
        if name in OF_ALL_TENANTS:
            assert answer.status_code == 403, (operation, answer.text)
        elif any(f"{{{name}}}" in operation[1] for name in ids):
            assert answer.status_code == 404, (operation, answer.text)
            unknown = await ask(theirs, face, operation)
            of_theirs = answer.text
            for known in ids.values():
                of_theirs = of_theirs.replace(known, NOBODY)
            assert of_theirs == unknown.text
        else:
            assert run_id not in answer.text
    assert (await ours.get(f"/v1/runs/{run_id}")).status_code == 200
    assert (await ours.get(f"/v1/escalations/{escalation_id}")).status_code == 200
    for listed, count in (
        ("/v1/runs", 2), ("/v1/escalations", 1), ("/v1/jobs", 1), ("/v1/approvals", 1),
    ):  # fmt: skip
        assert len((await ours.get(listed)).json()["items"]) == count
        assert (await theirs.get(listed)).json()["items"] == []
        assert (await theirs.get(listed, params={"tenant": "acme"})).status_code == 403
    for who, tenant in ((ours, "acme"), (theirs, "zeta")):
        (listed_pause,) = (await who.get("/v1/pauses")).json()["items"]  # theirs: made above
        assert listed_pause["tenant"] == tenant
    wish = {"workflow": "payments", "inputs": {}, "tenant": "acme"}
    assert (await theirs.post("/v1/runs", json=wish)).status_code == 403
    for where, status in (({"tenant": "acme"}, 403), ({"ids": [escalation_id]}, 404)):
        many = {"act": "abandon", "where": where, "reason": "x"}
        assert (await theirs.post("/v1/escalations:bulk", json=many)).status_code == status


async def test_a_revoked_key_soon_is_good_for_nothing(face: Face) -> None:
    now = 100.0
    access = Access(face.store, new_id=new_id, monotonic=lambda: now)
    key, text = await access.create(
        "eve", role=Role.VIEWER, tenant=None, lives_seconds=None, by="root"
    )
    eve = Principal(name="eve", role=Role.VIEWER, tenant=None)
    assert await access.authenticate(text) == eve
    await access.revoke(key.id, by="root")
    now += TRUSTED_SECONDS - 0.1
    assert await access.authenticate(text) == eve  # it is trusted for a few seconds
    now += 0.2
    with pytest.raises(NotAuthenticated):
        await access.authenticate(text)
    assert (await face.client(text).get("/v1/me")).status_code == 401
    assert text[-43:] not in str(await access.list())


@pytest.mark.parametrize(
    ("headers", "place"),
    [
        ({"host": "evil.example"}, "header Host"),
        ({"host": "localhost.evil.example:8400"}, "header Host"),
        ({"host": "[bad"}, "header Host"),
        ({"origin": "https://evil.example"}, "header Origin"),
        ({"origin": "null"}, "header Origin"),
        ({"origin": "http://[bad"}, "header Origin"),
    ],
)
async def test_without_keys_strangers_pages_are_refused(
    open_face: Face, headers: dict[str, str], place: str
) -> None:
    client = open_face.client()
    assert (await client.get("/v1/me")).json()["role"] == "admin"
    own = {"host": "127.0.0.1:8400", "origin": "http://127.0.0.1:8400"}
    assert (await client.get("/v1/me", headers=own)).status_code == 200
    refused = await client.get("/v1/me", headers=headers)
    assert refused.status_code == 403
    assert refused.json()["problems"][0]["place"] == place
