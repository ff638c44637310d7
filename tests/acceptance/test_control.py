"""`orchestrator runs pause | resume | pauses`, as people and scripts use it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.acceptance.conftest import Deployment, wait_until


def test_pause_look_and_resume(deployment: Deployment) -> None:
    made = deployment.ask(
        "runs", "pause", "--tenant", "acme", "--for", "2h", "--reason", "it [burns]", "--by", "ada"
    )
    assert (made["tenant"], made["by"], made["also_undoing"]) == ("acme", "ada", False)
    assert made["until"] is not None
    again = deployment.run("runs", "pause", "--tenant", "acme", "--reason", "me too")
    assert again.code == 5
    assert "paused by ada since" in again.err
    shown = deployment.run("runs", "pauses").out
    assert "tenant acme" in shown
    assert "[burns]" in shown
    checks = {each["name"]: each for each in json.loads(deployment.run("doctor", "--json").out)}
    assert "by ada: it [burns]" in checks["pause of tenant acme"]["found"]
    unclear = deployment.run("runs", "pause", "--all", "--tenant", "acme", "--reason", "x")
    assert unclear.code == 3
    assert "either a run, or --workflow" in unclear.err
    ended = deployment.ask("runs", "resume", "--tenant", "acme", "--by", "bob")
    assert ended["ended_by"] == "bob"
    assert "nothing is paused" in deployment.run("runs", "pauses").out


@pytest.mark.broker
def test_a_worker_heeds_a_pause_and_works_on_a_job(running: Deployment) -> None:
    """A call that is under way ends; nothing begins under the pause, and all goes on after it."""
    folders = [running.notes / f"paused-{number}" for number in range(3)]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "hold").touch()
    under_way = _submitted(running, folders[0])
    wait_until((folders[0] / "second").exists, "its call to be under way")
    running.ask("runs", "pause", "--workflow", "notes", "--reason", "to see")
    late = [_submitted(running, folder) for folder in folders[1:]]
    wait_until(lambda: _statuses(running, late) == {"paused"}, "the worker to refuse them")
    (folders[0] / "hold").unlink()
    wait_until(lambda: _statuses(running, [under_way]) == {"paused"}, "its driver to stop")
    written = sorted(path.name for folder in folders for path in folder.iterdir())
    assert written == ["first", "second"]

    job = ("runs", "cancel", "--where", "status=paused and workflow=notes", "--yes")
    told = running.ask(*job, "--reason", "not wanted any more")
    assert (told["state"], told["total"], told["done"], told["refused"]) == ("done", 3, 3, 0)
    running.ask("runs", "resume", "--workflow", "notes")
    every = [under_way, *late]
    wait_until(lambda: _statuses(running, every) == {"compensated"}, "all to be taken back")
    assert [path for folder in folders for path in folder.iterdir()] == []
    for run_id in every:
        kinds = [each["kind"] for each in running.ask("runs", "show", run_id)["audit"]]
        told = [kinds.index(name) for name in ("run.paused", "run.cancel_requested")]
        assert told == sorted(told)
        assert kinds[-1] == "run.compensated"


def _submitted(running: Deployment, folder: Path) -> str:
    return str(running.ask("submit", "notes", "--input", f"folder={folder}")["run_id"])


def _statuses(running: Deployment, run_ids: Sequence[str]) -> set[str]:
    return {running.ask("runs", "show", run_id)["run"]["status"] for run_id in run_ids}
