"""A server made of OpenAPI documents alone: it keeps what is created, and answers by the schemas.

    POST /pet             makes one, with an id of the server's; the answer is what was made
    GET /pet/{id}         reads it, 404 when it is not there; PUT changes it, DELETE removes it
    GET /pet/findBy…      lists what /pet holds
    everything else       the answer that bears the same name as the request's example, or any

A request that the document does not allow is answered 400. Each API lies under its own name. What
else a test needs, mostly failures, is scripted for single operations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from jsonschema import Draft202012Validator

from tests.integration.arazzo.described import Described, example_of, operations

FORM = "application/x-www-form-urlencoded"
ALWAYS = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request."""

    operation_id: str
    path: str  # with the values
    names: Mapping[str, str]  # those of the path
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


@dataclass(kw_only=True)
class Answer:
    """What an operation answers instead, `times` over, when the request is one that is meant."""

    status: int = 200
    body: Any = None
    text: str | None = None
    media: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1
    when: Callable[[Seen], bool] = lambda seen: True

    def response(self) -> web.Response:
        if self.text is not None:
            return web.Response(
                status=self.status, text=self.text, content_type=self.media, headers=self.headers
            )
        if self.body is None:
            return web.Response(status=self.status, headers=self.headers)
        return web.json_response(self.body, status=self.status, headers=self.headers)


class GeneratedApi:
    """One API: what it holds, and every request that it saw."""

    def __init__(self, path: Path) -> None:
        self.operations = operations(path)
        self.seen: list[Seen] = []
        self.held: dict[str, dict[str, Any]] = defaultdict(dict)  # by path of the collection
        self._scripts: dict[str, list[Answer]] = defaultdict(list)
        self._ids = count(1)
        self._made = {
            one.path for one in self.operations
            if one.method == "POST" and self._item_of(one.path) is not None
        }  # fmt: skip

    def script(self, operation_id: str, *answers: Answer) -> None:
        """What the operation answers first, one after the other."""
        assert any(one.operation_id == operation_id for one in self.operations), operation_id
        self._scripts[operation_id].extend(answers)

    def assert_scripts_are_used(self) -> None:
        """Whoever scripts an answer wants it to be given."""
        left = {name: [one.status for one in answers if 0 < one.times < ALWAYS]
                for name, answers in self._scripts.items()}  # fmt: skip
        assert not any(left.values()), left

    def calls(self, operation_id: str) -> list[Seen]:
        """The requests of one operation."""
        return [one for one in self.seen if one.operation_id == operation_id]

    def answer(self, one: Described, seen: Seen) -> Answer:
        """Scripted, refused, or by what the API holds."""
        self.seen.append(seen)
        for script in self._scripts[one.operation_id]:
            if script.times and script.when(seen):
                script.times -= script.times < ALWAYS
                return script
        wrong = _wrong(one, seen)
        if wrong:
            return Answer(status=400, body={"message": wrong})
        return self._by_state(one, seen)

    # --- what it holds ----------------------------------------------------------------------------

    def _by_state(self, one: Described, seen: Seen) -> Answer:
        collection, _, last = one.path.rpartition("/")
        where = seen.path.rpartition("/")[0]
        if one.path in self._made and one.method == "POST":
            return self._create(one, seen)
        if collection in self._made and last.startswith("{"):
            return self._item(one, seen, self.held[where], seen.path.rpartition("/")[2])
        holders = {one.path: seen.path, collection: where}
        holder = next((at for path, at in holders.items() if path in self._made), None)
        is_list = one.method == "GET" and one.answer_schema.get("type") == "array"
        if is_list and holder is not None:
            return Answer(status=one.status, body=list(self.held[holder].values()))
        return Answer(status=one.status, body=self._example(one, seen))

    def _create(self, one: Described, seen: Seen) -> Answer:
        name = self._item_of(one.path)
        assert name is not None
        given = seen.body if isinstance(seen.body, dict) else {}
        made = {**_object(example_of(one.answer_schema)), **given}
        key = name if name in given else "id"
        if "id" in one.answer_schema.get("properties", {}):
            number = next(self._ids)
            kind = one.answer_schema["properties"]["id"].get("type")
            made["id"] = number if kind == "integer" else f"{name}-{number}"
        self.held[seen.path][str(made[key])] = made
        return Answer(status=one.status, body=made)

    @staticmethod
    def _item(one: Described, seen: Seen, held: dict[str, Any], key: str) -> Answer:
        if key not in held:
            return Answer(status=404, body={"message": "there is none"})
        if one.method == "DELETE":
            del held[key]
            return Answer(status=one.status)
        if one.method in ("PUT", "PATCH"):
            held[key] = {**held[key], **_object(seen.body)}
        return Answer(status=one.status, body=held[key])

    @staticmethod
    def _example(one: Described, seen: Seen) -> Any:
        paired = (answer for asked, answer in one.named if asked == seen.body)
        return next(paired, None) or (None if one.answer is None else one.example())

    def _item_of(self, path: str) -> str | None:
        """The name of the parameter that picks one out of the collection at `path`."""
        for one in self.operations:
            collection, _, last = one.path.rpartition("/")
            if collection == path and last.startswith("{"):
                return last.strip("{}")
        return None


@asynccontextmanager
async def serve(
    documents: Mapping[str, Path],
) -> AsyncIterator[tuple[dict[str, GeneratedApi], str]]:
    """An API for each document by its name, and the address below which they lie, by name."""
    apis = {name: GeneratedApi(path) for name, path in documents.items()}
    app = web.Application()
    for name, api in apis.items():
        for one in api.operations:
            app.router.add_route(one.method, f"/{name}{one.path}", _handler(api, one, f"/{name}"))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield apis, f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def _handler(api: GeneratedApi, one: Described, prefix: str) -> Any:
    async def handle(request: web.Request) -> web.Response:
        query: dict[str, list[str]] = defaultdict(list)
        for name, value in request.query.items():
            query[name].append(value)
        seen = Seen(
            operation_id=one.operation_id, path=request.path.removeprefix(prefix),
            names=dict(request.match_info), query=query, headers=dict(request.headers),
            body=await _body(one, request),
        )  # fmt: skip
        return api.answer(one, seen).response()

    return handle


async def _body(one: Described, request: web.Request) -> Any:
    if not request.can_read_body:
        return None
    if request.content_type != FORM:
        return await request.json()
    properties = one.bodies.get(FORM, {}).get("schema", {}).get("properties", {})
    fields = parse_qsl(await request.text())
    return {name: _typed(value, properties.get(name, {})) for name, value in fields}


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    """A field of a form, or a parameter, as its schema means it."""
    if schema.get("type") == "integer" and text.lstrip("-").isdigit():
        return int(text)
    return text


def _wrong(one: Described, seen: Seen) -> str:
    """What the document does not allow in a request; '' when it is as it should be."""
    for parameter in one.parameters:
        given = _given(seen, parameter["in"], parameter["name"])
        if parameter.get("required") and not given:
            return f"no {parameter['name']} in {parameter['in']}"
        schema = parameter.get("schema", {})
        one_each = schema.get("items", {}) if schema.get("type") == "array" else schema
        for value in given:
            if not Draft202012Validator(one_each).is_valid(_typed(value, one_each)):
                return f"{parameter['name']} in {parameter['in']} is {value}"
    schemas = [media["schema"] for media in one.bodies.values()]
    if not schemas or seen.body is None:
        return ""
    fits = any(Draft202012Validator(schema).is_valid(seen.body) for schema in schemas)
    return "" if fits else "a body that no media type allows"


def _given(seen: Seen, place: str, name: str) -> list[str]:
    """The values of a parameter."""
    match place:
        case "path":
            return [seen.names[name]]
        case "query":
            return seen.query.get(name, [])
        case _:
            return [text for key, text in seen.headers.items() if key.lower() == name.lower()]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
