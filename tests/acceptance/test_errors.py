"""Bad input and missing servers: a clear error with its own exit code, never a traceback."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.acceptance.conftest import Deployment, Said


def refusal(said: Said, *, kind: str, code: int) -> str:
    """Check the exit code and kind; the whole error as text."""
    assert said.code == code, said
    assert said.data["error"]["kind"] == kind
    return said.out


def test_without_a_broker_the_table_still_answers(deployment: Deployment) -> None:
    text = refusal(deployment.run("queues", "--json"), kind="Unavailable", code=6)
    assert "orchestrator up" in text
    assert deployment.ask("workflows", "validate", "config/workflows")
    deployment.ask("workflows", "publish", "config/workflows")
    run_id = deployment.ask("submit", "notes", "--input", f"folder={deployment.notes}")["run_id"]
    assert [run["id"] for run in deployment.ask("runs", "list")] == [run_id]
    assert deployment.run("doctor", "--json").code == 1


def test_the_broker_is_not_reachable(deployment: Deployment) -> None:
    with socket.socket() as taken:  # bound and not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        address = f"redis://:s3cret@127.0.0.1:{taken.getsockname()[1]}/0"
        deployment.env["ORCHESTRATOR_BROKER_URL"] = address
        said = deployment.run("queues", "--json")
    text = refusal(said, kind="Unavailable", code=6)
    assert "broker" in text
    assert "s3cret" not in text + said.err


def test_the_database_is_not_reachable(deployment: Deployment) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        deployment.env["ORCHESTRATOR_DATABASE_URL"] = (
            f"postgresql+psycopg://me:s3cret@127.0.0.1:{port}/none"
        )
        said = deployment.run("runs", "list", "--json")
    text = refusal(said, kind="Unavailable", code=6)
    assert "database" in text
    assert "s3cret" not in text + said.err


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("ORCHESTRATOR_CONCURRENCY", "many", "concurrency"),
        ("ORCHESTRATOR_MAX_INLINE_STEPS", "-1", "max_inline_steps"),
        ("ORCHESTRATOR_DATABASE_URL", "mysql://nowhere", "database_url"),
    ],
)
def test_a_bad_setting_is_named(deployment: Deployment, name: str, value: str, place: str) -> None:
    deployment.env[name] = value
    text = refusal(deployment.run("runs", "list", "--json"), kind="InvalidSetting", code=3)
    assert place in text


def test_an_unknown_setting_in_the_file_is_named(deployment: Deployment) -> None:
    (deployment.folder / "config/settings.yaml").write_text("concurency: 5\n")
    text = refusal(deployment.run("runs", "list", "--json"), kind="InvalidSetting", code=3)
    assert "concurency" in text


def test_flower_open_to_others_wants_a_password(deployment: Deployment) -> None:
    deployment.env["ORCHESTRATOR_FLOWER_ADDRESS"] = "0.0.0.0"
    text = refusal(deployment.run("up", "--json"), kind="InvalidSetting", code=3)
    assert "FLOWER_BASIC_AUTH" in text
    assert not (deployment.folder / ".orchestrator/up.json").exists()


def test_tasks_that_do_not_import_name_the_line(deployment: Deployment) -> None:
    (deployment.folder / "tasks/notes.py").write_text("import json\nimport no_such_module\n")
    process = deployment.start("worker")
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "notes.py" in out + err
    assert "line 2" in out + err or "notes.py:2" in out + err


def test_a_workflow_that_does_not_validate_stores_nothing(
    running: Deployment, tmp_path: Path
) -> None:
    text = (running.folder / "config/workflows/notes.arazzo.yaml").read_text()
    bad = tmp_path / "bad.arazzo.yaml"
    bad.write_text(
        text.replace("tasks.erase_note", "tasks.no_such_task").replace(
            "workflowId: notes", "workflowId: bad"
        )
    )
    said = running.run("workflows", "publish", bad, "--json")
    assert "no_such_task" in refusal(said, kind="InvalidDefinition", code=3)
    assert "bad" not in [item["workflow"] for item in running.ask("workflows", "list")]


def test_an_effect_without_compensation_or_reason_is_refused(
    running: Deployment, tmp_path: Path
) -> None:
    text = (running.folder / "config/workflows/notes.arazzo.yaml").read_text()
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if "x-compensation" in line)
    bad = tmp_path / "bad.arazzo.yaml"
    bad.write_text("\n".join(lines[:start] + lines[start + 3 :]))
    said = running.run("workflows", "validate", bad, "--json")
    text = refusal(said, kind="InvalidDefinition", code=3)
    assert "first" in text
    assert "compensation" in text


def test_what_does_not_exist_is_not_found(running: Deployment) -> None:
    for command in (
        ("submit", "no_such_workflow"),
        ("submit", "notes", "--version", 99, "--input", f"folder={running.notes}"),
        ("runs", "show", "ffffffffffff"),
        ("escalations", "show", "ffffffffffff"),
        ("workflows", "show", "no_such_workflow"),
    ):
        refusal(running.run(*command, "--json"), kind="NotFound", code=4)


def test_inputs_that_break_the_schema_name_the_place(running: Deployment) -> None:
    before = len(running.ask("runs", "list"))
    said = running.run("submit", "notes", "--input", "folder=7", "--input", "colour=red", "--json")
    text = refusal(said, kind="InvalidInput", code=3)
    assert "folder" in text
    assert "colour" in text
    assert len(running.ask("runs", "list")) == before


def test_a_bad_line_of_a_file_is_named_and_nothing_is_sent(
    running: Deployment, tmp_path: Path
) -> None:
    before = len(running.ask("runs", "list"))
    file = tmp_path / "runs.jsonl"
    good = {"inputs": {"folder": str(running.notes)}}
    file.write_text(json.dumps(good) + "\nnonsense\n")
    said = running.run("submit", "notes", "--file", file, "--json")
    assert "line 2" in refusal(said, kind="InvalidInput", code=3)
    file.write_text(json.dumps(good) + "\n" + json.dumps({"inputs": {"folder": 7}}) + "\n")
    said = running.run("submit", "notes", "--file", file, "--json")
    assert "line 2" in refusal(said, kind="InvalidInput", code=3)
    assert len(running.ask("runs", "list")) == before


def test_an_input_of_20_megabytes_is_refused_by_size(running: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text(json.dumps({"inputs": {"folder": "x" * 20_000_000}}) + "\n")
    text = refusal(
        running.run("submit", "notes", "--file", file, "--json"), kind="InvalidInput", code=3
    )
    assert "1048576" in text
    assert len(text) < 5_000, "an error does not repeat what it complains about"


def test_one_key_with_other_inputs_is_a_conflict(running: Deployment, tmp_path: Path) -> None:
    ask = ("submit", "notes", "--key", f"key-{os.getpid()}", "--input")
    first = running.ask(*ask, f"folder={running.notes}")
    again = running.ask(*ask, f"folder={running.notes}")
    assert again == {"run_id": first["run_id"], "repeated": True}
    refusal(running.run(*ask, f"folder={tmp_path}", "--json"), kind="Conflict", code=5)


def test_people_see_place_found_and_wanted(running: Deployment) -> None:
    said = running.run("submit", "notes", "--input", "folder=7")
    assert said.code == 3
    assert "folder" in said.err
    assert "found" in said.err
    assert "wanted" in said.err


def test_too_many_waiting_runs_are_refused_with_a_time_to_come_again(
    deployment: Deployment,
) -> None:
    deployment.ask("workflows", "publish", "config/workflows")
    lines = [json.dumps({"inputs": {"folder": str(deployment.notes)}}) for _ in range(3)]
    file = deployment.folder / "runs.jsonl"
    file.write_text("\n".join(lines))
    deployment.env["ORCHESTRATOR_MAX_PENDING_RUNS"] = "2"

    said = deployment.run("submit", "notes", "--file", str(file), "--json")

    text = refusal(said, kind="Overloaded", code=7)
    assert said.data["error"]["retry_after_seconds"] > 0
    assert "max_pending_runs" in text
    assert deployment.ask("runs", "list") == []
    told = deployment.run("submit", "notes", "--file", str(file))
    assert told.code == 7
    assert "0 runs that wait for a worker, and 3 more" in told.err
