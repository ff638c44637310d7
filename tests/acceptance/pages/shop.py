"""The two APIs of the pages' checkouts, which misbehave for orders that are named so.

`lost-…` orders are charged without an answer. A `stuck-…` order is refused by the carrier, and its
refund by the bank, unless it is of 90 or to the account DE02.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_numbers = itertools.count(1)


class Shop(BaseHTTPRequestHandler):
    """Shop and bank."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Make something."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        order = str(body.get("order_id", ""))
        match self.path.strip("/"):
            case "charges" if order.startswith("lost"):
                self.close_connection = True
            case "refunds" if order.startswith("stuck") and not self._is_right(body):
                self._answer(422, {"error": "no such account"})
            case "shipments" if order.startswith("stuck"):
                self._answer(422, {"error": "no such address"})
            case "reservations" | "charges" | "shipments" | "refunds":
                self._answer(201, {"id": f"{self.path[1:3]}_{next(_numbers)}", **body})
            case _:
                self._answer(404, {"error": self.path})

    def do_DELETE(self) -> None:
        """Take it back."""
        self._answer(200, {"deleted": True})

    @staticmethod
    def _is_right(body: dict[str, Any]) -> bool:
        return bool(body.get("amount") == 90 or body.get("account") == "DE02")

    def _answer(self, status: int, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def shop() -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
