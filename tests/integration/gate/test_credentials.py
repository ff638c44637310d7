"""Credentials that somebody gave us: how they are sent, and what an API's refusal leads to."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from orchestrator.core.demands import Demand, DemandKind
from orchestrator.core.exchange import FrozenRequest
from orchestrator.engine import credentials, tls
from orchestrator.engine.auth import Auth, Place, Schemes, SchemeSecret, Static, Tls
from orchestrator.engine.secret import Secret
from orchestrator.errors import HeldUp, InDoubt, NotLanded
from tests.integration.gate.certificates import Authority
from tests.integration.gate.raw_server import Answer, RawServer, body, raw_server, says
from tests.integration.gate.test_http import CONTEXT, LOOPBACK, PUT, http, send

REFUSED = body(b"", status=b"401 Unauthorized")


def key(reference: str, place: Place = Place.HEADER, name: str = "X-Key") -> Auth:
    return Auth(default=Static(place=place, name=name, secret=Secret(reference=reference)))


def wants(*keys: str) -> Answer:
    """Takes these values of X-Key and refuses all others."""

    async def answer(_: RawServer, request: bytes, writer: asyncio.StreamWriter) -> None:
        known = any(b"X-Key: %s\r\n" % key.encode() in request for key in keys)
        writer.write(body(b"{}") if known else REFUSED)

    return answer


# --- how they are sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (Place.QUERY, b"PUT /records/a%2Fb?q=%C3%BC+x&X-Key=s3cret HTTP/1.1\r\n"),
        (Place.COOKIE, b"\r\nCookie: X-Key=s3cret\r\n"),
        (Place.HEADER, b"\r\nX-Key: s3cret\r\n"),
    ],
)
async def test_each_place(monkeypatch: pytest.MonkeyPatch, place: Place, line: bytes) -> None:
    monkeypatch.setenv("KEY", "s3cret")
    config = replace(LOOPBACK, auth=key("env:KEY", place))
    async with raw_server(says(body(b"{}"))) as server, http(server.url, config) as transport:
        await send(transport)
    assert line in server.requests[0]


async def test_what_a_cookie_cannot_hold_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "s3cret; other=1")
    config = replace(LOOPBACK, auth=key("env:KEY", Place.COOKIE))
    async with raw_server(says(body(b"{}"))) as server, http(server.url, config) as transport:
        with pytest.raises(NotLanded, match="cannot be sent in a cookie") as error:
            await send(transport)
    assert "s3cret" not in str(error.value)
    assert server.requests == []


async def test_a_command_is_asked_once_for_many(tmp_path: Path) -> None:
    count = tmp_path / "count"
    code = f'open(r"{count}", "a").write("x"); print("good")'
    config = replace(LOOPBACK, auth=key(f"command:{sys.executable} -c '{code}'"))
    async with raw_server(wants("good")) as server, http(server.url, config) as transport:
        answers = await asyncio.gather(*(send(transport) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert count.read_text() == "x"


# --- 401 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_key_that_was_replaced_is_read_again_and_the_same_request_leaves(
    tmp_path: Path, method: str
) -> None:
    secret = tmp_path / "key"
    secret.write_text("old")
    config = replace(LOOPBACK, auth=key(f"file:{secret}"))
    request = replace(PUT, method=method, headers=(*PUT.headers, ("Idempotency-Key", "k")))
    server_wants = {"old"}

    async def answer(server: RawServer, got: bytes, writer: asyncio.StreamWriter) -> None:
        await wants(*server_wants)(server, got, writer)

    async with raw_server(answer) as server, http(server.url, config) as transport:
        assert (await send(transport, request)).status == 200
        server_wants.add("new")
        server_wants.remove("old")
        secret.write_text("new\n")
        told = await send(transport, request)
        assert (told.status, told.renewals) == (200, 1)  # so that the audit can tell of both
        told = await send(transport, request)
        assert (told.status, told.renewals) == (200, 0)
    assert len(server.requests) == 4
    assert len({got.replace(b"old", b"new") for got in server.requests}) == 1  # key and bytes too


async def test_of_two_credentials_together_the_replaced_one_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP", "app")
    secret = tmp_path / "key"
    secret.write_text("old")
    references = {"app": "env:APP", "key": f"file:{secret}"}
    schemes = {
        name: SchemeSecret(value=Secret(reference=found)) for name, found in references.items()
    }
    config = replace(LOOPBACK, auth=Auth(default=Schemes(by_name=schemes)))
    both = tuple(
        Demand(scheme=name, kind=DemandKind.API_KEY, place="header", name=f"X-{name.title()}")
        for name in references
    )
    request = replace(PUT, security=(both,))

    async with raw_server(wants("new")) as server, http(server.url, config) as transport:
        with pytest.raises(NotLanded, match=r"credentials? .*refused"):
            await send(transport, request)
        secret.write_text("new")
        assert (await send(transport, request)).status == 200
        assert (await send(transport, replace(PUT, security=()))).status == 401
    assert all(b"\r\nX-App: app\r\n" in got for got in server.requests[:-1])
    assert b"X-App" not in server.requests[-1]
    assert b"X-Key" not in server.requests[-1]


async def test_a_refusal_of_what_has_not_changed_is_final_and_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEY", "s3cret")
    config = replace(LOOPBACK, auth=key("env:KEY"))
    async with raw_server(wants("other")) as server, http(server.url, config) as transport:
        calls = [send(transport) for _ in range(5)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
    for error in errors:
        assert isinstance(error, NotLanded)
        assert error.reason == "credential api: auth.header was refused (401 Unauthorized)"
        assert (error.retryable, error.settles_doubt) == (False, False)
    assert len(server.requests) == 5  # it would not have been another request


async def test_a_new_key_that_is_refused_too_is_final(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("old")
    config = replace(LOOPBACK, auth=key(f"file:{secret}"))

    async def answer(server: RawServer, _: bytes, writer: asyncio.StreamWriter) -> None:
        secret.write_text("new")
        writer.write(REFUSED)

    async with raw_server(answer) as server, http(server.url, config) as transport:
        with pytest.raises(NotLanded, match=r"credential api: auth\.header was refused"):
            await send(transport)
    assert len(server.requests) == 2


async def test_without_credentials_a_401_is_an_answer() -> None:
    async with raw_server(says(REFUSED)) as server, http(server.url) as transport:
        assert (await send(transport)).status == 401
    assert len(server.requests) == 1


async def test_the_repeated_request_can_be_in_doubt(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("old")
    config = replace(LOOPBACK, auth=key(f"file:{secret}"))

    async def answer(server: RawServer, _: bytes, writer: asyncio.StreamWriter) -> None:
        secret.write_text("new")
        if len(server.requests) == 1:
            writer.write(REFUSED)
        else:
            writer.close()

    async with raw_server(answer) as server, http(server.url, config) as transport:
        with pytest.raises(InDoubt, match="connection was lost"):
            await send(transport)


async def test_a_process_that_was_held_up_does_not_repeat(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("old")
    config = replace(LOOPBACK, auth=key(f"file:{secret}"))
    context = msgspec.structs.replace(CONTEXT, may_go_on=lambda: False)

    async def answer(_: RawServer, request: bytes, writer: asyncio.StreamWriter) -> None:
        secret.write_text("new")
        writer.write(REFUSED)

    async with raw_server(answer) as server, http(server.url, config) as transport:
        with pytest.raises(HeldUp):
            await transport.send("api", PUT, context, timeout_seconds=5.0)
    assert len(server.requests) == 1


async def test_a_key_that_cannot_be_read_any_more_goes_on_until_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "READ_AGAIN_SECONDS", 0.0)
    monkeypatch.setenv("KEY", "good")
    config = replace(LOOPBACK, auth=key("env:KEY"))
    async with raw_server(wants("good")) as server, http(server.url, config) as transport:
        await send(transport)
        monkeypatch.delenv("KEY")
        for _ in range(3):
            assert (await send(transport)).status == 200
        server.answer = wants("other")
        with pytest.raises(NotLanded, match="env:KEY") as error:
            await send(transport)
    assert error.value.retryable  # it may be there again


# --- TLS ------------------------------------------------------------------------------------------


async def test_our_certificate_is_shown_and_theirs_is_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key_file = authority.issue("us")
    ours = Tls(cert=cert, key=key_file, ca=authority.ca)
    async with raw_server(says(body(b"{}")), authority.server_context()) as server:
        async with http(server.url, replace(LOOPBACK, tls=ours)) as transport:
            assert (await send(transport)).status == 200
        async with http(server.url, replace(LOOPBACK, tls=None)) as transport:
            wanted = r"certificate of 127\.0\.0\.1:\d+ .* before the request could leave"
            with pytest.raises(NotLanded, match=wanted) as error:
                await send(transport)  # an authority that the system does not know
        assert error.value.retryable
    assert len(server.requests) == 1


async def test_a_key_with_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "s3cret")
    authority = Authority(tmp_path)
    cert, key_file = authority.issue("us", b"s3cret")
    secret = Secret(reference="env:PASSWORD")
    ours = Tls(cert=cert, key=key_file, ca=authority.ca, password=secret)
    async with raw_server(says(body(b"{}")), authority.server_context()) as server:
        async with http(server.url, replace(LOOPBACK, tls=ours)) as transport:
            assert (await send(transport)).status == 200
        closed = replace(LOOPBACK, tls=replace(ours, password=None))
        async with http(server.url, closed) as transport:
            with pytest.raises(NotLanded, match="cannot be used"):  # and nobody is asked for it
                await send(transport)


async def test_files_that_were_replaced_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_AGAIN_SECONDS", 0.0)
    authority = Authority(tmp_path)
    cert, key_file = authority.issue("us")
    strange = tmp_path / "strange"
    strange.mkdir()
    theirs = Authority(strange)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(theirs.ca.read_bytes())
    config = replace(LOOPBACK, tls=Tls(cert=cert, key=key_file, ca=trusted))
    async with (
        raw_server(says(body(b"{}")), authority.server_context()) as server,
        http(server.url, config) as transport,
    ):
        with pytest.raises(NotLanded, match="before the request could leave"):
            await send(transport)
        trusted.write_bytes(authority.ca.read_bytes())
        assert (await send(transport)).status == 200
        trusted.unlink()  # it is just being replaced
        assert (await send(transport)).status == 200
    assert len(server.requests) == 2


async def test_missing_files_send_nothing(tmp_path: Path) -> None:
    config = replace(LOOPBACK, tls=Tls(ca=tmp_path / "none.pem"))
    async with raw_server(says(body(b"{}"))) as server, http(server.url, config) as transport:
        with pytest.raises(NotLanded, match=r"none\.pem cannot be used") as error:
            await send(transport, FrozenRequest(method="GET", target="/"))
    assert error.value.retryable
    assert server.connections == 0
