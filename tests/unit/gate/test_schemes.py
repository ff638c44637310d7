"""Which credential goes where, when the API's document says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.demands import Demand, DemandKind, Security
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.engine.api_credentials import ApiCredentials, lacking
from orchestrator.engine.apis import ApiConfig, load_apis
from orchestrator.engine.inspecting import ConfiguredCredentials
from orchestrator.engine.tokens import TokenDesk
from orchestrator.errors import InvalidSetting, NoCredential

KEY = Demand(scheme="key", kind=DemandKind.API_KEY, place="header", name="X-Key")
COOKIE = Demand(scheme="sid", kind=DemandKind.API_KEY, place="cookie", name="sid")
LOGIN = Demand(scheme="login", kind=DemandKind.BASIC)
CERT = Demand(scheme="cert", kind=DemandKind.MUTUAL_TLS)
PEOPLE = Demand(scheme="people", kind=DemandKind.UNSUPPORTED, why="signs in people")
TOKEN = Demand(
    scheme="token", kind=DemandKind.OAUTH2, token_url="https://doc.example/token",
    refresh_url="https://doc.example/refresh", scopes=("read",),
)  # fmt: skip
SCHEMES = """\
auth:
  schemes:
    key: {value: env:KEY}
    sid: {value: env:SID}
    login: {basic: {user: me, password: env:KEY}}
    token: {oauth2: {client_id: us, client_secret: env:KEY}}
  tenants:
    acme: {schemes: {key: {value: env:ACME}}}
    own: {bearer: env:ACME}
"""


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY", "SID", "ACME"):
        monkeypatch.setenv(name, f"{name.lower()}-s3cret")


def load(folder: Path, text: str) -> ApiConfig:
    (folder / "api.yaml").write_text(text)
    (config,) = load_apis(folder).values()
    return config


class Endpoint:
    """Notes what is asked of token endpoints, and answers with a token for it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []

    async def ask(
        self, base: str, request: FrozenRequest, may_leave: Callable[[], bool]
    ) -> Response:
        self.asked.append((base, request.body))
        body = b'{"access_token": "t%d", "token_type": "Bearer"}' % len(self.asked)
        return Response(status=200, headers={"content-type": "application/json"}, body=body)


async def sent(
    config: ApiConfig, security: Security | None, tenant: str = "default",
    endpoint: Endpoint | None = None,
) -> dict[str, str]:  # fmt: skip
    """The headers that a request carries."""
    assert config.auth is not None
    ask = (endpoint or Endpoint()).ask
    credentials = ApiCredentials(config, config.auth, TokenDesk(), ask)
    wanted = credentials.of(tenant, security)
    if wanted is None:
        return {}
    _, headers = (await wanted.get()).dress(FrozenRequest(method="GET", target="/"))
    return dict(headers)


@pytest.mark.parametrize(
    ("security", "headers"),
    [
        (None, {}),
        ((), {}),
        (((KEY,),), {"X-Key": "key-s3cret"}),
        (((KEY, COOKIE),), {"X-Key": "key-s3cret", "Cookie": "sid=sid-s3cret"}),
        (((PEOPLE,), (COOKIE,)), {"Cookie": "sid=sid-s3cret"}),
        (((LOGIN,),), {"Authorization": "Basic bWU6a2V5LXMzY3JldA=="}),
        (((), (KEY,)), {"X-Key": "key-s3cret"}),
        (((PEOPLE,), ()), {}),
        (((CERT,), (KEY,)), {"X-Key": "key-s3cret"}),
    ],
)
async def test_the_first_alternative_of_which_all_is_there(
    tmp_path: Path, security: Security | None, headers: dict[str, str]
) -> None:
    assert await sent(load(tmp_path, SCHEMES), security) == headers


async def test_a_tenant_has_its_own_and_nothing_of_others(tmp_path: Path) -> None:
    config = load(tmp_path, SCHEMES)
    assert await sent(config, ((KEY,),), "acme") == {"X-Key": "acme-s3cret"}
    with pytest.raises(NoCredential, match=r"scheme sid .*nothing there") as caught:
        await sent(config, ((COOKIE,),), "acme")
    assert not caught.value.retryable
    assert await sent(config, ((COOKIE,),), "own") == {"Authorization": "Bearer acme-s3cret"}


async def test_a_form_without_schemes_is_sent_unless_none_is_wanted(tmp_path: Path) -> None:
    config = load(tmp_path, "auth: {bearer: env:KEY}")
    for security in (None, ((PEOPLE,),), ((KEY, COOKIE),)):
        assert await sent(config, security) == {"Authorization": "Bearer key-s3cret"}
    assert await sent(config, ()) == {}


async def test_tokens_come_from_the_documents_endpoint_with_the_operations_scopes(
    tmp_path: Path,
) -> None:
    endpoint = Endpoint()
    config = load(tmp_path, SCHEMES)
    assert await sent(config, ((TOKEN,),), endpoint=endpoint) == {"Authorization": "Bearer t1"}
    ((base, body),) = endpoint.asked
    assert base.startswith("https://doc.example")
    assert b"scope=read" in body


async def test_what_the_configuration_says_of_tokens_goes_before_the_document(
    tmp_path: Path,
) -> None:
    endpoint = Endpoint()
    oauth2 = (
        "{client_id: us, client_secret: env:KEY, scopes: [all], "
        "token_url: 'https://own.example/token'}"
    )
    config = load(tmp_path, f"auth: {{schemes: {{token: {{oauth2: {oauth2}}}}}}}")
    await sent(config, ((TOKEN,),), endpoint=endpoint)
    ((base, body),) = endpoint.asked
    assert base.startswith("https://own.example")
    assert b"scope=all" in body


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "no token endpoint for client_credentials"),
        ("http://doc.example/token", "wanted https"),
        ("/token", "'/token': wanted"),
    ],
)
def test_a_clients_secret_does_not_go_just_anywhere(tmp_path: Path, url: str, why: str) -> None:
    demand = Demand(scheme="token", kind=DemandKind.OAUTH2, token_url=url)
    assert why in lacking(load(tmp_path, SCHEMES), None, ((demand,),))


def test_what_is_lacking_is_named_with_its_place(tmp_path: Path) -> None:
    config = load(tmp_path, "auth: {schemes: {key: {basic: {user: me, password: env:KEY}}}}")
    why = lacking(config, None, ((KEY,), (COOKIE, PEOPLE), (CERT,)))
    assert why.startswith("api: auth.schemes: no credential for this operation: ")
    assert "scheme key (apiKey): basic does not go with it; wanted {value: env:…}" in why
    assert "scheme sid (apiKey): nothing there" in why
    assert "scheme people: signs in people" in why
    assert "scheme cert: no certificate" in why
    assert "demands key" in lacking(ApiConfig(name="bare"), None, ((KEY,),))
    assert lacking(ApiConfig(name="bare"), None, ((KEY,), ())) == ""


def test_a_certificate_satisfies_mutual_tls_by_itself(tmp_path: Path) -> None:
    tls = "tls: {cert: /etc/us.pem}\n"
    assert lacking(load(tmp_path, SCHEMES + tls), None, ((CERT, KEY),)) == ""


@pytest.mark.parametrize(
    ("auth", "place", "wanted"),
    [
        ("{schemes: {k: {}}}", "api.yaml:1: auth.schemes.k", "one of value, basic, oauth2"),
        ("{schemes: {k: {token: a}}}", "auth.schemes.k.token", "one of value, basic, oauth2"),
        ("{schemes: {k: {value: s3cret}}}", "auth.schemes.k.value", "env:NAME"),
        ("{schemes: {}}", "auth.schemes", "at least 1"),
        ("{bearer: env:A, schemes: {k: {value: env:A}}}", "auth", "one of"),
        (
            "{schemes: {k: {oauth2: {client_id: a, client_secret: env:A, token_url: 'http://x/'}}}}",
            "auth.schemes.k.oauth2.token_url", "https",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file(tmp_path: Path, auth: str, place: str, wanted: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(tmp_path, f"auth: {auth}")
    text = "\n".join(map(str, caught.value.problems))
    assert place in text
    assert wanted in text
    assert "s3cret" not in text


async def test_the_doctor_names_calls_that_cannot_show_who_they_are(tmp_path: Path) -> None:
    load(tmp_path, SCHEMES)

    async def demanded() -> list[tuple[str, str, Security]]:
        return [("w.a", "api", ((COOKIE,),)), ("w.b", "api", ((COOKIE,),)), ("w.c", "x", ((KEY,),))]

    facts = await ConfiguredCredentials(lambda: load_apis(tmp_path), "", demanded).facts()
    problems = {fact.name: fact.problem for fact in facts.credentials if fact.problem}
    assert set(problems) == {"w.a and 1 more", "w.c"}
    assert problems["w.a and 1 more"].startswith("tenant acme: api: auth.schemes: no credential")
    assert problems["w.c"] == "x: its document demands key; there is no auth"
