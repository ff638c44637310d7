"""Tokens of an identity provider, which here is a server of our own on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from orchestrator.console.desk import COOKIE, Desk
from orchestrator.console.pages import add_entry
from orchestrator.engine.fetching import MOST_BYTES, fetch
from orchestrator.errors import InvalidSetting, NotAuthenticated, Unavailable
from orchestrator.ports import Role
from orchestrator.service.issuer_keys import (
    DISCOVERY,
    FRESH_SECONDS,
    PAUSE_SECONDS,
    STALE_SECONDS,
    IssuerKeys,
)
from orchestrator.settings import Settings
from orchestrator.token_rules import token_rules
from tests.integration.api.conftest import Face, face_of

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def of_rsa(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


@dataclass
class Issuer:
    """Publishes keys and counts who asks for them."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    body: bytes | None = None
    status: int = 200
    asked: int = 0
    speaks_for: str = ""

    async def discovery(self, _: web.Request) -> web.Response:
        issuer = self.speaks_for or self.url
        return web.json_response({"issuer": issuer, "jwks_uri": f"{self.url}/keys"})

    async def key_set(self, _: web.Request) -> web.Response:
        self.asked += 1
        body = json.dumps({"keys": self.keys}).encode() if self.body is None else self.body
        headers = {"location": f"{self.url}/elsewhere"}
        return web.Response(body=body, status=self.status, headers=headers)

    def token(
        self, *, key: Any = RSA, alg: str = "RS256", kid: str | None = "k1", **claims: Any
    ) -> str:
        now = int(time.time())
        given = {
            "iss": self.url, "aud": "orchestrator", "sub": "ada", "iat": now, "exp": now + 60,
            "roles": ["operator"], "tenant": "acme", **claims,
        }  # fmt: skip
        headers = {} if kid is None else {"kid": kid}
        kept = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(kept, key, algorithm=alg, headers=headers)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer(keys=[
        of_rsa(RSA, "k1"),
        {**json.loads(ECAlgorithm.to_jwk(CURVE.public_key())), "kid": "k2"},
        {"kty": "oct", "kid": "secret", "k": base64.urlsafe_b64encode(b"s" * 32).decode()},
        {**of_rsa(OTHER, "for-encryption"), "use": "enc"},
        {"kty": "RSA", "kid": "broken"}, "nonsense",
    ])  # fmt: skip
    app = web.Application()
    app.router.add_get(DISCOVERY, made.discovery)
    app.router.add_get("/keys", made.key_set)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def with_tokens(settings: Settings, issuer: Issuer, **changes: Any) -> Settings:
    return settings.model_copy(update={
        "api_auth": "keys", "api_token_issuer": issuer.url, "api_token_audience": "orchestrator",
        **changes,
    })  # fmt: skip


@pytest.fixture
async def tokens_face(settings: Settings, issuer: Issuer) -> AsyncIterator[Face]:
    async with face_of(with_tokens(settings, issuer), wants_keys=True) as made:
        yield made


async def me(face: Face, token: str) -> httpx.Response:
    return await face.client(token).get("/v1/me")


async def test_who_shows_a_good_token_is_who_it_says(tokens_face: Face, issuer: Issuer) -> None:
    found = (await me(tokens_face, issuer.token())).json()
    assert (found["name"], found["role"], found["tenant"]) == ("ada", "operator", "acme")
    by_curve = issuer.token(
        key=CURVE, alg="ES256", kid="k2", roles=["viewer", "admin", "x"], tenant="*",
        aud=["other", "orchestrator"],
    )  # fmt: skip
    found = (await me(tokens_face, by_curve)).json()
    assert (found["role"], found["tenant"]) == ("admin", None)
    assert issuer.asked == 1  # for both, and for whatever comes
    _, run = await tokens_face.stuck(tenant="zeta")
    assert (await tokens_face.client(issuer.token()).get(f"/v1/runs/{run}")).status_code == 404
    key = await tokens_face.asker(Role.VIEWER)
    assert (await key.get("/v1/me")).json()["role"] == "viewer"  # keys are good as well


def unsigned(token: str, header: dict[str, Any]) -> str:
    """The token's claims under another header, without a signature."""
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    return f"{head}.{token.split('.')[1]}."


def signed_with_the_public_key(issuer: Issuer) -> str:
    """HS256 with what everybody can read: good where the algorithm is believed."""
    signed = unsigned(issuer.token(), {"alg": "HS256", "kid": "k1"}).rstrip(".")
    mac = hmac.new(PUBLIC, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


HOSTILE: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "none": (lambda i: unsigned(i.token(), {"alg": "none", "kid": "k1"}), "header alg"),
    "NONE": (lambda i: unsigned(i.token(), {"alg": "nOnE", "kid": "k1"}), "header alg"),
    "stripped": (lambda i: i.token().rpartition(".")[0] + ".", "token"),
    "public key as secret": (signed_with_the_public_key, "header alg"),
    "shared secret of the set": (
        lambda i: i.token(key=b"s" * 32, alg="HS256", kid="secret"), "header alg"
    ),
    "another's signature": (lambda i: i.token(key=OTHER), "token"),
    "a key that encrypts": (lambda i: i.token(key=OTHER, kid="for-encryption"), "header kid"),
    "unknown key": (lambda i: i.token(key=OTHER, kid="k9"), "header kid"),
    "no key": (lambda i: i.token(kid=None), "header kid"),
    "another kind of key": (lambda i: i.token(key=CURVE, alg="ES256", kid="k1"), "token"),
    "not allowed here": (lambda i: i.token(alg="RS512"), "header alg"),
    "expired": (lambda i: i.token(exp=int(time.time()) - 60), "claim exp"),
    "no end": (lambda i: i.token(exp=None), "claim exp"),
    "not yet": (lambda i: i.token(nbf=int(time.time()) + 120), "claims nbf"),
    "from the future": (lambda i: i.token(iat=int(time.time()) + 120), "claims nbf"),
    "another audience": (lambda i: i.token(aud="mail"), "claim aud"),
    "no audience": (lambda i: i.token(aud=None), "claim aud"),
    "another issuer": (lambda i: i.token(iss="https://evil.example"), "claim iss"),
    "nobody": (lambda i: i.token(sub=" "), "claim sub"),
    "too long": (lambda i: i.token(more="x" * 20_000), "token"),
    "no token": (lambda i: "a.b.c", "token"),
    "bytes": (lambda i: "\x80.\xff.é", "token"),
}  # fmt: skip


async def test_hostile_tokens_are_told_what_is_wrong(tokens_face: Face, issuer: Issuer) -> None:
    for name, (make, place) in HOSTILE.items():
        token = make(issuer)
        shown = {"authorization": f"Bearer {token}".encode("latin-1")}
        answer = await tokens_face.client().get("/v1/me", headers=shown)
        assert answer.status_code == 401, (name, answer.text)
        assert place in answer.json()["problems"][0]["place"], (name, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "evil.example" not in answer.text
    assert issuer.asked <= 2  # forged key ids do not make us ask again and again


async def test_a_good_token_that_gives_nothing_here_is_refused(
    tokens_face: Face, issuer: Issuer
) -> None:
    for claims, place in (
        ({"roles": None}, "claim roles"), ({"roles": ["boss"]}, "claim roles"),
        ({"roles": {"admin": 1}}, "claim roles"), ({"roles": [["admin"]]}, "claim roles"),
        ({"tenant": None}, "claim tenant"), ({"tenant": ["acme"]}, "claim tenant"),
    ):  # fmt: skip
        answer = await me(tokens_face, issuer.token(**claims))
        assert answer.status_code == 403, answer.text
        assert answer.json()["problems"][0]["place"] == f"token, {place}"


async def test_claims_have_the_names_that_the_deployment_says(
    settings: Settings, issuer: Issuer
) -> None:
    named = with_tokens(
        settings, issuer, api_token_role_claim="realm_access.roles", api_token_tenant_claim="",
        api_token_name_claim="https://example.com/name", api_token_roles={"boss": "admin"},
    )  # fmt: skip
    async with face_of(named, wants_keys=True) as face:
        claims = {"realm_access": {"roles": "boss"}, "https://example.com/name": "Ada L."}
        found = (await me(face, issuer.token(tenant=None, **claims))).json()
        assert (found["name"], found["role"], found["tenant"]) == ("Ada L.", "admin", None)
        assert (await me(face, issuer.token(roles=["admin"]))).status_code == 401  # no name


async def test_keys_are_renewed_when_the_issuer_rotates_them(issuer: Issuer) -> None:
    now = 0.0
    keys = IssuerKeys(issuer.url, "", fetch=fetch, monotonic=lambda: now)
    assert (await keys.key("k1")).key_type == "RSA"
    issuer.keys = [of_rsa(OTHER, "k3")]
    with pytest.raises(NotAuthenticated):
        await keys.key("k3")  # it was asked a moment ago
    now = PAUSE_SECONDS
    await keys.key("k3")
    with pytest.raises(NotAuthenticated):
        await keys.key("k1")  # withdrawn
    assert issuer.asked == 2
    now += FRESH_SECONDS + 1
    issuer.status = 500
    await keys.key("k3")  # the issuer is away: what was known goes on
    assert issuer.asked == 3
    now += STALE_SECONDS
    with pytest.raises(Unavailable, match="it answers 500"):
        await keys.key("k3")


async def test_of_a_single_key_a_token_need_not_say_which_it_is(
    tokens_face: Face, issuer: Issuer
) -> None:
    issuer.keys = [of_rsa(RSA, "k1"), {**of_rsa(OTHER, "k2"), "use": "enc"}]
    assert (await me(tokens_face, issuer.token(kid=None))).status_code == 200
    assert (await me(tokens_face, issuer.token(kid=None, key=OTHER))).status_code == 401
    assert (await me(tokens_face, issuer.token(kid="k2"))).status_code == 401


async def test_an_issuer_that_answers_nonsense_is_away(issuer: Issuer) -> None:
    for body, status, said in (
        (b"no json", 200, "not JSON"), (b"[]", 200, "no JSON object"), (b"{}", 200, "no `keys`"),
        (b" " * (MOST_BYTES + 1), 200, "more than"), (b"{}", 302, "it answers 302"),
    ):  # fmt: skip
        issuer.body, issuer.status = body, status
        with pytest.raises(Unavailable, match=said):
            await IssuerKeys(issuer.url, "", fetch=fetch, monotonic=time.monotonic).key("k1")
    issuer.speaks_for = "https://evil.example"
    with pytest.raises(Unavailable, match="it speaks for"):
        await IssuerKeys(issuer.url, "", fetch=fetch, monotonic=time.monotonic).key("k1")
    nobody = IssuerKeys("http://127.0.0.1:1", "", fetch=fetch, monotonic=time.monotonic)
    with pytest.raises(Unavailable):
        await nobody.key("k1")


async def test_while_the_issuer_is_away_who_asks_is_told_to_come_back(
    tokens_face: Face, issuer: Issuer
) -> None:
    issuer.status = 503
    answer = await me(tokens_face, issuer.token())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"api_auth": "none"}, "setting api_auth"),
        ({"api_token_audience": ""}, "setting api_token_audience"),
        ({"api_token_issuer": "http://login.example"}, "setting api_token_issuer"),
        ({"api_token_keys_url": "http://login.example/keys"}, "setting api_token_keys_url"),
        ({"api_token_algorithms": ("HS256",)}, "setting api_token_algorithms"),
        ({"api_token_algorithms": ()}, "setting api_token_algorithms"),
        ({"api_token_roles": {"boss": "god"}}, "setting api_token_roles.boss"),
    ],
)
def test_settings_that_would_let_the_wrong_people_in(changes: dict[str, Any], place: str) -> None:
    good = {
        "api_auth": "keys", "api_token_issuer": "https://login.example",
        "api_token_audience": "orchestrator",
    }  # fmt: skip
    assert token_rules(Settings(**good)).issuer == good["api_token_issuer"]
    with pytest.raises(InvalidSetting) as refused:
        token_rules(Settings(**{**good, **changes}))
    assert place in [each.place for each in refused.value.problems]


async def test_a_token_opens_the_console_and_what_is_wrong_is_told(
    tokens_face: Face, issuer: Issuer
) -> None:
    app = FastAPI()
    add_entry(app, Desk(lambda: tokens_face.services, wants_keys=True))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for shown, leads_to in (
            (issuer.token(), "/console/"),
            (f" {await tokens_face.key(Role.VIEWER)} ", "/console/"),
            (issuer.token(key=OTHER), "/console/login?wrong=key"),
            (issuer.token(roles=["stranger"]), "/console/login?wrong=role"),
            (issuer.token(more="x" * 4_000), "/console/login?wrong=long"),
        ):
            answer = await client.post("/console-login", data={"key": shown})
            assert answer.headers["location"] == leads_to
            assert (COOKIE in answer.cookies) == (leads_to == "/console/")
