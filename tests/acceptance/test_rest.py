"""`orchestrator api` as a process, beside real workers; and what its document promises."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from orchestrator.client import Client, ask
from orchestrator.embedded.address import free_port
from orchestrator.errors import InvalidInput, NotAuthenticated, NotFound
from tests.acceptance.conftest import Deployment, end, wait_until
from tests.sweeps import WHOLE, sweep

NOBODY = "01939c5e-7f2a-7c11-9f4e-0c2f5a1b9d10"
CHECKER = str(Path(sys.executable).with_name("schemathesis"))
NOT_CHECKED = (
    # Starlette's Allow header knows one route's methods, not those of all routes at a path.
    "allow_header_conformance",
    # What is valid is decided by each workflow's and each API's own schema as well.
    "positive_data_acceptance",
)


@dataclass(frozen=True)
class Face:
    url: str
    key: str

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def face(running: Deployment) -> Iterator[Face]:
    """One that wants keys, beside a worker."""
    port = free_port()
    running.env["ORCHESTRATOR_API_AUTH"] = "keys"
    key = running.ask("keys", "create", "tester", "--role", "admin")["key"]
    process = running.start("api", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _is_ready(url), "the API")
        yield Face(url=url, key=key)
    finally:
        end(process)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_a_run_from_submission_to_its_end(running: Deployment, face: Face) -> None:
    folder = running.notes / "rest"
    folder.mkdir()
    with face.client() as client:
        made = client.post(
            "/v1/runs",
            json={"workflow": "notes", "inputs": {"folder": str(folder)}},
        )
        assert made.status_code == 201, made.text
        run = client.get(made.headers["location"], params={"wait": 20}).json()
        assert (run["status"], run["actor"]) == ("succeeded", "tester")
        events = client.get(f"{made.headers['location']}/events").text
        assert "run.succeeded" in events
        assert events.count("event: settled") == 1
    shown = running.ask("runs", "show", run["id"])
    assert shown["run"]["status"] == "succeeded"
    assert face.key not in str(running.ask("keys", "list"))


def test_the_python_client_from_many_submissions_to_their_ends(
    running: Deployment, face: Face
) -> None:
    folder = running.notes / "client"
    folder.mkdir()
    with Client(face.url, key=face.key) as client:
        assert client(ask.me()).name == "tester"
        one = client(ask.submit("notes", {"folder": str(folder)}, key="one", tenant="python"))
        assert client(ask.submit("notes", {"folder": str(folder)}, key="one", tenant="python")) == (
            one.model_copy(update={"repeated": True})
        )
        events = list(client.events(one.run_id))
        assert events[-1].run is not None
        assert events[-1].run.status == "succeeded"
        assert [each.seq for each in events[:-1]] == list(range(1, len(events)))
        wishes = [
            ask.submission("notes", {"folder": str(folder)}, tenant="python"),
            ask.submission("nobody's", tenant="python"),
        ]
        made, refused = client.submit_many(wishes)
        assert made.submitted is not None
        assert refused.problem is not None
        assert client.settled(made.submitted.run_id, seconds=20).status == "succeeded"
        listed = client.pages(ask.runs(tenant="python", limit=1))
        assert [each.id for each in listed] == [made.submitted.run_id, one.run_id]
        records = list(client.pages(ask.audit(one.run_id, limit=2)))
        assert [each.seq for each in records] == list(range(1, len(events)))
        with pytest.raises(NotFound, match="no such run"):
            client(ask.run(NOBODY))
        with pytest.raises(InvalidInput) as wrong:
            client(ask.submit("notes", {}))
        assert wrong.value.problems[0].place == "body /inputs/"
    with Client(face.url, key="nonsense") as client, pytest.raises(NotAuthenticated):
        client(ask.me())


def test_commands_of_a_deployment_that_is_elsewhere(
    running: Deployment, face: Face, tmp_path: Path
) -> None:
    folder = running.notes / "elsewhere"
    folder.mkdir()
    here = {"ORCHESTRATOR_URL": face.url, "ORCHESTRATOR_KEY": face.key}
    far = replace(running, folder=tmp_path, env={**running.env, **here})  # it knows no database
    one = far.ask("submit", "notes", "-i", f"folder={folder}", "--wait")
    assert (one["status"], one["actor"].endswith(" via tester")) == ("succeeded", True)
    lines = tmp_path / "lines.jsonl"
    lines.write_text(f'{{"inputs": {{"folder": "{folder}"}}, "idempotency_key": "far-1"}}\n')
    assert far.ask("submit", "notes", "--file", str(lines)) == {"accepted": 1, "repeated": 0}
    assert far.ask("submit", "notes", "--file", str(lines)) == {"accepted": 0, "repeated": 1}
    lines.write_text("{}\n")
    refused = far.run("submit", "notes", "--file", str(lines))
    assert (refused.code, "line 1" in refused.err) == (3, True)
    listed = far.ask("runs", "list", "--workflow", "notes")
    assert listed[1]["id"] == one["id"]
    shown = far.ask("runs", "show", one["id"][-12:])
    assert shown["run"]["id"] == one["id"]
    assert [link["status"] for link in shown["chain"]["forward"]]
    assert "succeeded" in far.run("runs", "show", one["id"]).out
    too_late = far.run("runs", "cancel", one["id"], "--reason", "x")
    assert (too_late.code, "409" in too_late.err or "conflict" in too_late.err) == (5, False)
    assert far.ask("escalations", "list", "--closed") is not None
    not_there = far.run("runs", "show", "ffffff")
    assert (not_there.code, "no such run" in not_there.err) == (4, True)
    stays = far.run("keys", "list")
    assert (stays.code, "--url" in stays.err) == (3, True)
    nobody = replace(far, env={**far.env, "ORCHESTRATOR_KEY": "x"}).run("runs", "list")
    assert (nobody.code, face.key in nobody.err) == (3, False)
    closed = replace(far, env={**far.env, "ORCHESTRATOR_URL": "http://127.0.0.1:1"})
    assert closed.run("queues").code == 6


_EXAMPLES = (
    ("--max-examples", "4") if WHOLE
    else ("--max-examples", "2", "--phases", "examples,fuzzing")
)  # fmt: skip


@sweep
def test_its_document_holds_for_whatever_is_sent(face: Face, tmp_path: Path) -> None:
    """Each operation is sent a few bodies; with all that its schemas allow, too, by `make long`."""
    # It is made when first asked for, and the checker waits for it no longer than ten seconds.
    document = httpx.get(f"{face.url}/openapi.json", timeout=60).json()
    done = subprocess.run(
        [
            CHECKER, "run", f"{face.url}/openapi.json", "--header",
            f"Authorization: Bearer {face.key}", *_EXAMPLES, "--seed", "1",
            "--request-timeout", "60",
            "--generation-deterministic", "--exclude-operation-id", "followRun",
            "--exclude-operation-id", "submitRuns", "--no-color",
            "--exclude-checks", ",".join(NOT_CHECKED),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    operations = sum(len(item) for item in document["paths"].values())
    assert f"Tested: {operations - 2}" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout


def test_the_document_is_printed_without_a_server(deployment: Deployment) -> None:
    document = deployment.run("openapi").data
    assert document["openapi"].startswith("3.1")
    assert "/v1/runs:bulk" in document["paths"]


def test_without_keys_only_this_machine_is_served(deployment: Deployment) -> None:
    said = deployment.run("api", "--address", "0.0.0.0", "--port", str(free_port()))
    assert said.code == 3
    assert "setting api_auth" in said.err
    assert "orchestrator keys create" in said.err
