"""The commands against a deployment that is up: one embedded broker, one worker, SQLite."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client, StdioServerParameters

from orchestrator.embedded.address import answers
from orchestrator.embedded.upstate import read_up_state
from tests.acceptance.conftest import COMMAND, Deployment, end, wait_until


def folder_of(running: Deployment, name: str) -> Path:
    folder = running.notes / name
    folder.mkdir()
    return folder


def submit(running: Deployment, folder: Path, *more: object, wait: bool = True) -> Any:
    options = ("--wait",) if wait else ()
    said = running.run("submit", "notes", "--input", f"folder={folder}", *more, *options, "--json")
    return said.data


def test_a_run_succeeds_and_is_drawn(running: Deployment) -> None:
    folder = folder_of(running, "good")
    view = submit(running, folder)
    assert view["run"]["status"] == "succeeded"
    assert {path.name for path in folder.iterdir()} == {"first", "second", "third"}
    drawn = running.run("runs", "show", view["run"]["id"][-12:], "--attempts", "--audit").out
    for word in ("notes v1", "✔ succeeded", "first", "second", "check", "run.accepted"):
        assert word in drawn


def test_a_refused_run_is_undone_in_reverse(running: Deployment) -> None:
    folder = folder_of(running, "refused")
    view = submit(running, folder, "--input", "verdict=poor")
    assert view["run"]["status"] == "compensated"
    assert list(folder.iterdir()) == []
    assert [link["step_id"] for link in view["backward"]] == ["second", "first"]
    drawn = running.run("runs", "show", view["run"]["id"]).out
    undone = drawn.split("compensations, in this order")[1]
    assert undone.index("second") < undone.index("first")
    assert "the verdict is poor" in drawn


def test_exit_codes_of_waiting(running: Deployment) -> None:
    ask = ("submit", "notes", "--wait", "--input", f"folder={folder_of(running, 'codes')}")
    assert running.run(*ask).code == 0
    assert running.run(*ask, "--input", "verdict=poor").code == 1


def escalate(running: Deployment, name: str) -> tuple[Path, Any]:
    folder = folder_of(running, name)
    (folder / "jammed").touch()
    view = submit(running, folder, "--input", "verdict=poor")
    assert view["run"]["status"] == "escalated"
    (escalation,) = [item for item in view["escalations"] if item["closed_at"] is None]
    return folder, escalation


def settled(running: Deployment, run_id: str) -> Any:
    """The run once it has settled, in one process rather than one for each look."""
    said = running.run("runs", "watch", run_id, "--json", "--every", "0.05", "--seconds", "30")
    return json.loads(said.out.splitlines()[-1])


def dead_letters(running: Deployment) -> int:
    (queue,) = [item for item in running.ask("queues") if item["name"] == "dead_letter"]
    return int(queue["messages"])


def test_an_escalation_is_claimed_and_retried(running: Deployment) -> None:
    folder, escalation = escalate(running, "retried")
    before = dead_letters(running)
    claimed = running.ask("escalations", "claim", escalation["id"], "--by", "ada")
    assert claimed["claimed_by"] == "ada"
    assert dead_letters(running) == before - 1
    running.ask("escalations", "release", escalation["id"], "--by", "ada")
    assert dead_letters(running) == before
    (folder / "jammed").unlink()
    running.ask(
        "escalations", "retry", escalation["id"][-12:], "--reason", "unjammed", "--by", "ada"
    )
    view = settled(running, escalation["run_id"])
    assert view["run"]["status"] == "compensated"
    assert list(folder.iterdir()) == []
    audit = view["audit"]
    (act,) = [record for record in audit if record["kind"] == "operator.retried"]
    assert (act["actor"], act["data"]["reason"]) == ("ada", "unjammed")


def test_resolving_goes_on_with_the_remaining_undos(running: Deployment) -> None:
    folder, escalation = escalate(running, "resolved")
    assert escalation["step_id"] == "second"
    (folder / "second").unlink()
    (folder / "jammed").unlink()
    running.ask("escalations", "resolve", escalation["id"], "--reason", "erased by hand")
    assert settled(running, escalation["run_id"])["run"]["status"] == "compensated"
    assert list(folder.iterdir()) == []


def test_skipping_leaves_the_effect_and_undoes_the_rest(running: Deployment) -> None:
    folder, escalation = escalate(running, "skipped")
    (folder / "jammed").unlink()
    running.ask("escalations", "skip", escalation["id"], "--reason", "the note may stay")
    assert settled(running, escalation["run_id"])["run"]["status"] == "compensated"
    assert [path.name for path in folder.iterdir()] == ["second"]


def test_abandoning_several_at_once(running: Deployment) -> None:
    escalations = [escalate(running, name)[1] for name in ("abandoned-1", "abandoned-2")]
    done = running.ask(
        "escalations", "abandon", *(item["id"] for item in escalations), "--reason", "gone"
    )
    assert set(done.values()) == {"abandoned"}
    again = running.run("escalations", "retry", escalations[0]["id"], "--reason", "x", "--json")
    assert again.code == 5


def test_an_act_needs_a_reason(running: Deployment) -> None:
    _, escalation = escalate(running, "reasons")
    assert running.run("escalations", "skip", escalation["id"]).code == 2
    assert running.run("escalations", "skip", escalation["id"], "--reason", " ").code == 3
    running.ask("escalations", "abandon", escalation["id"], "--reason", "done with it")


def test_the_next_escalation_is_the_oldest(running: Deployment) -> None:
    first = escalate(running, "next-1")[1]
    second = escalate(running, "next-2")[1]
    listed = [item["id"] for item in running.ask("escalations", "list")]
    assert listed.index(first["id"]) < listed.index(second["id"])
    claimed = running.ask("escalations", "claim", "--next")
    assert claimed["id"] == listed[0]
    drawn = running.run("escalations", "show", second["id"][-12:]).out
    assert "the drawer is jammed" in drawn
    assert f"escalations resolve {second['id'][-12:]} --reason" in drawn
    for item in (first, second):
        running.ask("escalations", "abandon", item["id"], "--reason", "end of test")


def test_a_held_run_is_cancelled_and_undone(running: Deployment) -> None:
    folder = folder_of(running, "cancelled")
    (folder / "hold").touch()
    run_id = submit(running, folder, wait=False)["run_id"]
    wait_until((folder / "second").exists, "the second note")
    running.ask("runs", "cancel", run_id, "--reason", "changed my mind")
    (folder / "hold").unlink()
    assert settled(running, run_id)["run"]["status"] == "compensated"
    assert list(folder.iterdir()) == []


def test_a_file_of_runs_can_be_submitted_twice(running: Deployment, tmp_path: Path) -> None:
    folder = folder_of(running, "many")
    file = tmp_path / "runs.jsonl"
    line = json.dumps({"inputs": {"folder": str(folder)}})
    file.write_text("\n".join([line] * 1200) + "\n")
    assert running.ask("submit", "notes", "--file", file) == {"accepted": 1200, "repeated": 0}
    assert running.ask("submit", "notes", "--file", file) == {"accepted": 0, "repeated": 1200}
    progress = running.run("submit", "notes", "--file", file)
    assert "1,200 had been accepted before" in progress.out
    unsettled = ("runs", "list", "--status", "pending", "--status", "running")
    wait_until(lambda: not running.ask(*unsettled), "all runs", seconds=60)


def test_watching_one_run_ends_with_it(running: Deployment) -> None:
    folder = folder_of(running, "watched")
    (folder / "hold").touch()
    run_id = submit(running, folder, wait=False)["run_id"]
    watch = running.start("runs", "watch", run_id, "--json", "--every", "0.05")
    assert watch.stdout is not None
    first = json.loads(watch.stdout.readline())
    (folder / "hold").unlink()
    rest, _ = watch.communicate(timeout=30)
    assert first["run"]["status"] != "succeeded"
    assert json.loads(rest.splitlines()[-1])["run"]["status"] == "succeeded"
    assert watch.returncode == 0


def test_watching_all(running: Deployment) -> None:
    said = running.run("runs", "watch", "--seconds", "0.5", "--json")
    assert "succeeded" in json.loads(said.out.splitlines()[0])
    assert "runs/s" in running.run("runs", "watch", "--seconds", "0.5").out


def test_workflows_are_versioned_by_content(running: Deployment) -> None:
    again = running.ask("workflows", "publish", "config/workflows")
    assert [each["is_new"] for each in again] == [False] * len(again)
    assert running.ask("workflows", "show", "notes")["version"] == 1
    assert "first.undo (reverse)" in running.run("workflows", "show", "notes").out
    assert "arazzo" in running.run("workflows", "show", "notes", "--document").out


def test_the_doctor_finds_everything_well(running: Deployment) -> None:
    checks = {check["name"]: check for check in running.ask("doctor")}
    assert checks["broker eviction"]["verdict"] == "good"
    assert checks["broker persistence"]["verdict"] == "good"
    assert checks["database"]["verdict"] == "good"
    assert "what to do" in running.run("doctor").out
    deep = running.ask("doctor", "--deep", "--runs", "20")["deep"]
    assert deep["found"] == []  # of whatever runs there are by now


@pytest.mark.postgres
def test_the_doctor_keeps_the_password_to_itself(deployment: Deployment, postgres_dsn: str) -> None:
    head, _, tail = postgres_dsn.partition("://postgres:@")
    deployment.env["ORCHESTRATOR_DATABASE_URL"] = f"{head}://postgres:s3cret@{tail}"
    said = deployment.run("doctor", "--json")
    checks = {check["name"]: check for check in said.data}
    assert checks["database"]["verdict"] == "good"
    assert "s3cret" not in said.out + said.err


def test_queues_show_both_sides(running: Deployment) -> None:
    names = {queue["name"] for queue in running.ask("queues")}
    assert {"default.forward", "default.compensation", "dead_letter"} <= names


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM]
)
def test_one_signal_ends_everything(
    deployment: Deployment,
    number: signal.Signals,
    first_object: Callable[[subprocess.Popen[str]], Any],
) -> None:
    up = deployment.start("up", "--workers", "2", "--json")
    facts = first_object(up)
    state = read_up_state(deployment.folder / ".orchestrator")
    assert state is not None
    pids = list(state.pids.values())
    try:
        assert len(pids) == 4
        assert answers(int(facts["flower"].rpartition(":")[2]))
        wait_until(lambda: deployment.run("doctor", "--json").code == 0, "workers")
    finally:
        end(up, number)
    assert up.returncode == 0
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert read_up_state(deployment.folder / ".orchestrator") is None


def test_a_worker_alone_serves_what_is_queued(deployment: Deployment, valkey_url: str) -> None:
    deployment.env["ORCHESTRATOR_BROKER_URL"] = valkey_url
    deployment.ask("workflows", "publish", "config/workflows")
    run_id = submit(deployment, deployment.notes, wait=False)["run_id"]
    assert deployment.ask("runs", "show", run_id)["run"]["status"] == "pending"
    worker = deployment.start("worker", "--name", "alone")
    try:
        assert settled(deployment, run_id)["run"]["status"] == "succeeded"
    finally:
        _, err = end(worker, signal.SIGTERM)
    assert worker.returncode == 0
    lines = [line for line in err.splitlines() if line.strip()]
    assert all(line.startswith("{") for line in lines if line[0] in "{["), "logs are JSON"


def test_an_agent_finds_and_runs_a_workflow_over_stdio(running: Deployment) -> None:
    """The SDK's own client starts the command, as agents' programs do."""
    folder = folder_of(running, "agent")
    command = StdioServerParameters(
        command=COMMAND, args=["mcp", "--actor", "agent-7", "--tenant", "acme"], env=running.env,
        cwd=running.folder,
    )  # fmt: skip

    far: list[tuple[float, float | None]] = []

    async def heard(done: float, total: float | None, message: str | None) -> None:
        far.append((done, total))

    async def converse() -> tuple[Any, ...]:
        async with Client(command) as client:
            found = await client.call_tool("search", {"question": "take some notes"})
            wish = {"workflow": "notes", "inputs": {"folder": str(folder)}, "idempotency_key": "n1"}
            done = await client.call_tool(
                "execute", {**wish, "wait_seconds": 30}, progress_callback=heard
            )
            poor = {**wish, "inputs": {"folder": str(folder), "verdict": "poor"}}
            undone = await client.call_tool(
                "execute", {**poor, "idempotency_key": "n2", "wait_seconds": 30}
            )
            wish = {"workflow": "permission", "inputs": {"folder": str(folder)}}
            asks = await client.call_tool("execute", {**wish, "idempotency_key": "p1"})
            asking = asks.structured_content or {}
            ends = {"run": asking["run"], "reason": "not wanted any more", "wait_seconds": 30}
            ended = await client.call_tool("cancel", ends)
            told = (found, done, undone, ended)
            return tuple(each.structured_content for each in told)

    found, done, undone, ended = asyncio.run(converse())
    assert ended["status"] == "compensated"
    assert found["result"][0]["inputs"] == ["folder", "verdict?"]
    assert (done["status"], done["meaning"]) == ("succeeded", "Done.")
    assert far == sorted(far)
    assert far[-1][0] == far[-1][1]
    assert undone["status"] == "compensated"
    assert "the verdict is poor" in undone["meaning"]
    run = running.ask("runs", "show", done["run"])["run"]
    assert (run["actor"], run["tenant"]) == ("agent-7", "acme")


def test_a_run_waits_for_a_signal_and_for_a_person(running: Deployment) -> None:
    folder = folder_of(running, "permitted")
    run_id = running.ask("submit", "permission", "--input", f"folder={folder}")["run_id"]
    running.ask("runs", "signal", run_id, "asked", "--data", '{"name": "n"}')
    wait_until((folder / "n").exists, "the note")
    asked: list[Any] = []
    wait_until(lambda: bool(asked.extend(running.ask("approvals", "list")) or asked), "a question")
    act = ("approvals", "reject", asked[0]["id"][-12:], "--reason", "no", "--by", "ada")
    assert (asked[0]["asked"]["message"], running.ask(*act)["closed_by"]) == ("Keep n?", "ada")
    wait_until(lambda: not (folder / "n").exists(), "its undo")
    late = running.run(*act)
    assert (late.code, "rejected by ada (via cli)" in late.err) == (5, True)
