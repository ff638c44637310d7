"""A shop that keeps customers and charges, declines every order, and counts what is left.

What the steps of `checkout.arazzo.yaml` call; in this process, on a port of its own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

LOOPBACK = "127.0.0.1"
DECLINED = 402

Answer = tuple[int, dict[str, Any] | None]


@dataclass
class Shop:
    """What it holds, and the requests that it saw, in order. Safe between threads."""

    customers: set[str] = field(default_factory=set)
    charges: set[str] = field(default_factory=set)  # but for those that were voided
    seen: list[str] = field(default_factory=list)
    address: str = ""
    _ids: Iterator[int] = field(default_factory=lambda: count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def declined(self) -> int:
        """Orders that were wanted: each was answered 402."""
        return self.seen.count("POST /orders")

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        """Status and body; a charge needs its customer, an order its charge."""
        with self._lock:
            self.seen.append(f"{method} {path}")
            return self._answer(method, path, body)

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        match method, path.strip("/").split("/"):
            case "POST", ["customers"]:
                return self._made("cus", self.customers)
            case "DELETE", ["customers", name]:
                return _gone(name, self.customers, 204)
            case "POST", ["charges"]:
                if body.get("customer") in self.customers:
                    return self._made("ch", self.charges)
                return 422, {"error": "there is no such customer"}
            case "POST", ["charges", name, "void"]:
                return _gone(name, self.charges, 200)
            case "POST", ["orders"]:
                if body.get("charge") in self.charges:
                    return DECLINED, {"error": "declined"}
                return 422, {"error": "there is no such charge"}
        return 404, {"error": "there is nothing here"}

    def _made(self, kind: str, kept: set[str]) -> Answer:
        name = f"{kind}_{next(self._ids)}"
        kept.add(name)
        return 201, {"id": name}


def _gone(name: str, kept: set[str], status: int) -> Answer:
    if name not in kept:
        return 404, {"error": "nothing has this id"}
    kept.remove(name)
    return status, None if status == 204 else {"id": name}


class _Handler(BaseHTTPRequestHandler):
    """Hands each request to the shop."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: apart, the body waits for an acknowledgement
    shop: Shop

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """The shop remembers them; standard error is for the report."""

    def _serve(self) -> None:
        status, found = self.shop.answer(self.command, self.path, self._body())
        content = b"" if found is None else json.dumps(found).encode()
        self.send_response(status)
        if found is not None:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _body(self) -> dict[str, Any]:
        read = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = json.loads(read) if read else {}
        return found if isinstance(found, dict) else {}


@contextmanager
def open_shop() -> Iterator[Shop]:
    """An empty one, with its address."""
    shop = Shop()
    handler = type("_ShopHandler", (_Handler,), {"shop": shop})
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        shop.address = f"http://{LOOPBACK}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield shop
        finally:
            server.shutdown()
            thread.join()
