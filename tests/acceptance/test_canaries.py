"""Secrets are planted wherever they can come from, and looked for wherever they could get out."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import redis

from orchestrator.embedded.address import free_port
from orchestrator.store.payloads import new_key
from tests.acceptance.conftest import Deployment, end, wait_until
from tests.acceptance.following import followed
from tests.otlp import receiving

CANARIES = {
    "credential": "kestrel-credential-77",  # the API's key, from the environment
    "password": "kestrel's pässword",  # an input that its schema calls format: password
    "pin": "907143",  # an innocent input that goes into a field the API calls so
    "card": "4556737586899855",  # known by its looks
    "token": "sk_live_kestrel0123456789abcdef",  # the same
    "mark": "kestrel-mark-of-honour",  # under a name that the settings add
    "iban": "DE89370400440532013000",  # at a place that the settings add
    "session": "kestrel-session-handle",  # what an API gives, in a field it calls format: password
    "hook": "kestrel-signs-notices",  # signs what people are told
}
FORMS = ("jsonl", "cloudevents", "ocsf")
SETTINGS = """\
secret_names: [honour]
secret_paths: [/account/iban]
notifications:
  - {name: desk, url: 'env:DESK_URL', secret: 'env:DESK_SECRET', allow_private_addresses: true}
"""
API = """\
api: vault
base_url: {url}/v1
allow_private_addresses: true
auth: {{bearer: 'env:VAULT_KEY'}}
"""
DOCUMENT = """\
openapi: 3.1.0
info: {title: vault, version: '1'}
paths:
  /sessions:
    post:
      operationId: openSession
      requestBody:
        content:
          application/json:
            schema: {type: object, properties: {door_code: {type: string, writeOnly: true}}}
      responses:
        '201':
          description: opened
          content:
            application/json:
              schema: {type: object, properties: {handle: {type: string, format: password}}}
  /sessions/{id}:
    delete:
      operationId: closeSession
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {'204': {description: closed}}
  /orders:
    post: {operationId: order, responses: {'201': {description: ordered}}}
"""
WORKFLOW = """\
arazzo: 1.0.1
info: {title: Vault, version: 1.0.0}
sourceDescriptions:
  - {name: vault, url: ./vault.openapi.yaml, type: openapi}
  - {name: tasks, url: 'tasks:', type: openapi}
workflows:
  - workflowId: vault
    inputs: &inputs
      type: object
      properties:
        login: {type: object, properties: {word: {type: string, format: password, minLength: 3}}}
        number: {type: string}
        account: {type: object}
        honour: {type: string}
        note: {type: string}
    steps:
      - stepId: open
        operationId: openSession
        x-idempotency: {in: header, name: Idempotency-Key}
        requestBody:
          payload:
            {door_code: $inputs.number, word: $inputs.login#/word, account: $inputs.account,
             honour: $inputs.honour, note: $inputs.note}
        outputs: {id: $response.body#/id, door: $response.body#/handle, said: $response.body#/echo}
        x-compensation:
          operationId: closeSession
          x-idempotency: {in: header, name: Idempotency-Key}
          parameters: [{name: id, in: path, value: $steps.open.outputs.id}]
          requestBody:
            payload: {door: $steps.open.outputs.door, note: $inputs.note, word: $inputs.login#/word}
      - stepId: buy
        operationId: order
        x-idempotency: {in: header, name: Idempotency-Key}
        parameters: [{name: near, in: query, value: $inputs.number}]
        requestBody: {payload: {door: $steps.open.outputs.door, note: $inputs.note}}
        x-compensation: {none: nothing is bought}
  - workflowId: clumsy
    inputs: *inputs
    steps:
      - stepId: stumble
        operationId: $sourceDescriptions.tasks.stumble
        requestBody:
          contentType: application/json
          payload: {word: $inputs.login#/word, note: $inputs.note}
        outputs: {said: $response.body#/said}
    outputs: {said: $steps.stumble.outputs.said}
"""
TASK = """\
import logging
import os

import structlog
from orchestrator import RetryPolicy, task

@task(name="stumble", effects="none", retry=RetryPolicy(max_attempts=1))
def stumble(word: str, note: str) -> dict[str, str]:
    structlog.get_logger().warning("stumbling", told=word, note=note, all={"door": [word]})
    logging.getLogger("shop").error("key %s for %s", os.environ["VAULT_KEY"], word)
    raise ValueError(f"cannot use {word} with {note} and {os.environ['VAULT_KEY']}")
"""


@dataclass
class Gossip:
    """An API that repeats all it knows, and a desk that is told of escalations."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: str) -> Any:
        if path == "/desk":
            self.told.append(body)
            return 204, {}
        said = f"{headers.get('authorization')} {CANARIES['session']} {body}"
        self.asked.append(f"{method} {path} {said}")
        if (method, path) == ("POST", "/v1/sessions"):
            return 201, {"id": "s-1", "handle": CANARIES["session"], "echo": said}
        return 422, {"message": f"{path} is refused: {said}"}


@contextmanager
def serving(gossip: Gossip) -> Iterator[Gossip]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(size).decode()
            status, answer = gossip.answer(self.command, self.path, headers, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_DELETE = do_POST  # noqa: N815 -- what the base class calls

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gossip.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield gossip
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def lay_out(deployment: Deployment, gossip: Gossip) -> dict[str, Any]:
    """The deployment's files and environment; the inputs of its runs."""
    config = deployment.folder / "config"
    (config / "apis").mkdir()
    (config / "settings.yaml").write_text(SETTINGS)
    (config / "apis" / "vault.yaml").write_text(API.format(url=gossip.url))
    (config / "workflows" / "vault.openapi.yaml").write_text(DOCUMENT)
    (config / "workflows" / "vault.arazzo.yaml").write_text(WORKFLOW)
    tasks = deployment.folder / "tasks"
    (tasks / "clumsy.py").write_text(TASK)
    with (tasks / "__init__.py").open("a") as file:
        file.write("\nfrom tasks import clumsy  # noqa\n")
    deployment.env.update(
        VAULT_KEY=CANARIES["credential"], DESK_URL=f"{gossip.url}/desk",
        DESK_SECRET=CANARIES["hook"], PAYLOAD_KEY=new_key(),
        ORCHESTRATOR_PAYLOAD_KEYS="env:PAYLOAD_KEY", ORCHESTRATOR_METRICS_PORT=str(free_port()),
    )  # fmt: skip
    return {
        "login": {"word": CANARIES["password"]}, "number": CANARIES["pin"],
        "account": {"iban": CANARIES["iban"], "owner": "A. Kestrel"}, "honour": CANARIES["mark"],
        "note": f"card {CANARIES['card']} or {CANARIES['token']}",
    }  # fmt: skip


class Outlets:
    """Everything that somebody may read, by its name."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def leaks(self) -> list[str]:
        return [
            f"{name} in {where}: …{text[max(text.index(form) - 60, 0) :][:140]}…"
            for where, text in self.texts.items()
            for name, canary in CANARIES.items()
            for form in {canary, json.dumps(canary)[1:-1], repr(canary)[1:-1]}
            if form in text
        ]


def broker_content(url: str) -> str:
    """All keys of all its databases, whatever they hold."""
    found = []
    for number in (0, 1):
        with closing(redis.Redis.from_url(url, db=number)) as client:
            found += [f"{key!r} {client.dump(key)!r}" for key in client.scan_iter()]
    return "\n".join(found)


@contextmanager
def overheard(url: str) -> Iterator[list[str]]:
    """What is published meanwhile: task events, above all."""
    heard: list[str] = []
    ended = threading.Event()

    def listen() -> None:
        with closing(redis.Redis.from_url(url)) as client:
            anyway: Any = client  # whose own types leave out pubsub
            listener = anyway.pubsub()
            listener.psubscribe("*")
            while not ended.is_set():
                if message := listener.get_message(timeout=0.05):
                    heard.append(repr(message["data"]))
            listener.close()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield heard
    finally:
        ended.set()
        thread.join()


def tables(deployment: Deployment) -> Iterator[tuple[str, str, str]]:
    """(table, column, all its texts) of the database."""
    path = deployment.folder / ".orchestrator" / "orchestrator.db"
    with closing(sqlite3.connect(path)) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master "
                                                    "WHERE type = 'table'")]  # fmt: skip
        for name in names:
            rows = database.execute(f"SELECT * FROM {name}")
            columns = [each[0] for each in rows.description]
            content = rows.fetchall()
            for place, column in enumerate(columns):
                yield name, column, "\n".join(str(row[place]) for row in content)


@pytest.mark.timeout(180)
def test_no_secret_gets_out_anywhere(
    deployment: Deployment, first_object: Callable[[Any], Any]
) -> None:
    seen = Outlets()
    with serving(Gossip()) as gossip, receiving() as traces:
        inputs = lay_out(deployment, gossip)
        deployment.env.update(ORCHESTRATOR_OTLP_ENDPOINT=traces.address)
        process = deployment.start("up", "--workers", "1", "--json")
        port = free_port()
        face = deployment.start("api", "--port", str(port))
        try:
            broker = first_object(process)["broker"]
            with overheard(broker) as heard:
                escalated, failed = use(deployment, inputs)
                wait_until(lambda: bool(gossip.told), "the desk")
                wait_until(lambda: len(traces.traces()) >= 2, "traces of both runs")
                read_by_command(deployment, seen, escalated, failed)
                wait_until(lambda: _is_ready(port), "the API")
                read_over_http(deployment, seen, port, escalated, failed)
                follow_pages(deployment, seen, port, escalated)
                export(deployment, seen)
            seen.texts |= {"broker": broker_content(broker), "events": "\n".join(heard)}
        finally:
            said = [*end(face), *end(process)]
    seen.texts |= {"printed": "\n".join(said), "notices": "\n".join(gossip.told)}
    seen.texts["traces"] = "\n".join(map(repr, traces.spans))
    assert "is refused" in seen.texts["traces"]
    for path in (deployment.folder / ".orchestrator").rglob("*.log"):
        seen.texts[path.name] = path.read_text()
    for table, column, text in tables(deployment):
        seen.texts[f"{table}.{column}"] = text
    everything = "\n".join(gossip.asked)
    assert not [n for n in ("credential", "password", "card") if CANARIES[n] not in everything]
    assert "is refused" in seen.texts["notices"] + seen.texts["attempts.reason"]
    assert "stumbling" in "".join(text for name, text in seen.texts.items() if "log" in name)
    assert seen.leaks() == []


def use(deployment: Deployment, inputs: Mapping[str, Any]) -> tuple[str, str]:
    """Ids of a run that escalates and of one whose function fails."""
    deployment.ask("workflows", "publish", "config/workflows")
    runs = []
    for workflow in ("vault", "clumsy"):
        if workflow == "clumsy":  # of which nobody says that it is secret there
            inputs = {name: value for name, value in inputs.items() if name != "number"}
        said = deployment.run(
            "submit", workflow, "--inputs", json.dumps(inputs), "--wait", "--json"
        )
        runs.append(said.data["run"]["id"])
    return runs[0], runs[1]


def read_by_command(deployment: Deployment, seen: Outlets, escalated: str, failed: str) -> None:
    short = json.dumps({"login": {"word": [CANARIES["password"]]}, "number": 7})
    commands = [
        ("runs", "show", escalated, "--audit"), ("runs", "show", escalated, "--json"),
        ("runs", "show", failed, "--json"), ("audit", "explain", escalated),
        ("escalations", "list", "--json"), ("insights", "vault"),
        ("submit", "vault", "--inputs", short),
        ("runs", "signal", failed, "door", "--data", short),
    ]  # fmt: skip
    for command in commands:
        said = deployment.run(*command)
        seen.texts[" ".join(command[:4])] = said.out + said.err
        assert said.out + said.err
    (letter,) = deployment.ask("escalations", "list")
    shown = deployment.run("escalations", "show", letter["id"])
    seen.texts["escalations show"] = shown.out
    assert "curl" in shown.out
    assert "[hidden]" in shown.out


def read_over_http(
    deployment: Deployment, seen: Outlets, port: int, escalated: str, failed: str
) -> None:
    metrics = f"http://127.0.0.1:{deployment.env['ORCHESTRATOR_METRICS_PORT']}/metrics"
    seen.texts["metrics of the worker"] = httpx.get(metrics).text
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        letter = client.get("/v1/escalations").json()["items"][0]["id"]
        paths = ["/metrics", "/v1/runs", "/v1/escalations", "/console/", "/console/escalations",
                 f"/v1/escalations/{letter}", f"/console/escalations/{letter}"]  # fmt: skip
        for run in (escalated, failed):
            paths += [f"/v1/runs/{run}", f"/v1/runs/{run}/chain", f"/v1/runs/{run}/audit",
                      f"/v1/runs/{run}/waits", f"/v1/runs/{run}/story",
                      f"/console/runs/{run}"]  # fmt: skip
        for path in paths:
            answer = client.get(path)
            assert answer.status_code in {200, 404}, path
            seen.texts[path] = answer.text
        bad = client.post("/v1/runs", json={"workflow": "vault", "inputs": {
            "login": {"word": [CANARIES["password"]]}, "note": [CANARIES["card"]]}})  # fmt: skip
        assert bad.status_code in {400, 422}
        seen.texts["a refusal"] = bad.text
    assert escalated[-12:] in seen.texts[f"/console/runs/{escalated}"]
    assert "is refused" in seen.texts[f"/v1/runs/{escalated}/audit"]


def follow_pages(deployment: Deployment, seen: Outlets, port: int, escalated: str) -> None:
    """Pages that are open while something happens are drawn anew over their sockets."""
    (letter,) = (each["id"] for each in deployment.ask("escalations", "list"))
    acts: dict[str, tuple[str, ...]] = {
        f"/console/runs/{escalated}": ("claim", letter),
        f"/console/escalations/{letter}": ("release", letter),
    }
    for page, act in acts.items():
        seen.texts[f"socket of {page}"] = followed(
            f"http://127.0.0.1:{port}", page, lambda act=act: deployment.run("escalations", *act),
            lambda heard: "is refused" in heard,
        )  # fmt: skip


def export(deployment: Deployment, seen: Outlets) -> None:
    """The audit in each form, once the runs are old enough for a checkpoint to cover them."""

    def covered() -> bool:
        deployment.run("audit", "checkpoint")
        return "is refused" in deployment.run("audit", "export").out

    wait_until(covered, "a checkpoint of the run", seconds=60.0)
    for form in FORMS:
        seen.texts[form] = deployment.run("audit", "export", "--format", form).out
        assert "is refused" in seen.texts[form]


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
