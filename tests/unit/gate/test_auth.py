"""Credentials as configurations say them, and where their secrets are found."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from orchestrator.core.exchange import FrozenRequest
from orchestrator.engine import secret as secret_module
from orchestrator.engine.apis import ApiConfig, load_apis
from orchestrator.engine.auth import Auth, Grant, OAuth2, Place, Static, Tls
from orchestrator.engine.credentials import Credential
from orchestrator.engine.inspecting import ConfiguredCredentials
from orchestrator.engine.sealing import Sealer, sealer_of
from orchestrator.engine.secret import Secret
from orchestrator.errors import InvalidSetting, Problem

OAUTH2 = """\
auth:
  oauth2:
    token_url: https://login.example/token?v=2
    client_id: env:CLIENT_ID
    client_secret: 'command:vault read "a b"'
    scopes: [read, write]
    audience: https://api.example
    client_auth: post
    grant: refresh_token
    refresh_token: file:/run/refresh
"""


def load(folder: Path, text: str) -> ApiConfig:
    (folder / "api.yaml").write_text(text)
    (config,) = load_apis(folder).values()
    return config


def problem(folder: Path, text: str) -> Problem:
    with pytest.raises(InvalidSetting) as caught:
        load(folder, text)
    (found,) = caught.value.problems
    return found


# --- what may be said -----------------------------------------------------------------------------


def test_oauth2(tmp_path: Path) -> None:
    config = load(tmp_path, OAUTH2)
    assert config.auth is not None
    assert config.auth.default == OAuth2(
        token_url="https://login.example/token?v=2",
        client_id=Secret(reference="env:CLIENT_ID"),
        client_secret=Secret(reference='command:vault read "a b"'),
        scopes=("read", "write"), audience="https://api.example", client_in_body=True,
        grant=Grant.REFRESH_TOKEN, refresh_token=Secret(reference="file:/run/refresh"),
    )  # fmt: skip


@pytest.mark.parametrize("place", ["header", "query", "cookie"])
def test_a_key_in_a_header_a_parameter_or_a_cookie(tmp_path: Path, place: str) -> None:
    config = load(tmp_path, f"auth: {{{place}: {{name: key, value: 'env:KEY'}}}}\n")
    form = Static(place=Place(place), name="key", secret=Secret(reference="env:KEY"))
    assert config.auth == Auth(default=form)


def test_tenants_beside_a_default_and_alone(tmp_path: Path) -> None:
    tenants = "tenants: {acme: {bearer: 'env:ACME'}, zeta: {basic: {user: z, password: 'env:Z'}}}"
    config = load(tmp_path, f"auth:\n  bearer: env:ALL\n  {tenants}\n")
    assert config.auth is not None
    names = [(name, tenant) for name, tenant, _ in config.auth.named("api")]
    assert names == [
        ("api: auth.bearer", None), ("api: auth.tenants.acme.bearer", "acme"),
        ("api: auth.tenants.zeta.basic", "zeta"),
    ]  # fmt: skip
    alone = load(tmp_path, f"auth:\n  {tenants}\n").auth
    assert alone == Auth(tenants=config.auth.tenants)


def test_files_for_tls(tmp_path: Path) -> None:
    config = load(tmp_path, "tls: {cert: /a.pem, key: /a.key, ca: /ca.pem, password: 'env:P'}\n")
    assert config.tls == Tls(
        cert=Path("/a.pem"), key=Path("/a.key"), ca=Path("/ca.pem"),
        password=Secret(reference="env:P"),
    )  # fmt: skip


def oauth2(**more: str) -> str:
    """A configuration with one field for each line, as `auth.oauth2`."""
    fields = {
        "token_url": "https://login.example/token", "client_id": "me", "client_secret": "env:S"
    } | more  # fmt: skip
    lines = [f"    {name}: {value}\n" for name, value in fields.items() if value]
    return "auth:\n  oauth2:\n" + "".join(lines)


@pytest.mark.parametrize(
    ("text", "line", "field", "found", "wanted"),
    [
        (oauth2(token_url=""), 2, "auth.oauth2.token_url", "nothing", "required"),
        (oauth2(token_url="login"), 3, "auth.oauth2.token_url", "'login'", "an address such as"),
        (oauth2(token_url="http://a.b/c"), 3, "auth.oauth2.token_url", "'http://a.b/c'", "https; "),
        (oauth2(token_url="https://a:b@c/d"), 3, "auth.oauth2.token_url", "something", "without"),
        (oauth2(grant="password"), 6, "auth.oauth2.grant", "'password'", "'refresh_token'"),
        (oauth2(grant="refresh_token"), 2, "auth.oauth2", "something else", "refresh_token with"),
        (oauth2(refresh_token="env:R"), 2, "auth.oauth2", "something else", "only with it"),
        (oauth2(client_auth="jwt"), 6, "auth.oauth2.client_auth", "'jwt'", "'basic' or 'post'"),
        (oauth2(scopes="['a b']"), 6, "auth.oauth2.scopes.0", "something else", "match pattern"),
        (oauth2(scope="[a]"), 6, "auth.oauth2.scope", "an unknown field", "scopes, audience"),
        ("auth:\n  tenants: {}\n", 1, "auth", "something else", "or tenants"),
        ("auth:\n  tenants:\n    a: {}\n", 3, "auth.tenants.a", "something else", "one of basic"),
        (
            "auth:\n  tenants:\n    a:\n      query: {key: 'env:A'}\n",
            4, "auth.tenants.a.query.key", "an unknown field", "one of name, value",
        ),
        (
            "auth:\n  bearer: env:A\n  basic: {user: a, password: 'env:B'}\n",
            1, "auth", "something else", "one of basic",
        ),
        (
            "auth:\n  basic: {user: 'a:b', password: 'env:P'}\n",
            2, "auth.basic.user", "something else", "match pattern",
        ),
        ("tls: {}\n", 1, "tls", "{}", "cert (with key), or ca, or both"),
        ("tls: {key: /a}\n", 1, "tls", "{'key': '/a'}", "or both"),
        ("tls: {ca: /a, key: /b}\n", 1, "tls", "{'ca'", "cert beside key"),
        ("tls: {certificate: /a}\n", 1, "tls.certificate", "an unknown", "cert, key, ca, password"),
    ],
)  # fmt: skip
def test_errors_name_file_line_field_found_and_wanted(
    tmp_path: Path, text: str, line: int, field: str, found: str, wanted: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(tmp_path, text)
    places = {error.place: error for error in caught.value.problems}
    error = places[f"{tmp_path / 'api.yaml'}:{line}: {field}"]
    assert found in error.found
    assert wanted in error.wanted


def test_a_token_endpoint_without_tls_is_for_this_machine_only(tmp_path: Path) -> None:
    text = oauth2(token_url="http://127.0.0.1:1/token")
    assert load(tmp_path, f"{text}allow_private_addresses: true\n").auth is not None


@pytest.mark.parametrize(
    "text",
    [
        "auth:\n  query: {name: key, value: s3cret}\n",
        "auth:\n  cookie: {name: key, value: s3cret}\n",
        oauth2(client_secret="s3cret"),
        oauth2(grant="refresh_token", refresh_token="s3cret"),
        oauth2(token_url="https://me:s3cret@login.example/token"),
        "auth:\n  tenants:\n    a: {bearer: s3cret}\n",
        "auth:\n  bearer: 'command:\"s3cret'\n",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(tmp_path, text)
    assert "s3cret" not in str(caught.value)


# --- where secrets are found ----------------------------------------------------------------------


def command(code: str) -> Secret:
    """A secret that a Python program prints."""
    return Secret(reference=f"command:{sys.executable} -c '{code}'")


def test_a_command_is_run_without_a_shell(tmp_path: Path) -> None:
    code = "import sys; print(sys.argv[1:])"
    secret = Secret(reference=f"command:{sys.executable} -c '{code}' \"a b\" $HOME ; true")
    assert secret.read() == "['a b', '$HOME', ';', 'true']"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import sys; print(1); print(\"s3cret\", file=sys.stderr); sys.exit(3)", "exit code 3"),
        ("print()", "found nothing"),
        ("print(1); print(2)", "more than one line"),
        ("import sys; sys.stdout.buffer.write(bytes([255]))", "UnicodeDecodeError"),
    ],
)  # fmt: skip
def test_a_command_that_prints_no_secret(code: str, found: str) -> None:
    with pytest.raises(InvalidSetting, match=found) as error:
        command(code).read()
    assert "s3cret" not in str(error.value)  # neither its arguments nor its complaints
    assert f"command:{sys.executable} …" in str(error.value)


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(InvalidSetting, match="FileNotFoundError"):
        Secret(reference="command:/no/such/program").read()


def test_a_command_is_ended_with_all_that_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret_module, "COMMAND_SECONDS", 0.5)
    begun = time.monotonic()
    code = "import os, time; os.fork(); time.sleep(60)"
    with pytest.raises(InvalidSetting, match="no end within"):
        command(code).read()
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("text", ["a\nb", "\n", "a" * 70_000, "a\0b"])
def test_a_file_that_holds_no_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(InvalidSetting, match="wanted a secret"):
        Secret(reference=f"file:{path}").read()


# --- how requests carry them ----------------------------------------------------------------------


def dressed(place: Place, target: str = "/a?b=1", *headers: tuple[str, str]) -> object:
    credential = Credential(name="c", place=place, key="key", text="se cret&", version="1")
    assert "cret" not in repr(credential)
    return credential.dress(FrozenRequest(method="GET", target=target, headers=headers))


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/a", "/a?key=se%20cret%26"),
        ("/a?", "/a?key=se%20cret%26"),
        ("/a?b=1&c", "/a?b=1&c&key=se%20cret%26"),
        ("/a?key=mine&b=1&k%65y=2", "/a?b=1&key=se%20cret%26"),
        ("/a?b=1#part", "/a?b=1&key=se%20cret%26"),
    ],
)
def test_a_parameter(target: str, sent: str) -> None:
    assert dressed(Place.QUERY, target) == (sent, ())


def test_a_header_and_a_cookie() -> None:
    assert dressed(Place.HEADER, "/", ("Key", "mine"), ("A", "1")) == (
        "/", (("A", "1"), ("key", "se cret&")),
    )  # fmt: skip
    assert dressed(Place.COOKIE, "/", ("cookie", "a=1"), ("B", "2")) == (
        "/", (("B", "2"), ("Cookie", "a=1; key=se cret&")),
    )  # fmt: skip


# --- sealing --------------------------------------------------------------------------------------


def test_what_is_sealed_opens_with_any_of_the_keys_and_under_its_name_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    sealed = Sealer([old]).seal("a", {"token": "s3cret"})
    assert "s3cret" not in sealed
    monkeypatch.setenv("KEYS", f"{new}, {old}")
    both = sealer_of("env:KEYS")
    assert both is not None
    assert both.open("a", sealed) == {"token": "s3cret"}
    assert both.open("b", sealed) is None
    assert Sealer([new]).open("a", sealed) is None
    assert Sealer([new]).open("a", both.seal("a", 1)) == 1
    assert both.open("a", "nonsense") is None


@pytest.mark.parametrize(
    ("reference", "found"), [("s3cret", "a text"), ("env:KEYS", "no such key")]
)
def test_a_wrong_key_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, reference: str, found: str
) -> None:
    monkeypatch.setenv("KEYS", "s3cret")
    with pytest.raises(InvalidSetting, match=f"setting credentials_key: found {found}") as error:
        sealer_of(reference)
    assert "s3cret" not in str(error.value)
    assert sealer_of("") is None


# --- what an operator may know --------------------------------------------------------------------


async def test_the_doctor_sees_what_is_missing_and_whether_tokens_are_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAVE", "s3cret")
    monkeypatch.setenv("KEYS", Fernet.generate_key().decode())
    (tmp_path / "a.yaml").write_text("auth: {bearer: 'env:HAVE'}\n")
    (tmp_path / "b.yaml").write_text(oauth2(client_secret="env:HAVE_NOT"))
    (tmp_path / "c.yaml").write_text("auth: {bearer: 'command:/no/such/program'}\n")
    facts = await ConfiguredCredentials(lambda: load_apis(tmp_path), "").facts()
    assert [fact.name for fact in facts.credentials] == [
        "a: auth.bearer", "b: auth.oauth2", "c: auth.bearer",
    ]  # fmt: skip
    assert [bool(fact.problem) for fact in facts.credentials] == [False, True, False]
    assert "env:HAVE_NOT: found no such variable" in facts.credentials[1].problem
    assert (facts.fetched, facts.shared) == (1, False)
    shared = await ConfiguredCredentials(lambda: load_apis(tmp_path), "env:KEYS").facts()
    assert shared.shared
