"""Bodies of every kind through the real client: what a server reads is what the document said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.core.exchange import Facts, FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.definitions.data_urls import as_data_url
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.program import Program
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.http import HttpTransport
from orchestrator.ports import AttemptContext

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
XML = '<order xmlns="urn:o"><id>?</id></order>'
API = """\
openapi: 3.1.0
info: {title: files, version: '1'}
paths:
  /files:
    post:
      operationId: upload
      requestBody:
        content:
          multipart/form-data: {encoding: {photo: {contentType: image/png}}}
      responses: {'201': {description: made}}
  /raw:
    put:
      operationId: put
      requestBody: {content: {application/octet-stream: {}, application/xml: {}}}
      responses: {'200': {description: as it came}}
"""
DOCUMENT = f"""\
arazzo: 1.1.0
info: {{title: files, version: '1'}}
sourceDescriptions: [{{name: files, url: ./files.yaml, type: openapi}}]
workflows:
  - workflowId: files
    inputs: {{properties: {{photo: {{type: string}}, id: {{type: string}}}}}}
    steps:
      - stepId: upload
        operationId: upload
        requestBody:
          payload: {{photo: $inputs.photo, note: 'of {{$inputs.id}}', meta: {{id: $inputs.id}}}}
        outputs: {{got: $response.body}}
        x-compensation: {{none: a test}}
      - stepId: bytes
        operationId: put
        requestBody: {{contentType: application/octet-stream, payload: $inputs.photo}}
        outputs: {{got: $response.body}}
        x-compensation: {{none: a test}}
      - stepId: xml
        operationId: put
        requestBody:
          contentType: application/xml
          payload: '{XML}'
          replacements: [{{target: "//*[local-name() = 'id']", value: $inputs.id}}]
        outputs:
          id: {{context: $response.body, selector: "//*[local-name() = 'id']", type: xpath}}
        x-compensation: {{none: a test}}
"""


async def _files(request: web.Request) -> web.Response:
    fields = []
    async for part in await request.multipart():
        kind, data = part.headers.get("content-type", ""), await part.read()
        fields.append([part.name, part.filename, kind, data.hex()])
    return web.json_response(fields, status=201)


async def _raw(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), content_type=request.content_type)


@asynccontextmanager
async def transport() -> AsyncIterator[HttpTransport]:
    app = web.Application()
    app.add_routes([web.post("/files", _files), web.put("/raw", _raw)])
    async with TestServer(app) as server:
        config = ApiConfig(name="files", allow_private_addresses=True)
        made = HttpTransport({"files": config}, base_url=lambda _: str(server.make_url("")))
        try:
            yield made
        finally:
            await made.aclose()


async def test_every_kind_of_body_arrives(tmp_path: Path) -> None:
    (tmp_path / "files.yaml").write_text(API)
    (tmp_path / "w.arazzo.yaml").write_text(DOCUMENT)
    program = Program(load_document(tmp_path / "w.arazzo.yaml")[0].plan)
    photo = as_data_url(PNG, "image/png", "p.png")
    facts = Facts(run_id="r", inputs={"photo": photo, "id": "<7&>"})
    outputs = []
    async with transport() as http:
        for index in range(3):
            request = program.prepare(index, Direction.FORWARD, facts)
            assert isinstance(request, FrozenRequest)
            kept = FrozenRequest.from_json(request.to_json())  # as after a crash
            context = AttemptContext(
                run_id="r", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="t"
            )
            answer = await http.send("files", kept, context, timeout_seconds=5.0)
            judged = program.judge(index, Direction.FORWARD, facts, kept, answer)
            outputs.append(judged.outputs)
    assert outputs == [
        {"got": [
            ["photo", "p.png", "image/png", PNG.hex()],
            ["note", None, "", b"of <7&>".hex()],
            ["meta", None, "application/json", b'{"id":"<7&>"}'.hex()],
        ]},
        {"got": as_data_url(PNG)},
        {"id": "<7&>"},
    ]  # fmt: skip
