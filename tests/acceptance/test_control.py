"""`orchestrator runs pause | resume | pauses`, as people and scripts use it."""

from __future__ import annotations

import json

from tests.acceptance.conftest import Deployment


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
