"""`orchestrator workflows new-key`, `publish`, `verify` and `sign` on a database of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli.workflows import app
from orchestrator.errors import InvalidSetting

FLOW = """
from orchestrator import Workflow, task

@task(effects="none")
def look(order: str) -> str:
    return order

flow = Workflow("look-at-orders").step(look)
"""
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command; how it ended and what it printed."""
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("ORCHESTRATOR_CONFIG_DIR", str(tmp_path))
    (tmp_path / "signed_flow.py").write_text(FLOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_TASK_MODULES", '["signed_flow"]')

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout

    return run


def verdicts(printed: str) -> list[Any]:
    return [(each["version"], each["doubt"]) for each in json.loads(printed)]


def test_a_key_vouches_until_somebody_changes_the_table(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow, key = tmp_path / "signed_flow.py", tmp_path / "publisher.key"
    run("publish", str(flow), "--by", "ada")
    line = run("new-key", str(key))[1].rsplit(maxsplit=1)[-1]
    monkeypatch.setenv("ORCHESTRATOR_WORKFLOW_KEYS", json.dumps([line]))
    code, printed = run("verify", "--json")
    assert (code, verdicts(printed)) == (1, [(1, "no signature")])
    monkeypatch.setenv("ORCHESTRATOR_WORKFLOW_KEY", f"file:{key}")
    assert run("sign")[0] == 1, "nobody has said that what is unsigned shall be signed"
    assert run("sign", "--unsigned")[0] == 0
    code, printed = run("verify", "--json")
    assert (code, verdicts(printed)) == (0, [(1, "")])
    with sqlite3.connect(tmp_path / "orchestrator.db") as database:
        database.execute("UPDATE workflows SET published_by = 'eve'")
    code, printed = run("verify")
    assert code == 1
    assert "it was changed since" in printed
    assert run("sign", "--unsigned")[0] == 1


def test_a_key_that_nobody_trusts_signs_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = run("new-key", str(tmp_path / "one"))[1].rsplit(maxsplit=1)[-1]
    run("new-key", str(tmp_path / "two"))
    monkeypatch.setenv("ORCHESTRATOR_WORKFLOW_KEYS", json.dumps([line]))
    monkeypatch.setenv("ORCHESTRATOR_WORKFLOW_KEY", f"file:{tmp_path / 'two'}")
    with pytest.raises(InvalidSetting, match="nothing that it signs is run"):
        run("verify")
    monkeypatch.setenv("ORCHESTRATOR_WORKFLOW_KEYS", '["no key"]')
    with pytest.raises(InvalidSetting, match=r"workflow_keys\.0"):
        run("verify")
