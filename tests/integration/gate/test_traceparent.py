"""An API hears of the trace that a call belongs to if its file says so, and never otherwise."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.http import HttpTransport
from orchestrator.ports import AttemptContext

OURS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
THEIRS = "00-11111111111111111111111111111111-2222222222222222-00"


async def _said(request: web.Request) -> web.Response:
    names = ("traceparent", "tracestate")
    return web.json_response([
        each for name in names for each in request.headers.getall(name, [])
    ])  # fmt: skip


async def heard(
    *, told: bool, traced: bool = True, headers: tuple[tuple[str, str], ...] = ()
) -> bytes:
    """What the API has got, as JSON."""
    app = web.Application()
    app.router.add_get("/", _said)
    context = AttemptContext(
        run_id="r", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="t",
        trace_headers=(lambda: (("traceparent", OURS), ("tracestate", STATE))) if traced else None,
    )  # fmt: skip
    request = FrozenRequest(method="GET", target="/", headers=headers, body=b"")
    async with TestServer(app) as server:
        config = ApiConfig(
            name="api", base_url=str(server.make_url("")), allow_private_addresses=True,
            traceparent=told,
        )  # fmt: skip
        http = HttpTransport({"api": config})
        try:
            return (await http.send("api", request, context, timeout_seconds=5.0)).body
        finally:
            await http.aclose()


async def test_it_is_told_when_its_file_says_so() -> None:
    assert await heard(told=True) == f'["{OURS}", "{STATE}"]'.encode()


async def test_it_is_told_nothing_else() -> None:
    assert await heard(told=False) == b"[]"
    assert await heard(told=True, traced=False) == b"[]"


async def test_what_the_document_says_goes_first() -> None:
    given = (("Traceparent", THEIRS),)
    assert await heard(told=True, headers=given) == f'["{THEIRS}"]'.encode()
