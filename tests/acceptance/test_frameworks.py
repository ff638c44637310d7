"""Workflows as tools of agent frameworks: the real packages, a real REST server and a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.embedded.address import free_port
from tests.acceptance.conftest import Deployment, end, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
AGENT = Path(__file__).with_name("framework_agent.py")
FRAMEWORKS = ["langchain", "openai_agents", "pydantic_ai"]


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of an environment with the frameworks, which want other versions than those of the tests."""
    folder = tmp_path_factory.mktemp("frameworks")
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(folder / "venv" / "bin" / "python")
    extras = ",".join(each.replace("_", "-") for each in FRAMEWORKS)
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
        [uv, "pip", "install", "--quiet", "--python", python, "--editable", f"{ROOT}[{extras}]"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
        if done.returncode != 0:
            pytest.skip(f"the frameworks cannot be installed: {done.stderr[-300:]}")
    return python


@pytest.fixture(scope="module")
def face(running: Deployment) -> Iterator[tuple[str, str]]:
    """Address and key of a REST server beside a worker."""
    port = free_port()
    running.env["ORCHESTRATOR_API_AUTH"] = "keys"
    key = running.ask("keys", "create", "bot", "--role", "submitter", "--tenant", "acme")["key"]
    process = running.start("api", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _is_ready(url), "the API", seconds=240)
        yield url, key
    finally:
        end(process)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_its_agent_has_workflows_run_as_tools(
    framework: str, interpreter: str, face: tuple[str, str], running: Deployment
) -> None:
    url, key = face
    folder = running.notes / framework
    folder.mkdir()
    calls = [
        ("c1", "notes", {"folder": str(folder)}),
        ("c1", "notes", {"folder": str(folder)}),
        ("c2", "notes", {"folder": str(folder), "verdict": "bad"}),
        ("c3", "notes", {}),
        ("c4", "permission", {"folder": str(folder)}),
        ("c5", "run_status", {"run": "RUN"}),
    ]
    done = subprocess.run(
        [interpreter, str(AGENT), framework, url, key],
        input=json.dumps(calls), capture_output=True, text=True, timeout=500, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    good, again, bad, refused, asked, looked = json.loads(done.stdout)

    first, repeated = json.loads(good), json.loads(again)
    assert (first["status"], first["outputs"]) == ("succeeded", {})
    assert repeated["run"] == first["run"], "the same call, twice"
    assert repeated.get("repeated") or again == good, "told so, or never asked a second time"
    assert json.loads(bad)["status"] == "compensated"
    assert "call the tool again. Cause: the verdict is bad" in json.loads(bad)["meaning"]
    assert "'folder' is a required property" in refused
    waiting = json.loads(asked)
    assert waiting["status"] == "waiting"
    assert waiting["meaning"].startswith("Waiting for the signal asked.")
    assert json.loads(looked)["run"] == waiting["run"]

    found = httpx.get(
        f"{url}/v1/runs", params={"actor": "bot", "limit": 100},
        headers={"authorization": f"Bearer {key}"}, timeout=60,
    )  # fmt: skip
    runs = found.raise_for_status().json()["items"]
    mine = [run for run in runs if run["idempotency_key"].startswith(f"{framework}:")]
    assert len(mine) == 3, "one for each wish that was accepted"


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
