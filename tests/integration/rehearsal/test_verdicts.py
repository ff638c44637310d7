"""Every verdict of a rehearsal, on a small server with the faults that real ones have."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.http import HttpTransport
from orchestrator.errors import InvalidInput
from orchestrator.service.rehearsing import Rehearsal, Rehearsing, Verdict, read_rehearsable
from tests.unit.discovery.apis import fields, operation

THING = fields("id", "name")
API = {
    "openapi": "3.0.3",
    "paths": {
        "/things": {
            "get": operation("listThings", answers={200: fields(data={"type": "array"})}),
            "post": operation("createThing", body=THING, answers={201: THING}),
        },
        "/things/{id}": {
            "get": operation("getThing", answers={200: THING}),
            "delete": operation("deleteThing"),
        },
        "/things/{id}/hide": {"post": operation("hideThing")},
        "/mails": {"post": operation("sendMail", answers={202: None})},
        "/recalls": {"post": operation("recallMail", answers={202: None})},
    },
}  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    things: dict[str, dict[str, Any]] = {}
    looks = 0

    async def listed(_: web.Request) -> web.Response:
        nonlocal looks
        looks += 1
        return web.json_response({"data": list(things.values()), "looks": looks})

    async def create(request: web.Request) -> web.Response:
        thing = {"id": f"t{len(things) + 1}", **await request.json()}
        things[thing["id"]] = thing
        return web.json_response(thing, status=201)

    async def one(request: web.Request) -> web.Response:
        found = things.get(request.match_info["id"])
        return web.json_response(found or {}, status=200 if found else 404)

    async def delete(request: web.Request) -> web.Response:
        found = things.get(request.match_info["id"], {})
        if found.get("name") == "held":
            return web.json_response({"error": "it is held"}, status=409)
        gone = things.pop(request.match_info["id"], None)
        return web.Response(status=204 if gone else 404)

    async def hide(request: web.Request) -> web.Response:
        things[request.match_info["id"]]["hidden"] = True
        return web.Response(status=204)

    async def sent(_: web.Request) -> web.Response:
        return web.Response(status=202)

    app = web.Application()
    app.add_routes([
        web.get("/things", listed), web.post("/things", create), web.get("/things/{id}", one),
        web.delete("/things/{id}", delete), web.post("/things/{id}/hide", hide),
        web.post("/mails", sent), web.post("/recalls", sent),
    ])  # fmt: skip
    async with TestServer(app) as server:
        yield server


def make(step: str, name: str, undo: dict[str, Any]) -> dict[str, Any]:
    return {
        "stepId": step, "operationId": "createThing", "outputs": {"id": "$response.body#/id"},
        "requestBody": {"payload": {"name": name}}, "x-compensation": undo,
    }  # fmt: skip


def undo(operation_id: str, step: str, **more: Any) -> dict[str, Any]:
    value = f"$steps.{step}.outputs.id"
    return {
        "operationId": operation_id, "parameters": [{"name": "id", "in": "path", "value": value}],
        **more,
    }  # fmt: skip


STEPS = [
    make("deleted", "a", undo("deleteThing", "deleted")),
    make("hidden", "b", undo("hideThing", "hidden")),
    make("held", "held", undo("deleteThing", "held")),
    make("never", "c", undo("deleteThing", "never", onlyIf=[{"condition": "1 == 2"}])),
    {"stepId": "mail", "operationId": "sendMail", "x-compensation": {"operationId": "recallMail"}},
    {"stepId": "post", "operationId": "sendMail", "x-compensation": {"none": "it is gone"}},
    {
        "stepId": "last", "operationId": "sendMail", "x-compensation": {"none": "the end"},
        "successCriteria": [{"condition": "$statusCode == 200"}],
    },
    {"stepId": "after", "operationId": "sendMail", "x-compensation": {"none": "the end"}},
]  # fmt: skip


async def rehearsed(folder: Path, server: TestServer) -> Rehearsal:
    (folder / "api.json").write_text(json.dumps(API))
    document = {
        "arazzo": "1.0.1", "info": {"title": "all", "version": "1"},
        "sourceDescriptions": [{"name": "api", "url": "api.json", "type": "openapi"}],
        "workflows": [{"workflowId": "all", "steps": STEPS}],
    }  # fmt: skip
    path = folder / "all.arazzo.json"
    path.write_text(json.dumps(document))
    found = read_rehearsable(path, workflow_id=None, tasks=TaskRegistry())
    (url,) = found.addresses([str(server.make_url(""))]).values()
    http = HttpTransport({"api": ApiConfig(name="api", base_url=url, allow_private_addresses=True)})
    try:
        return await Rehearsing(found.program, found.survey, http, rehearsal_id="r").run({})
    finally:
        await http.aclose()


async def test_each_step_gets_the_verdict_that_it_has_earned(
    server: TestServer, tmp_path: Path
) -> None:
    seen = await rehearsed(tmp_path, server)
    steps = {each.step: each for each in seen.steps}
    assert {name: each.verdict for name, each in steps.items()} == {
        "deleted": Verdict.RESTORES, "hidden": Verdict.LEAVES_A_TRACE, "held": Verdict.FAILS,
        "never": Verdict.NOT_NEEDED, "mail": Verdict.UNSEEN, "post": Verdict.NOT_UNDONE,
        "last": Verdict.NOT_REACHED, "after": Verdict.NOT_REACHED,
    }  # fmt: skip
    assert not seen.is_good
    assert "409" in steps["held"].why
    assert "404" in steps["deleted"].repeated
    left = {(each.read, each.where) for each in steps["hidden"].trace}
    assert ("GET /things/t2 of api", "") in left
    assert steps["hidden"].again == ()


async def test_an_api_without_a_sandbox_is_refused(server: TestServer, tmp_path: Path) -> None:
    await rehearsed(tmp_path, server)
    found = read_rehearsable(tmp_path / "all.arazzo.json", workflow_id=None, tasks=TaskRegistry())
    with pytest.raises(InvalidInput, match="no address for api"):
        found.addresses([])
    with pytest.raises(InvalidInput, match="an API of it: api"):
        found.addresses(["http://127.0.0.1:1", "other=http://127.0.0.1:1"])
    with pytest.raises(InvalidInput, match="with http or https"):
        found.addresses(["api=file:///etc"])
