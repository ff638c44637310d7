"""Who may ask what: every operation by every role and tenant, and a face without keys.

What an operation needs stands in `operations.py`; a new route without an entry there fails.
"""

from __future__ import annotations

import dataclasses
import itertools

import httpx
import pytest

from orchestrator.core.guarding import Policy
from orchestrator.errors import NotAuthenticated
from orchestrator.ports import Agent, EscalationFilter, Role
from orchestrator.service.access import TRUSTED_SECONDS, Access
from orchestrator.service.pausing import Scope
from orchestrator.service.principal import Principal
from tests.integration.api.conftest import Face
from tests.integration.api.documented import Documented, documented
from tests.integration.api.operations import KINDS, NOBODY, OPERATIONS, OTHERS, OURS, Ask, send
from tests.store.making import new_id

TENANTS = (None, OURS, OTHERS)
NOT_LET_IN = {401, 403, 404}


def wanted(operation: Documented, role: Role | None, tenant: str | None) -> int | None:
    """How an ask about a thing of the tenant OURS is refused; None: it is not."""
    entry = OPERATIONS[operation.id]
    if entry.least is None:
        return None
    if role is None:
        return 401
    if not role.covers(entry.least) or (entry.of_all_tenants and tenant is not None):
        return 403
    if tenant != OTHERS:
        return None
    return 404 if KINDS & {*operation.names} else entry.elsewhere


async def test_every_operation_by_every_role_and_tenant(face: Face) -> None:
    """All that are to be refused ask first; then the least role of the own tenant succeeds."""
    clients = {
        (role, tenant): await face.asker(role, tenant=tenant) for role in Role for tenant in TENANTS
    }
    asked = list(itertools.product((None, *Role), TENANTS))
    for operation in documented(face.app.openapi()):
        entry = OPERATIONS[operation.id]
        status = entry.success
        ask = await entry.provoked[status](face)
        for who in asked:
            client, refusal = clients.get(who, face.client()), wanted(operation, *who)
            if refusal is not None:
                answer = await send(client, operation, ask)
                assert answer.status_code == refusal, (operation, who, answer.text)
                assert who[1] != OTHERS or not _told_of(ask, answer), (operation, answer.text)
        tenant = None if entry.of_all_tenants else OURS
        first = clients.get((entry.least, tenant), face.client())
        answer = await send(first, operation, ask)
        assert answer.status_code == status, (operation, answer.text)
        for who in asked:
            if wanted(operation, *who) is None and clients.get(who) is not first:
                answer = await send(clients.get(who, face.client()), operation, ask)
                code = answer.status_code
                assert code < 500, (operation, who, answer.text)
                assert code not in NOT_LET_IN, (operation, who, answer.text)
                if who[1] == OTHERS:
                    assert not _told_of(ask, answer), (operation, who, answer.text)


def _told_of(ask: Ask, answer: httpx.Response) -> bool:
    """Whether an answer holds more of our things than what was asked for."""
    ids = [part for name, part in ask.ids.items() if name in KINDS]
    return OURS in answer.text or any(answer.text.count(known) > 2 for known in ids)


@pytest.mark.parametrize("shown", ["nonsense", f"ork_{'0' * 32}_{'x' * 43}"])
async def test_nobody_gets_in_without_a_key(face: Face, shown: str) -> None:
    client = face.client(shown)
    for operation in documented(face.app.openapi()):
        answer = await send(client, operation, Ask())
        if OPERATIONS[operation.id].least is None:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 401, operation
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert shown not in answer.text


async def test_what_is_hidden_is_answered_as_what_does_not_exist(face: Face) -> None:
    theirs = await face.asker(Role.ADMIN, tenant=OTHERS)
    for operation in documented(face.app.openapi()):
        if KINDS & {*operation.names}:
            entry = OPERATIONS[operation.id]
            ask = await entry.provoked[entry.success](face)
            hidden = await send(theirs, operation, ask)
            unknown = await send(theirs, operation, dataclasses.replace(ask, ids={}))
            of_nobody = hidden.text
            for known in ask.ids.values():
                of_nobody = of_nobody.replace(known, NOBODY)
            assert of_nobody == unknown.text


async def test_lists_hold_what_is_of_the_own_tenant(face: Face) -> None:
    escalation_id, _ = await face.stuck(tenant=OURS)
    await face.services.jobs.start(
        "escalations.retry", EscalationFilter(tenant=OURS), by="ada", reason="back"
    )
    await face.asking(tenant=OURS)
    await face.services.pausing.pause(Scope(tenant=OURS), by="ada", reason="x")
    await face.services.policies.set(Agent(OURS, "bot"), Policy(), by="ada", reason="x")
    ours = await face.asker(Role.ADMIN, tenant=OURS)
    theirs = await face.asker(Role.ADMIN, tenant=OTHERS)
    for listed, count in (
        ("/v1/runs", 2), ("/v1/escalations", 1), ("/v1/jobs", 1), ("/v1/approvals", 1),
        ("/v1/pauses", 1), ("/v1/agents", 1),
    ):  # fmt: skip
        assert len((await ours.get(listed)).json()["items"]) == count
        assert (await theirs.get(listed)).json()["items"] == []
        assert (await theirs.get(listed, params={"tenant": OURS})).status_code == 403
    wish = {"workflow": "payments", "inputs": {}, "tenant": OURS}
    assert (await theirs.post("/v1/runs", json=wish)).status_code == 403
    for where, status in (({"tenant": OURS}, 403), ({"ids": [escalation_id]}, 404)):
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


@pytest.mark.parametrize("path", ["/health/live", "/v1/runs", "/nothing"])
async def test_no_page_of_others_shows_ours_in_itself(open_face: Face, path: str) -> None:
    headers = (await open_face.client().get(path)).headers
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
