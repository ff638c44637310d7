"""What an operation demands, as OpenAPI 2.0, 3.0 and 3.1 documents say it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.demands import (
    Demand,
    DemandKind,
    Security,
    security_from_json,
    security_to_json,
)
from orchestrator.core.exchange import Facts, FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.openapi import OpenApiDocument
from orchestrator.definitions.program import Program
from orchestrator.definitions.security import demands_of, security_of
from tests.unit.definitions.small_api import API, GET, HEAD, NONE

V3 = """\
openapi: 3.1.0
info: {title: t, version: '1'}
security: [{key: []}]
paths:
  /a:
    get: {operationId: inherits, responses: {}}
    put: {operationId: nothing, security: [], responses: {}}
    post: {operationId: either, security: [{token: [write, read], cert: []}, {}], responses: {}}
    delete: {operationId: people, security: [{people: []}, {absent: []}], responses: {}}
components:
  securitySchemes:
    key: {$ref: '#/components/securitySchemes/real'}
    real: {type: apiKey, in: cookie, name: sid}
    cert: {type: mutualTLS}
    people: {type: openIdConnect, openIdConnectUrl: 'https://login.example/.well-known'}
    token:
      type: oauth2
      flows:
        authorizationCode: {tokenUrl: 'https://a/token', refreshUrl: 'https://a/refresh'}
        clientCredentials: {tokenUrl: 'https://c/token', scopes: {}}
"""


def operation_security(path: Path, text: str, operation_id: str) -> Security | None:
    path.write_text(text)
    operation = OpenApiDocument.read(path).operation(operation_id)
    assert operation is not None
    return operation.security


def test_the_operations_own_goes_before_the_documents(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    key = Demand(scheme="key", kind=DemandKind.API_KEY, place="cookie", name="sid")
    assert operation_security(path, V3, "inherits") == ((key,),)
    assert operation_security(path, V3, "nothing") == ()
    assert operation_security(path, API, "getThing") is None


def test_schemes_together_and_none_at_all(tmp_path: Path) -> None:
    token = Demand(
        scheme="token", kind=DemandKind.OAUTH2, token_url="https://c/token",
        refresh_url="https://a/refresh", scopes=("read", "write"),
    )  # fmt: skip
    cert = Demand(scheme="cert", kind=DemandKind.MUTUAL_TLS)
    assert operation_security(tmp_path / "api.yaml", V3, "either") == ((token, cert), ())


def test_what_nobody_satisfies_says_why(tmp_path: Path) -> None:
    found = operation_security(tmp_path / "api.yaml", V3, "people")
    assert found is not None
    (people,), (absent,) = found
    assert (people.kind, absent.kind) == (DemandKind.UNSUPPORTED, DemandKind.UNSUPPORTED)
    assert "client credentials" in people.why
    assert "no security scheme of this name" in absent.why


@pytest.mark.parametrize(
    ("scheme", "wanted"),
    [
        ({"type": "basic"}, Demand(scheme="s", kind=DemandKind.BASIC)),
        ({"type": "http", "scheme": "Bearer"}, Demand(scheme="s", kind=DemandKind.BEARER)),
        (
            {"type": "apiKey", "in": "query", "name": "k"},
            Demand(scheme="s", kind=DemandKind.API_KEY, place="query", name="k"),
        ),
        (
            {"type": "oauth2", "flow": "application", "tokenUrl": "https://x/t"},
            Demand(scheme="s", kind=DemandKind.OAUTH2, token_url="https://x/t"),
        ),
        (
            {"type": "oauth2", "flow": "accessCode", "tokenUrl": "https://x/t"},
            Demand(scheme="s", kind=DemandKind.OAUTH2, refresh_url="https://x/t"),
        ),
    ],
)
def test_swagger(tmp_path: Path, scheme: dict[str, str], wanted: Demand) -> None:
    document = {
        "swagger": "2.0", "securityDefinitions": {"s": scheme},
        "paths": {"/a": {"get": {"operationId": "a", "security": [{"s": []}]}}},
    }  # fmt: skip
    assert operation_security(tmp_path / "a.yaml", yaml.safe_dump(document), "a") == ((wanted,),)


@pytest.mark.parametrize(
    "scheme",
    [
        {"type": "apiKey", "in": "header", "name": "X-Key: a\r\nOther"},
        {"type": "apiKey", "in": "path", "name": "k"},
        {"type": "apiKey", "in": ["header"], "name": "k"},
        {"type": "http", "scheme": "digest"},
        {"type": ["oauth2"]},
    ],
)
def test_what_cannot_be_sent_is_no_demand_that_we_meet(scheme: dict[str, object]) -> None:
    security = security_of([{"s": []}], lambda _: scheme)
    assert security is not None
    assert security[0][0].kind is DemandKind.UNSUPPORTED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["oauth2", "apiKey", "http"]),
    lambda deeper: (
        st.lists(deeper, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "in", "name", "flows", "s", "flow"]), deeper)
    ),
    max_leaves=8,
)


@given(said=JSON, scheme=JSON)
def test_whatever_stands_there_is_read_and_kept(said: object, scheme: object) -> None:
    security = security_of(said, lambda _: scheme)
    if security is not None:
        assert security_from_json(security_to_json(security)) == security


def test_requests_carry_it_and_keep_it(tmp_path: Path) -> None:
    schemes = "components: {securitySchemes: {k: {type: apiKey, in: header, name: X-Key}}}\n"
    (tmp_path / "things.yaml").write_text(f"{API}security: [{{k: []}}]\n{schemes}")
    (tmp_path / "w.yaml").write_text(f"{HEAD}{GET}{NONE}}}\n")
    plan = load_document(tmp_path / "w.yaml")[0].plan
    facts = Facts(run_id="r", inputs={"id": "1"})
    request = Program(plan).prepare(0, Direction.FORWARD, facts)
    assert isinstance(request, FrozenRequest)
    key = Demand(scheme="k", kind=DemandKind.API_KEY, place="header", name="X-Key")
    assert request.security == ((key,),)
    assert FrozenRequest.from_json(request.to_json()) == request
    assert [(call.label, security) for call, security in demands_of(plan)] == [("w.a", ((key,),))]


def test_requests_of_an_older_release_say_nothing() -> None:
    request = FrozenRequest(method="GET", target="/a")
    assert "security" not in request.to_json()
    assert FrozenRequest.from_json(request.to_json()).security is None
    nothing = replace(request, security=())
    assert FrozenRequest.from_json(nothing.to_json()).security == ()


def test_a_document_without_any_scheme_says_nothing_of_security(tmp_path: Path) -> None:
    """As generators write it that know nothing of security: what is configured is sent."""
    text = "swagger: '2.0'\npaths: {/a: {get: {operationId: a, security: [], responses: {}}}}\n"
    assert operation_security(tmp_path / "api.yaml", text, "a") is None
