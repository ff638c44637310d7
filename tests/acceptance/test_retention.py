"""`orchestrator retention`, without a broker: old finished runs go, the others stay."""

from __future__ import annotations

import sqlite3

import pytest

from tests.acceptance.conftest import Deployment


def submitted(deployment: Deployment) -> str:
    asked = deployment.ask("submit", "notes", "--input", f"folder={deployment.notes}")
    run_id: str = asked["run_id"]
    return run_id


def ended_long_ago(deployment: Deployment, run_id: str) -> None:
    with sqlite3.connect(deployment.folder / ".orchestrator" / "orchestrator.db") as link:
        link.execute(
            "UPDATE runs SET status = 'succeeded', published_at = NULL,"
            " settled_at = created_at - 3600000000 WHERE id = ?",
            (run_id,),
        )


def test_what_is_old_goes_and_is_counted(deployment: Deployment) -> None:
    deployment.ask("workflows", "publish", "config/workflows")
    old, young = submitted(deployment), submitted(deployment)
    ended_long_ago(deployment, old)
    for more, code in (("--older-than=2h", 0), ("--older-than=30m", 3)):
        assert deployment.run("retention", "run", more, "--json").code == code
    asked = deployment.ask("retention", "run", "--older-than", "0.0001h", "--dry-run")
    assert (asked["dry_run"], asked["runs"]) == (True, 1)
    assert {run["id"] for run in deployment.ask("runs", "list")} == {old, young}
    said = deployment.run("retention", "run", "--older-than", "0.0001h")
    assert said.code == 0
    assert "1 runs" in said.out
    assert "runs.retired" in said.err
    assert [run["id"] for run in deployment.ask("runs", "list")] == [young]


@pytest.mark.parametrize("given", ["", "soon", "3", "-1d"])
def test_it_must_be_said_what_is_old(deployment: Deployment, given: str) -> None:
    said = deployment.run("retention", "run", f"--older-than={given}", "--json")
    assert said.code == 3
    assert "90d" in said.out


def test_the_setting_says_it(deployment: Deployment) -> None:
    deployment.env["ORCHESTRATOR_RETENTION_DAYS"] = "30"
    assert deployment.ask("retention", "run", "--dry-run")["older_than_days"] == 30
