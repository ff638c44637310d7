"""Logging in at the console by an identity provider, which is a server of our own on loopback.

It holds us to what the specifications say: the redirect URI, the client's secret, PKCE, codes that
are good once. What it answers can be bent.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import jwt
import pytest
from aiohttp import web
from fastapi import FastAPI

from orchestrator.console.desk import COOKIE, Desk, Visitor
from orchestrator.console.frame import login_address, page_here
from orchestrator.console.pages import add_entry
from orchestrator.console.signing_in import ALLOWED, BACK, THERE
from orchestrator.errors import InvalidSetting, NotAllowed, NotAuthenticated
from orchestrator.ports import Role
from orchestrator.service.principal import Principal
from orchestrator.service.sessions import PREFIX, Sessions
from orchestrator.settings import Settings
from orchestrator.wiring_tokens import open_sign_in
from tests.integration.api.conftest import Face, face_of
from tests.integration.api.test_tokens import OTHER, RSA, of_rsa

CLIENT, SECRET = "console", "s3cret of the client's"
HERE = "http://localhost"


@dataclass
class Provider:
    """Logs everybody in who is sent to it."""

    url: str = ""
    secret: str | None = SECRET
    claims: dict[str, Any] = field(default_factory=dict)  # None: left out
    answers: dict[str, str] = field(default_factory=dict)  # of the way back, bent
    more: dict[str, Any] = field(default_factory=dict)  # of the discovery document
    key: Any = RSA
    status: int = 200  # of the token endpoint
    codes: dict[str, Mapping[str, str]] = field(default_factory=dict)

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response({
            "issuer": self.url, "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize?tenant=main",
            "token_endpoint": f"{self.url}/token",
            "end_session_endpoint": f"{self.url}/logout",
            "authorization_response_iss_parameter_supported": True, **self.more,
        })  # fmt: skip

    async def key_set(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [of_rsa(RSA, "k1")]})

    async def authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        assert asked["tenant"] == "main"
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["redirect_uri"] == HERE + BACK
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        given = {"code": code, "state": asked["state"], "iss": self.url, **self.answers}
        kept = {name: value for name, value in given.items() if value}
        back = f"{asked['redirect_uri']}?{urlencode(kept)}"
        return web.Response(status=302, headers={"location": back})

    async def token(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.Response(status=self.status, text="away")
        form = dict(parse_qsl(await request.text()))
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        assert form["redirect_uri"] == asked["redirect_uri"]
        if not self._knows(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        now = int(time.time())
        given = {
            "iss": self.url, "aud": CLIENT, "sub": "ada", "iat": now, "exp": now + 60,
            "nonce": asked["nonce"], "roles": ["operator"], "tenant": "acme", **self.claims,
        }  # fmt: skip
        kept = {name: value for name, value in given.items() if value is not None}
        text = jwt.encode(kept, self.key, algorithm="RS256", headers={"kid": "k1"})
        return web.json_response(
            {"access_token": "opaque", "token_type": "Bearer", "id_token": text, "expires_in": 60}
        )

    def _knows(self, request: web.Request, form: Mapping[str, str]) -> bool:
        if self.secret is None:
            return form["client_id"] == CLIENT and "client_secret" not in form
        if "authorization" in request.headers:
            shown = base64.b64decode(request.headers["authorization"].removeprefix("Basic "))
            return shown.decode() == f"{CLIENT}:{self.secret}"
        return (form.get("client_id"), form.get("client_secret")) == (CLIENT, self.secret)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", made.discovery)
    app.router.add_get("/keys", made.key_set)
    app.router.add_get("/authorize", made.authorize)
    app.router.add_post("/token", made.token)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}"
    yield made
    await runner.cleanup()


def configured(settings: Settings, provider: Provider, **changes: Any) -> Settings:
    secret = settings.state_dir / "client-secret"
    secret.write_text(SECRET)
    return settings.model_copy(update={
        "api_auth": "keys", "api_token_issuer": provider.url,
        "api_token_audience": "orchestrator", "api_login_client_id": CLIENT,
        "api_login_client_secret": f"file:{secret}", "session_key": settings.link_key, **changes,
    })  # fmt: skip


@dataclass
class Browser:
    """Follows redirects to the provider and back, and keeps cookies as browsers do."""

    client: httpx.AsyncClient
    desk: Desk

    async def login(self, then: str = "") -> httpx.Response:
        """What comes of it."""
        return await self.come_back(await self.leave(then))

    async def leave(self, then: str = "") -> str:
        """The way back that the provider answers with."""
        sent = await self.client.get(THERE, params={"then": then})
        assert sent.status_code == 303
        async with httpx.AsyncClient() as elsewhere:
            return (await elsewhere.get(sent.headers["location"])).headers["location"]

    async def come_back(self, address: str) -> httpx.Response:
        return await self.client.get(address)

    async def who(self, least: Role = Role.VIEWER) -> Principal:
        return await Visitor(self.desk, self.client.cookies.get(COOKIE, "")).principal(least)


@asynccontextmanager
async def browser_of(face: Face) -> AsyncIterator[Browser]:
    app, desk = FastAPI(), Desk(lambda: face.services, wants_keys=True)
    add_entry(app, desk)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
        yield Browser(client, desk)


@pytest.fixture
async def browser(settings: Settings, provider: Provider) -> AsyncIterator[Browser]:
    async with (
        face_of(configured(settings, provider), wants_keys=True) as face,
        browser_of(face) as made,
    ):
        yield made


async def test_who_logged_in_elsewhere_is_here_what_the_claims_say(browser: Browser) -> None:
    answer = await browser.login("/console/escalations/abc?tab=audit")
    assert answer.status_code == 200, "a redirect would not carry the strict cookie"
    assert 'content="0;url=/console/escalations/abc?tab=audit"' in answer.text
    (cookie,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith(COOKIE)]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert [*browser.client.cookies] == [COOKIE], "what was kept meanwhile is thrown away"
    who = await browser.who(Role.OPERATOR)
    assert (who.name, who.role, who.tenant) == ("ada", Role.OPERATOR, "acme")
    with pytest.raises(NotAllowed):
        await browser.who(Role.ADMIN)
    services = browser.desk.services()
    with pytest.raises(NotAuthenticated):  # good at the console, and nowhere else
        await services.access.authenticate(browser.client.cookies[COOKIE])
    assert services.sign_in is not None
    out = urlsplit(await services.sign_in.farewell(path="/console/login") or "")
    assert (out.path, dict(parse_qsl(out.query))) == (
        "/logout", {"client_id": CLIENT, "post_logout_redirect_uri": f"{HERE}/console/login"},
    )  # fmt: skip


BENT: dict[str, tuple[dict[str, Any], str]] = {
    "nonce of another login": ({"claims": {"nonce": "other"}}, "token"),
    "no nonce": ({"claims": {"nonce": None}}, "token"),
    "token of another issuer": ({"claims": {"iss": "https://evil.example"}}, "token"),
    "token for another client": ({"claims": {"aud": "mail"}}, "token"),
    "for two, and not by us": ({"claims": {"aud": [CLIENT, "mail"]}}, "token"),
    "by another client": ({"claims": {"azp": "mail"}}, "token"),
    "expired": ({"claims": {"exp": int(time.time()) - 60}}, "token"),
    "signed by somebody": ({"key": OTHER}, "token"),
    "nobody": ({"claims": {"sub": " "}}, "token"),
    "no role here": ({"claims": {"roles": ["stranger"]}}, "role"),
    "no tenant": ({"claims": {"tenant": None}}, "role"),
    "another state": ({"answers": {"state": "other"}}, "state"),
    "another issuer answers": ({"answers": {"iss": "https://evil.example"}}, "issuer"),
    "nobody says who answers": ({"answers": {"iss": ""}}, "issuer"),
    "they said no": ({"answers": {"error": "access_denied", "code": ""}}, "refused"),
    "a code of nobody's": ({"answers": {"code": "forged"}}, "token"),
    "the secret is wrong": ({"secret": "another"}, "token"),
    "away": ({"status": 503}, "provider"),
}


async def test_what_is_bent_logs_nobody_in(browser: Browser, provider: Provider) -> None:
    straight = dict(vars(provider))
    for name, (changes, wrong) in BENT.items():
        vars(provider).update({**straight, **changes})
        answer = await browser.login()
        assert (answer.status_code, answer.headers["location"]) == (
            303, f"/console/login?wrong={wrong}",
        ), name  # fmt: skip
        assert COOKIE not in browser.client.cookies, name
    vars(provider).update(straight)
    assert (await browser.login()).status_code == 200, "when nothing is bent"


async def test_a_way_back_is_good_once_and_in_its_own_browser(browser: Browser) -> None:
    address = await browser.leave()
    other = replace(browser, client=httpx.AsyncClient(
        transport=browser.client._transport, base_url=HERE
    ))  # fmt: skip
    stolen = await other.come_back(address)
    await other.client.aclose()
    assert stolen.headers["location"] == "/console/login?wrong=state"
    second = await browser.leave()
    assert (await browser.come_back(second)).status_code == 200, "of several any may come first"
    assert (await browser.come_back(address)).status_code == 200
    assert (await browser.come_back(address)).headers["location"].endswith("wrong=state")


async def test_a_proxy_asks_who_may_see_what_belongs_to_all(
    browser: Browser, provider: Provider
) -> None:
    asked = {"x-forwarded-uri": "/flower/tasks?limit=5"}
    stranger = await browser.client.get(ALLOWED, headers=asked)
    assert stranger.headers["location"] == "/console/login?then=%2Fflower%2Ftasks%3Flimit%3D5"
    await browser.login("/flower/tasks")
    assert (await browser.client.get(ALLOWED)).status_code == 403, "bound to a tenant"
    provider.claims = {"tenant": "*"}
    assert "url=/flower/tasks" in (await browser.login("/flower/tasks")).text
    assert (await browser.client.get(ALLOWED)).status_code == 204


async def test_public_clients_and_those_that_post_their_secret(
    settings: Settings, provider: Provider
) -> None:
    with_secret = configured(settings, provider)
    cases: list[tuple[Settings, str | None, dict[str, Any]]] = [
        (with_secret.model_copy(update={"api_login_client_secret": ""}), None, {}),
        (with_secret, SECRET, {"token_endpoint_auth_methods_supported": ["client_secret_post"]}),
    ]
    for said, provider.secret, provider.more in cases:
        async with face_of(said, wants_keys=True) as face, browser_of(face) as browser:
            assert (await browser.login()).status_code == 200
    provider.more = {"authorization_endpoint": "http://login.example/authorize"}
    async with face_of(with_secret, wants_keys=True) as face, browser_of(face) as browser:
        sent = await browser.client.get(THERE)
        assert sent.headers["location"] == "/console/login?wrong=provider", "not in the clear"


def test_a_session_ends_and_cannot_be_made_elsewhere() -> None:
    now = 1_000.0
    sessions = Sessions("k" * 32, seconds=60, wall_seconds=lambda: now)
    ada = Principal(name="ada", role=Role.APPROVER, tenant=None)
    text = sessions.of(ada)
    assert text.startswith(PREFIX)
    assert sessions.read(text) == ada
    forger = Sessions("f" * 32, seconds=60, wall_seconds=lambda: now)
    for wrong in (forger.of(ada), text[:-1], PREFIX, text.upper()):
        with pytest.raises(NotAuthenticated):
            sessions.read(wrong)
    now += 61
    with pytest.raises(NotAuthenticated, match="over"):
        sessions.read(text)


def test_one_comes_back_to_pages_of_ours_alone() -> None:
    assert page_here("/console/runs?status=escalated&limit=5") == (
        "/console/runs?status=escalated&limit=5"
    )
    elsewhere = (
        "https://evil.example/console/", "//evil.example", "/console//evil.example", "/v1/runs",
        "/console/\\evil", "/console/<i>", '/console/"x', "/console/\r\nx", "", "/consolex",
    )  # fmt: skip
    for wanted in elsewhere:
        assert page_here(wanted) == "/console/"
    assert login_address("/console/runs") == "/console/login?then=%2Fconsole%2Fruns"
    assert login_address("//evil.example") == "/console/login"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"api_token_issuer": ""}, "setting api_token_issuer"),
        ({"api_login_scopes": ("profile",)}, "setting api_login_scopes"),
        ({"api_login_client_secret": "s3cret"}, "setting api_login_client_secret"),
        ({"session_key": "short"}, "setting session_key"),
        ({"api_auth": "none"}, "setting api_auth"),
    ],
)
def test_settings_with_which_nobody_could_log_in(
    settings: Settings, changes: dict[str, Any], place: str
) -> None:
    good = configured(settings, Provider(url="https://login.example"))
    assert open_sign_in(good) is not None
    with pytest.raises(InvalidSetting) as refused:
        open_sign_in(good.model_copy(update=changes))
    assert place in [each.place for each in refused.value.problems]
