"""Who tries to get in where agents talk over HTTP: with other names, sessions, sizes and pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from orchestrator.ports import Role
from orchestrator.service.access import TRUSTED_SECONDS, Access
from tests.integration.api.conftest import Face
from tests.integration.api.test_agents_over_http import HEADERS, INITIALIZE, listening
from tests.store.making import new_id

MOST_BYTES = 4 << 20
PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
TOOLS = {"jsonrpc": "2.0", "id": 3, "method": "tools/list"}


async def shown(face: Face, role: Role = Role.SUBMITTER, **who: str) -> dict[str, str]:
    return {**HEADERS, "authorization": f"Bearer {await face.key(role, **who)}"}


async def test_a_session_is_good_with_the_key_alone_that_began_it(face: Face) -> None:
    """Whoever has read another's session id would else hear and answer what is asked of it."""
    own = await shown(face, name="bot-1", tenant="acme")
    others = [
        await shown(face, name="bot-2", tenant="acme"),
        await shown(face, name="bot-1", tenant="zeta"),
        await shown(face, Role.ADMIN, name="root"),
    ]
    async with listening(face) as url, httpx.AsyncClient() as client:
        begun = await client.post(url, json=INITIALIZE, headers=own)
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        for other in others:
            for method, body in (("POST", TOOLS), ("GET", None), ("DELETE", None)):
                answer = await client.request(method, url, json=body, headers=other | session)
                assert answer.status_code == 404, (method, other, answer.text)
        assert (await client.post(url, json=PING, headers=own | session)).status_code == 200
        invented = {"mcp-session-id": "0" * 32}
        assert (await client.post(url, json=PING, headers=own | invented)).status_code == 404


async def test_a_key_that_was_revoked_ends_its_session(face: Face) -> None:
    now = 100.0
    access = Access(face.store, new_id=new_id, monotonic=lambda: now)
    headers = await shown(face, name="bot-1")
    here = replace(face, services=replace(face.services, access=access))
    async with listening(here) as url, httpx.AsyncClient() as client:
        begun = await client.post(url, json=INITIALIZE, headers=headers)
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        (key,) = [each for each in await access.list() if each.name == "bot-1"]
        await access.revoke(key.id, by="root")
        now += TRUSTED_SECONDS + 0.1
        assert (await client.post(url, json=PING, headers=headers | session)).status_code == 401


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_refused_by_its_size(face: Face, announced: bool) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(MOST_BYTES // 65_536 + 1):
            yield b" " * 65_536

    body = b" " * (MOST_BYTES + 1) if announced else drip()
    headers = {**await shown(face), "content-type": "application/json"}
    async with listening(face) as url, httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(url, content=body, headers=headers)
        assert answer.status_code == 413
        without = {name: value for name, value in headers.items() if name != "authorization"}
        assert (await client.post(url, content=b"{}", headers=without)).status_code == 401


@pytest.mark.parametrize("version", [{}, {"mcp-protocol-version": "2099-01-01"}])
@pytest.mark.parametrize("wants_keys", [True, False])
async def test_what_a_page_in_a_browser_may_send_does_nothing(
    face: Face, wants_keys: bool, version: dict[str, str]
) -> None:
    """Other names for this machine (DNS rebinding), other pages, and what needs no preflight."""
    good = await shown(face)
    async with listening(face, wants_keys=wants_keys) as url, httpx.AsyncClient() as client:
        port = httpx.URL(url).port
        for more, status in (
            ({"host": "evil.example"}, 421),
            ({"host": f"evil.example:{port}"}, 421),
            ({"host": "127.0.0.1.evil.example"}, 421),
            ({"host": ""}, 421),
            ({"origin": "https://evil.example"}, 403),
            ({"origin": "null"}, 403),
            ({"origin": f"http://127.0.0.1.evil.example:{port}"}, 403),
            ({"content-type": "text/plain"}, 400),
            ({"content-type": "application/x-www-form-urlencoded"}, 400),
        ):
            answer = await client.post(url, json=INITIALIZE, headers={**good, **version, **more})
            assert answer.status_code == status, (more, answer.text)
            assert "mcp-session-id" not in answer.headers
            assert "access-control-allow-origin" not in answer.headers
