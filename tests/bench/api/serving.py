"""`orchestrator api` as a process of its own, for whoever measures it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from orchestrator.embedded.address import free_port

_COMMAND = str(Path(sys.executable).with_name("orchestrator"))


@contextmanager
def serving(env: Mapping[str, str]) -> Iterator[str]:
    """It is up with these settings beside this process's; its address. Raises TimeoutError."""
    port = free_port()
    process = subprocess.Popen([_COMMAND, "api", "--port", str(port)], env={**os.environ, **env})
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"the API ended with {process.returncode}")
        try:
            if httpx.get(f"{address}/health/live").status_code == 200:
                return
        except httpx.TransportError:
            pass  # it has not come up yet
        time.sleep(0.1)
    raise TimeoutError("the API did not come up within 30 s")
