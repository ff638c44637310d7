"""A bulk act on many escalations while workers, broker and API are killed: each is handled once."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.core.states import RunStatus
from orchestrator.embedded.address import free_port
from orchestrator.embedded.process import stop_all
from orchestrator.embedded.valkey import start_valkey
from orchestrator.ports import EscalationFilter
from orchestrator.store import SqlStore, open_store
from tests.acceptance.conftest import COMMAND, Deployment, end, wait_until
from tests.sweeps import so_many, sweep

MANY = so_many(150, whole=500)


class Shaky:
    """A deployment whose processes are killed without warning, and started again."""

    def __init__(self, deployment: Deployment, stack: ExitStack, database_url: str) -> None:
        self.deployment, self._stack = deployment, stack
        self._state, self._port = deployment.folder / "broker", free_port()
        self._start_broker()
        deployment.env["ORCHESTRATOR_BROKER_URL"] = self._broker.spec.address
        deployment.env["ORCHESTRATOR_LOST_HINT_SECONDS"] = "1"
        self.database_url = deployment.env["ORCHESTRATOR_DATABASE_URL"] = database_url
        self.workers = [self._start("worker", "-n", f"w{n}") for n in range(2)]
        self._stack.callback(lambda: stop_all([self._broker]))

    def _start_broker(self) -> None:
        self._state.mkdir(exist_ok=True)
        self._broker = start_valkey(
            self._state, log_path=self.deployment.folder / "broker.log", port=self._port
        )

    def _start(self, *command: object) -> subprocess.Popen[str]:
        log = self._stack.enter_context((self.deployment.folder / "log.txt").open("a"))
        process = subprocess.Popen(
            [COMMAND, *(str(each) for each in command)], cwd=self.deployment.folder,
            env=self.deployment.env, stdout=log, stderr=log, text=True,
        )  # fmt: skip
        self._stack.callback(end, process, signal.SIGKILL)
        return process

    def kill_a_worker(self, number: int) -> None:
        end(self.workers[number], signal.SIGKILL)
        self.workers[number] = self._start("worker", "-n", f"w{number}")

    def wipe_the_broker(self) -> None:
        """It dies, and everything in it is lost."""
        self._broker.signal(signal.SIGKILL)
        wait_until(lambda: not self._broker.running, "the broker's end")
        shutil.rmtree(self._state)
        self._start_broker()

    def api(self) -> tuple[subprocess.Popen[str], str]:
        port = free_port()
        process = self._start("api", "--port", str(port))
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(f"{url}/health/ready"), "the API")
        assert process.poll() is None, "another server answers there"
        return process, url


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.long),
        pytest.param("postgres", marks=pytest.mark.postgres),
    ]
)
def shaky(request: pytest.FixtureRequest, deployment: Deployment) -> Iterator[Shaky]:
    url = f"sqlite:///{deployment.folder / 'runs.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("migrated_postgres_dsn")
    with ExitStack() as stack:
        yield Shaky(deployment, stack, url)


def ask_for(url: str, wish: dict[str, Any]) -> dict[str, Any]:
    """The job."""
    key = {"idempotency-key": "k"}
    made = httpx.post(f"{url}/v1/escalations:bulk", json=wish, headers=key, timeout=30)
    assert made.status_code == 202, made.text
    job: dict[str, Any] = made.json()
    return job


def escalate_many(shaky: Shaky) -> Path:
    """Runs whose undo is jammed; the folder in which they work."""
    folder = shaky.deployment.notes / "many"
    folder.mkdir()
    (folder / "jammed").touch()
    lines = shaky.deployment.folder / "runs.jsonl"
    line = json.dumps({"inputs": {"folder": str(folder), "verdict": "poor"}})
    lines.write_text(f"{line}\n" * MANY)
    shaky.deployment.ask("workflows", "publish", "config/workflows")
    shaky.deployment.ask("submit", "notes", "--file", lines)
    return folder


async def _until(store: SqlStore, what: str, status: RunStatus, many: int) -> None:
    until = time.monotonic() + 90
    while (counts := await store.count_by_status()).get(status, 0) < many:
        assert time.monotonic() < until, f"waited in vain for {what}: {counts}"
        await asyncio.sleep(0.1)


async def _progress(store: SqlStore, job_id: str, least: int) -> None:
    until = time.monotonic() + 60
    while (job := await store.job(job_id)).done < least:
        assert time.monotonic() < until, f"waited in vain for {least}: {job}"
        await asyncio.sleep(0.005)


@sweep
@pytest.mark.timeout(240)
async def test_each_of_many_is_handled_once_whatever_dies(shaky: Shaky) -> None:
    folder = escalate_many(shaky)
    store = open_store(shaky.database_url)
    await _until(store, "escalations", RunStatus.ESCALATED, MANY)
    (folder / "jammed").unlink()

    wish: dict[str, Any] = {
        "act": "retry", "where": {"workflow": "notes"}, "reason": "the drawer is open again"
    }  # fmt: skip
    process, url = shaky.api()
    made = ask_for(url, wish)
    end(process, signal.SIGKILL)
    job_id = made["id"]
    assert made["total"] == MANY

    await _progress(store, job_id, MANY // 16)
    shaky.kill_a_worker(0)
    await _progress(store, job_id, MANY // 4)
    shaky.wipe_the_broker()
    await _progress(store, job_id, MANY // 2)
    shaky.kill_a_worker(1)
    shaky.kill_a_worker(0)
    await _progress(store, job_id, MANY)

    process, url = shaky.api()
    assert ask_for(url, wish)["id"] == job_id
    await _until(store, "compensated runs", RunStatus.COMPENSATED, MANY)
    wait_until(lambda: httpx.get(f"{url}/v1/jobs/{job_id}").json()["state"] == "done", "the end")
    everything = await store.escalations(EscalationFilter(open_only=False, limit=None))
    assert Counter(each.resolution for each in everything) == {"retried": MANY}
    for each in everything:
        audit = Counter(record.kind for record in await store.audit(each.run_id))
        assert (audit["operator.retried"], audit["run.compensated"]) == (1, 1)
    assert list(folder.iterdir()) == []
    await store.close()
