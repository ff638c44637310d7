"""`orchestrator agents …` on a database of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli.agents import app

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command; its answer as JSON, or what it printed."""
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("ORCHESTRATOR_CONFIG_DIR", str(tmp_path))

    def run(*arguments: str, as_json: bool = True) -> Any:
        done = CliRunner().invoke(app, [*arguments, *(["--json"] if as_json else [])])
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout) if as_json else done.stdout

    return run


def test_a_policy_is_set_shown_stopped_allowed_and_removed(run: Run) -> None:
    limits = ("--rate", "10/minute", "--budget", "5 runs/day", "--budget", "9.5 EUR/month")
    made = run("set", "bot", "--allow", "order*", *limits, "--reason", "new", "--by", "ada")
    assert made["policy"] == {
        "allow": ["order*"], "rates": ["10/minute"], "budgets": ["5 runs/day", "9.5 EUR/month"],
    }  # fmt: skip
    shown = run("show", "bot")
    assert [(each["budget"], each["left"]) for each in shown["left"]] == [
        ("5 runs/day", "5"), ("9.5 EUR/month", "9.5"),
    ]  # fmt: skip
    stopped = run("stop", "bot", "--reason", "mad", "--by", "ada")
    assert (stopped["stopped"]["by"], stopped["stopped"]["reason"]) == ("ada", "mad")
    assert "stopped by ada" in run("list", as_json=False)
    assert run("allow", "bot", "--reason", "mended")["stopped"] is None
    run("remove", "bot", "--reason", "over")
    assert run("list") == []
    kinds = [(each["version"], each["kind"]) for each in run("history", "bot")]
    assert kinds == [(4, "remove"), (3, "allow"), (2, "stop"), (1, "set")]
    assert "mended" in run("history", "bot", as_json=False)


def test_a_file_sets_what_differs(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text('agents:\n  bot: {budgets: [5 runs/day]}\n  "*": {deny: [refund]}\n')
    assert [each["agent"] for each in run("apply", str(file))] == ["bot", "*"]
    assert run("apply", str(file)) == []
    file.write_text('agents:\n  bot: {budgets: [6 runs/day]}\n  "*": {deny: [refund]}\n')
    assert [each["agent"] for each in run("apply", str(file))] == ["bot"]
    assert "6 left until" not in run("show", "*", as_json=False)
    assert "6 runs/day: 6 left until" in run("show", "bot", as_json=False)
