"""The conformance suite of the Model Context Protocol, from npm, against `orchestrator mcp`.

Most of its scenarios for servers call tools of a fixture (`test_simple_text`, …), which no server
in use has. Asked here are those that apply to every server. It wants a newer Node.js than
Debian's; npm brings one along.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.embedded.address import free_port
from tests.acceptance.conftest import Deployment, end, make_deployment, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SUITE = ("@modelcontextprotocol/conformance@0.2.0-alpha.12", "node@24")
SCENARIOS = {
    "server-initialize": "2025-11-25",
    "server-session-lifecycle": "2025-11-25",
    "ping": "2025-11-25",
    "server-sse-multiple-streams": "2025-11-25",
    "tools-list": "2026-07-28",
    "tools-call-error": "2026-07-28",
    "resources-list": "2026-07-28",
    "prompts-list": "2026-07-28",
    "sep-2164-resource-not-found": "2026-07-28",
    "dns-rebinding-protection": "2026-07-28",
    "caching": "2026-07-28",
    "http-header-validation": "2026-07-28",
    "input-required-result-unsupported-methods": "2026-07-28",
    "input-required-result-ignore-extra-params": "2026-07-28",
    "server-stateless": "2026-07-28",
}
"""Each with the revision of the protocol that it is asked in."""
OF_A_FIXTURE = {
    # These two call `test_missing_capability`, a tool that the suite's own fixture server has.
    "server-stateless": {
        "sep-2575-server-rejects-undeclared-capability", "sep-2575-missing-capability-http-400",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with its commands."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("conformance")
    done = subprocess.run(
        [npm, "install", "--silent", "--prefix", str(folder), *SUITE],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"the suite cannot be installed: {done.stderr[-200:]}")
    return folder / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the shipped workflows, for whoever is on this machine."""
    deployment = make_deployment(tmp_path_factory.mktemp("server") / "deployment")
    port = free_port()
    found = f"http://127.0.0.1:{port}/mcp"
    server = deployment.start("mcp", "--http", "--port", str(port), "--actor", "agent-7")
    try:
        _publish(deployment)
        wait_until(lambda: _answers(found), "the server", seconds=60)
        yield found
    finally:
        end(server, signal.SIGINT)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_conforms(scenario: str, suite: Path, url: str, tmp_path: Path) -> None:
    command = [
        str(suite / "conformance"), "server", "--url", url, "--scenario", scenario,
        "--spec-version", SCENARIOS[scenario], "--output-dir", str(tmp_path),
    ]  # fmt: skip
    path = f"{suite}:{os.environ['PATH']}"
    done = subprocess.run(
        command, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    checks = _checks(tmp_path)
    assert checks, done.stdout + done.stderr
    wrong = {
        each["id"]: each.get("errorMessage", "") for each in checks if each["status"] == "FAILURE"
    }
    assert wrong.keys() == OF_A_FIXTURE.get(scenario, set()), wrong
    assert any(each["status"] == "SUCCESS" for each in checks), checks


def _publish(deployment: Deployment) -> None:
    deployment.ask("workflows", "publish", "config/workflows")


def _checks(folder: Path) -> list[dict[str, Any]]:
    return [
        check for path in folder.glob("*/checks.json") for check in json.loads(path.read_text())
    ]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code < 500
    except httpx.HTTPError:
        return False
