"""An office with many departments, whose every answer is large; its API and one workflow over all.

Each department opens a file that refers to the one before it, and answers with everything that it
knows. The server is in this process, on a port of its own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

LOOPBACK = "127.0.0.1"
WORKFLOW, DOCUMENT = "onboard-supplier", "supplier.arazzo.yaml"
QUESTION = "register a new supplier with every department"
INPUTS = {"supplier": "ACME Ltd", "country": "DE"}
NAMES = (
    "registry", "sanctions", "tax", "credit", "insurance", "bank", "contracts", "legal", "privacy",
    "security", "quality", "logistics", "customs", "warehouse", "catalogue", "pricing", "invoicing",
    "payments", "reporting", "archive",
)  # fmt: skip


@dataclass
class Office:
    """What it was asked. `answer_bytes`: of each answer, about."""

    answer_bytes: int
    address: str = ""
    bodies: list[bytes] = field(default_factory=list)  # of its answers, in order
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, asked: Mapping[str, Any]) -> bytes:
        """The body of an answer."""
        row = {
            "entry": f"{path}-00000", "supplier": asked.get("supplier"), "status": "checked",
            "score": 0.0123456789,
            "remarks": "No objection was raised by the clerk in charge of this entry.",
        }  # fmt: skip
        count = max(1, self.answer_bytes // len(json.dumps(row)))
        entries = [{**row, "entry": f"{path}-{at:05}", "score": at / count} for at in range(count)]
        found = {"id": f"{path.strip('/')}-1", "entries": entries}
        body = json.dumps(found).encode()
        with self._lock:
            self.bodies.append(body)
        return body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: apart, the body waits for an acknowledgement
    office: Office

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = self.office.answer(self.path, asked)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Standard error is for the report."""


@contextmanager
def open_office(answer_bytes: int) -> Iterator[Office]:
    """One with its address."""
    office = Office(answer_bytes=answer_bytes)
    handler = type("_OfficeHandler", (_Handler,), {"office": office})
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        office.address = f"http://{LOOPBACK}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield office
        finally:
            server.shutdown()
            thread.join()


# --- documents ------------------------------------------------------------------------------------


def departments(steps: int) -> list[str]:
    """So many names."""
    return [f"{NAMES[at % len(NAMES)]}{at // len(NAMES) or ''}" for at in range(steps)]


def operation_of(name: str) -> str:
    """The operation that opens a file there."""
    return f"open{name.capitalize()}File"


_FIELDS = {
    "supplier": {"type": "string", "description": "Name of the supplier."},
    "country": {"type": "string", "description": "Two letters."},
    "previous": {"type": "string", "description": "The file of the department before."},
}
_FILE = {
    "type": "object", "required": ["id", "entries"], "properties": {
        "id": {"type": "string"}, "entries": {"type": "array", "items": {"type": "object"}},
    },
}  # fmt: skip


def tools(steps: int) -> list[dict[str, Any]]:
    """The same operations as tools that a model calls itself."""
    schema = {"type": "object", "properties": _FIELDS, "required": ["supplier", "country"]}
    return [
        {"name": operation_of(name), "description": _summary(name), "input_schema": schema}
        for name in departments(steps)
    ]


def _summary(name: str) -> str:
    return f"Open a file on a supplier at the department of {name}."


def write_documents(config: Path, address: str, steps: int) -> None:
    """The API's document and configuration, and the workflow's document."""
    for folder in ("apis", "workflows"):
        (config / folder).mkdir(parents=True)
    api = {"api": "office", "base_url": address, "allow_private_addresses": True}
    (config / "apis" / "office.yaml").write_text(yaml.safe_dump(api))
    (config / "workflows" / "office.openapi.yaml").write_text(json.dumps(_openapi(address, steps)))
    (config / "workflows" / DOCUMENT).write_text(json.dumps(_arazzo(steps)))


def _openapi(address: str, steps: int) -> dict[str, Any]:
    def operation(name: str) -> dict[str, Any]:
        asked = {"type": "object", "required": ["supplier", "country"], "properties": _FIELDS}
        return {"post": {
            "operationId": operation_of(name), "summary": _summary(name),
            "requestBody": {"content": {"application/json": {"schema": asked}}},
            "responses": {"200": {
                "description": "The file.", "content": {"application/json": {"schema": _FILE}},
            }},
        }}  # fmt: skip

    return {
        "openapi": "3.1.0", "info": {"title": "Office", "version": "1"},
        "servers": [{"url": address}],
        "paths": {f"/{name}": operation(name) for name in departments(steps)},
    }  # fmt: skip


def _arazzo(steps: int) -> dict[str, Any]:
    names = departments(steps)
    last = names[-1]
    return {
        "arazzo": "1.0.1", "info": {"title": "Suppliers", "version": "1.0.0"},
        "sourceDescriptions": [
            {"name": "office", "url": "./office.openapi.yaml", "type": "openapi"}
        ],
        "workflows": [{
            "workflowId": WORKFLOW, "summary": "Register a supplier with all departments.",
            "inputs": {
                "type": "object", "required": ["supplier", "country"],
                "properties": {
                    "supplier": {"type": "string"},
                    "country": {"type": "string", "minLength": 2, "maxLength": 2},
                },
            },
            "steps": [_step(before, name) for before, name in pairwise(["", *names])],
            "outputs": {
                "file": f"$steps.{last}.outputs.id", "entries": f"$steps.{last}.outputs.entries",
            },
        }],
    }  # fmt: skip


def _step(before: str, name: str) -> dict[str, Any]:
    payload = {"supplier": "$inputs.supplier", "country": "$inputs.country"}
    if before:
        payload["previous"] = f"$steps.{before}.outputs.id"
    return {
        "stepId": name, "operationId": operation_of(name),
        "requestBody": {"contentType": "application/json", "payload": payload},
        "successCriteria": [{"condition": "$statusCode == 200"}],
        "outputs": {"id": "$response.body#/id", "entries": "$response.body#/entries"},
        "x-compensation": {"none": "a file is closed by itself after a year"},
    }  # fmt: skip
