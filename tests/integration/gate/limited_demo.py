"""The demo, with a recording proxy between its workers and its server.

`python limited_demo.py <file for the record> <arguments of orchestrator>…`
"""

from __future__ import annotations

import atexit
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.cli.main import run
from orchestrator.demo.shop import Shop

PROXY = Path(__file__).parent / "http_recorder.py"
VARIABLE = "ORCHESTRATOR_API_KINTO_BASE_URL"


def through_proxy(record: str) -> None:
    """Let the workers find the proxy where they look for the server."""
    direct = Shop.environment

    def environment(self: Shop) -> Mapping[str, str]:
        found = dict(direct(self))
        server = urlsplit(found[VARIABLE])
        proxy = subprocess.Popen(
            [sys.executable, str(PROXY), str(server.port), record],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        atexit.register(_end, proxy)
        assert proxy.stdout is not None
        port = proxy.stdout.readline().strip()
        return {**found, VARIABLE: f"http://127.0.0.1:{port}{server.path}"}

    Shop.environment = environment  # type: ignore[method-assign]


def _end(proxy: subprocess.Popen[str]) -> None:
    proxy.terminate()
    proxy.wait(timeout=20)


if __name__ == "__main__":
    through_proxy(sys.argv.pop(1))
    run()
