"""From API documents to a workflow that undoes itself: discover, look, accept, publish."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import workflows
from orchestrator.errors import InvalidDefinition, NotFound
from tests.unit.discovery.test_writing import API, TEXT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "api.json").write_text(json.dumps(API))
    (tmp_path / "things.arazzo.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_DATABASE_URL", f"sqlite:///{tmp_path / 'runs.db'}")
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(workflows.app, [*arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("folder")
def test_from_api_documents_to_a_published_workflow() -> None:
    found = json.loads(run("discover", "api.json", "--json"))
    assert {each["operation_id"]: each["kind"] for each in found} == {
        "createThing": "delete-created", "updateThing": "restore-previous",
        "deleteThing": "none-follow-up", "sendMail": "none-follow-up",
        "searchThings": "none-needed",
    }  # fmt: skip
    shown = run("discover", "--workflow", "things.arazzo.yaml")
    assert "+      x-compensation:" in shown
    assert Path("things.arazzo.yaml").read_text() == TEXT
    run("discover", "--workflow", "things.arazzo.yaml", "--write")
    with pytest.raises(InvalidDefinition, match="accepted by nobody"):
        run("publish", "things.arazzo.yaml")

    with pytest.raises(NotFound, match=r"things\.make, things\.change, things\.look"):
        run("accept", "things.arazzo.yaml", "mail")
    run("accept", "things.arazzo.yaml", "make", "--by", "ada", "--reason", "tried")
    run("accept", "things.arazzo.yaml")
    run("publish", "things.arazzo.yaml")
    with pytest.raises(NotFound):
        run("accept", "things.arazzo.yaml")
    noted = json.loads(run("acceptances", "things", "--json"))
    assert [each["step"] for each in noted] == ["look", "change", "make"]
    assert (noted[-1]["by"], noted[-1]["reason"]) == ("ada", "tried")
    assert noted[-1]["compensation"]["operationId"] == "deleteThing"
