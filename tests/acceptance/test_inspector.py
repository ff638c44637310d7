"""The Inspector of the Model Context Protocol, from npm, against `orchestrator mcp`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.embedded.address import free_port
from tests.acceptance.conftest import COMMAND, Deployment, end, up, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.timeout(300)]

INSPECTOR = "@modelcontextprotocol/inspector@0.15"
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its command."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("inspector")
    done = subprocess.run(
        [npm, "install", "--silent", "--prefix", str(folder), INSPECTOR],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"the Inspector cannot be installed: {done.stderr[-200:]}")
    return folder / "node_modules" / ".bin" / "mcp-inspector"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with up(tmp_path_factory.mktemp("running")) as deployment:
        yield deployment


@pytest.fixture(params=["stdio", "http"])
def ask(request: pytest.FixtureRequest, inspector: Path, running: Deployment) -> Iterator[Ask]:
    """Ask the server over each way in turn."""
    server: subprocess.Popen[str] | None = None
    if request.param == "stdio":
        target = [str(COMMAND), "mcp", "--actor", "agent-7"]
    else:
        port = free_port()
        url = f"http://127.0.0.1:{port}/mcp"
        server = running.start("mcp", "--http", "--port", port, "--actor", "agent-7")
        wait_until(lambda: _answers(url), "the server", seconds=60)
        target = [url, "--transport", "http"]

    def told(method: str, tool: str = "", **arguments: str) -> Any:
        named = ["--tool-name", tool] if tool else []
        given = [w for name, value in arguments.items() for w in ("--tool-arg", f"{name}={value}")]
        done = subprocess.run(
            [str(inspector), "--cli", *target, "--method", method, *named, *given],
            cwd=running.folder, env=running.env | {"PATH": os.environ["PATH"]},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-500:]
        return json.loads(done.stdout)

    yield told
    if server is not None:
        end(server, signal.SIGINT)


def test_it_lists_searches_executes_follows_and_cancels(
    ask: Ask, request: pytest.FixtureRequest
) -> None:
    way = request.node.callspec.params["ask"]
    tools = {each["name"] for each in ask("tools/list")["tools"]}
    assert {"search", "describe", "execute", "status", "cancel", "get_output"} <= tools

    found = ask("tools/call", "search", question="ask somebody for permission")
    names = [each["workflow"] for each in found["structuredContent"]["result"]]
    assert "permission" in names
    assert ask("tools/call", "describe", workflow="permission")["isError"] is False

    begun = ask(
        "tools/call", "execute", workflow="permission", inputs='{"folder": "notes"}',
        idempotency_key=way, mode="async",
    )  # fmt: skip
    run = begun["structuredContent"]["run"]
    again = ask(
        "tools/call", "execute", workflow="permission", inputs='{"folder": "notes"}',
        idempotency_key=way, mode="async",
    )  # fmt: skip
    assert again["structuredContent"]["run"] == run

    def status() -> str:
        told: str = ask("tools/call", "status", run=run)["structuredContent"]["status"]
        return told

    wait_until(lambda: status() == "waiting", "it to wait for a person", seconds=60)
    refused = ask("tools/call", "cancel", run=run)
    assert refused["isError"] is True
    assert "reason: found nothing; wanted: why, such as" in refused["content"][0]["text"]
    ended = ask("tools/call", "cancel", run=run, reason="no longer wanted")
    assert ended["structuredContent"]["status"] == "compensated"
    assert status() == "compensated"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code < 500
    except httpx.HTTPError:
        return False
