"""With each step a message of its own, Flower's tasks are the saga: one for each link, in order."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator.ports import RunFilter
from orchestrator.settings import load_settings
from orchestrator.telemetry.plain import plain
from orchestrator.wiring_services import open_services
from tests.integration.demo.running import ZEROS, running_demo
from tests.integration.flower.deployment import Deployment, eventually
from tests.integration.flower.watcher import Flower, assert_same_chain, chain_in_flower

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow, pytest.mark.broker]

RUNS = 100


@pytest.mark.long
async def test_of_every_run_of_the_demo(tmp_path: Path) -> None:
    """Succeeded, compensated, escalated, and gone on by an operator's act."""
    with running_demo(tmp_path, "--runs", str(RUNS), "--max-inline-steps", "0", "--keep") as demo:
        totals = first_object(demo.process)
        assert totals["runs"] == RUNS
        assert {name: totals[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0)
        up = demo.up()
        flower = Flower(up["flower_url"])
        settings = load_settings(state_dir=tmp_path, broker_url=up["broker_url"])
        async with open_services(settings) as services:
            runs = await services.runs.list(RunFilter(limit=RUNS))
            views = [plain(await services.runs.show(run.id)) for run in runs]
        assert {"succeeded", "compensated", "escalated"} <= {str(run.status) for run in runs}
        tasks = eventually(lambda: all_ended(flower), what="the last events")
        for view in views:
            assert_same_chain(tasks, view)


def first_object(process: subprocess.Popen[str]) -> Any:
    """The JSON object that the demo prints before it stays up."""
    assert process.stdout is not None
    lines = ""
    for line in process.stdout:
        lines += line
        if line.rstrip() == "}":
            return json.loads(lines)
    raise AssertionError(f"ended early: {lines}")


def all_ended(flower: Flower) -> dict[str, dict[str, Any]] | None:
    tasks = flower.tasks()
    going = [task for task in tasks.values() if task["state"] in {"RECEIVED", "STARTED"}]
    return None if going or not tasks else tasks


class Journeys:
    """Runs of the journey, each with a folder that decides what becomes of it."""

    def __init__(self, here: Deployment) -> None:
        self._here = here

    def folder(self, run: str, *what: str) -> Path:
        folder = self._here.folder / "journeys" / run
        folder.mkdir(parents=True, exist_ok=True)
        for name in what:
            (folder / name).touch()
        return folder

    def submit(self, run: str, *what: str) -> str:
        folder = self.folder(run, *what)
        answer = self._here.ask("submit", "journey", "--input", f"folder={folder}")
        return str(answer["run_id"])

    def assert_same(self, flower: Flower, run_id: str) -> list[tuple[str, str]]:
        """The chain in Flower, once it is the table's."""
        view = self._here.ask("runs", "show", run_id)

        def look() -> bool:
            try:
                assert_same_chain(flower.tasks(), view)
            except AssertionError:
                return False
            return True

        try:
            eventually(look, what="the same chain", seconds=5)
        except AssertionError:
            assert_same_chain(flower.tasks(), view)
        return chain_in_flower(flower.tasks(), run_id)


FORWARD = [f"journey.{name}" for name in ("pack", "book", "look", "travel")]


def test_over_waits_a_dead_worker_a_purge_and_an_escalation(here: Deployment) -> None:
    """A wake-up that is given again is the same task, so that nothing is broken or doubled."""
    flower, journeys = here.flower(), Journeys(here)
    worker = here.worker("w1")
    eventually(lambda: flower.get("/api/workers?refresh=1"), what="Flower to see the worker")

    waits = journeys.submit("waits", "waits-pack", "waits-travel")
    assert here.settled(waits) == "succeeded"
    chain = journeys.assert_same(flower, waits)
    assert chain == [(name, "SUCCESS") for name in FORWARD]

    dies = journeys.submit("dies", "kills-book", "waits-look", "fails-travel")
    worker.wait(30)
    assert worker.returncode == -signal.SIGKILL
    here.worker("w2")
    assert here.settled(dies) == "compensated"
    chain = journeys.assert_same(flower, dies)
    assert chain[:3] == [(name, "SUCCESS") for name in FORWARD[:3]]
    assert [state for _, state in chain[3:]] == ["FAILURE", "SUCCESS", "SUCCESS"]

    stuck = journeys.submit("stuck", "fails-look", "fails-unpack", "waits-unbook")
    assert here.settled(stuck) == "escalated"
    assert journeys.assert_same(flower, stuck)[-1] == ("journey.pack.undo", "FAILURE")
    (journeys.folder("stuck") / "fails-unpack").unlink()
    (letter,) = here.ask("escalations", "list")
    here.ask("escalations", "retry", letter["id"], "--reason", "it goes now")
    assert here.settled(stuck) == "compensated"
    assert journeys.assert_same(flower, stuck)[-1] == ("journey.pack.undo", "SUCCESS")


def test_over_lost_and_doubled_messages_and_a_cancel(here: Deployment) -> None:
    """Lost wake-ups are given again; a step that a cancel overtook is shown as revoked."""
    flower, journeys = here.flower(), Journeys(here)
    lost = [journeys.submit(f"lost-{n}") for n in range(3)]
    here.celery("purge", "-f")
    doubled = [journeys.submit(f"doubled-{n}") for n in range(2)]
    with redis.Redis.from_url(here.broker_url) as broker:
        messages = broker.lrange("default.forward", 0, -1)
        assert broker.lpush("default.forward", *messages, *messages) == 6
    here.worker("w1")
    for run_id in (*lost, *doubled):
        assert here.settled(run_id) == "succeeded"
        journeys.assert_same(flower, run_id)
    assert flower.depths()["default.forward"] == 0

    cancelled = journeys.submit("cancelled", "hold")
    sql = "SELECT 1 FROM run_steps WHERE run_id = ? AND status = 'started'"
    eventually(lambda: here.rows(sql, cancelled), what="its first step to begin")
    here.ask("runs", "cancel", cancelled, "--reason", "no more")
    (journeys.folder("cancelled") / "hold").unlink()
    assert here.settled(cancelled) == "compensated"
    chain = journeys.assert_same(flower, cancelled)
    assert chain == [
        ("journey.pack", "SUCCESS"),
        ("journey.book", "REVOKED"),  # begun, and withdrawn before it was called
        ("journey.pack.undo", "SUCCESS"),
    ]
