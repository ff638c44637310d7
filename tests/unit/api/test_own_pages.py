"""Where keys are asked for, other sites' pages neither log anybody in nor open a page's socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from orchestrator.api.guard import OwnPages

HERE = "http://console.example"
SOCKET = "ws://console.example/console/socket"
STRANGERS = [
    "https://evil.example", "null", "http://[bad", "http://console.example.evil.example",
    "http://evil.console.example", "http://console.example:8000", "",
]  # fmt: skip


async def _answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.method)


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


@pytest.fixture
def client() -> Iterator[TestClient]:
    routes = [
        Route("/console-login", _answer, methods=["GET", "POST"]),
        Route("/v1/runs", _answer, methods=["POST"]),
        WebSocketRoute("/console/socket", _socket),
    ]
    app = OwnPages(Starlette(routes=routes), below="/console", public_url="https://ops.example/")
    with TestClient(app, base_url=HERE) as made:
        yield made


@pytest.mark.parametrize("origin", STRANGERS)
def test_other_sites_pages_are_refused(client: TestClient, origin: str) -> None:
    headers = {"origin": origin}
    refused = client.post("/console-login", headers=headers)
    assert refused.status_code == 403
    assert refused.json()["problems"][0]["place"] == "header Origin"
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(SOCKET, headers=headers),
    ):
        pass  # it is not opened
    assert client.get("/console-login", headers=headers).text == "GET"  # a link may lead here
    assert client.post("/v1/runs", headers=headers).text == "POST"  # which wants a key in a header


@pytest.mark.parametrize("origin", [HERE, "https://ops.example", None])
def test_own_pages_are_let_in(client: TestClient, origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    assert client.post("/console-login", headers=headers).text == "POST"
    with client.websocket_connect(SOCKET, headers=headers) as socket:
        assert socket.receive_text() == "hello"


def test_behind_a_proxy_the_name_that_it_was_asked_under_is_its_own(client: TestClient) -> None:
    headers = {"origin": "https://front.example", "x-forwarded-host": "front.example"}
    assert client.post("/console-login", headers=headers).text == "POST"
