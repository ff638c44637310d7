"""A worker's metrics over HTTP, on a thread of their own.

So a worker whose loop is stuck is still seen, and says so. Each worker process of a machine takes
the first port that is free.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from orchestrator.errors import InvalidSetting, Problem

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

log = structlog.get_logger(__name__)

PORTS = 100
"""Worker processes of one machine at most, as far as their metrics are concerned."""


class Exposition:
    """Serves a registry until closed."""

    def __init__(self, server: WSGIServer, thread: Thread) -> None:
        self._server, self._thread = server, thread

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def close(self) -> None:
        """Stop listening. Blocks for half a second at most."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(registry: CollectorRegistry, *, address: str, first_port: int) -> Exposition:
    """Listen on the first free one of PORTS ports. Raises InvalidSetting when there is none."""
    last_port = min(first_port + PORTS, 65536) - 1
    for port in range(first_port, last_port + 1):
        try:
            exposition = Exposition(*start_http_server(port, address, registry))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise _refused(address, str(first_port), str(error)) from error
        log.info("metrics.served", address=address, port=exposition.port)
        return exposition
    raise _refused(address, f"{first_port} to {last_port}", "all of them are taken")


def _refused(address: str, ports: str, why: str) -> InvalidSetting:
    problem = Problem(
        place="settings metrics_address, metrics_port", found=f"{address}, {ports}: {why}",
        wanted="an address of this machine and a free port",
    )  # fmt: skip
    return InvalidSetting("a worker's metrics cannot be served", problems=[problem])
