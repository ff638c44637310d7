"""What people do from elsewhere: commands that ask the REST face instead of a database."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import uvicorn
from typer.testing import CliRunner

from orchestrator.cli import apis, approvals, audit, escalations, jobs, output, proposals, runs
from orchestrator.cli.insights import insights
from orchestrator.cli.slo import slo
from orchestrator.cli.submit import submit
from orchestrator.core.exchange import Outcome
from orchestrator.core.plan_json import with_digest
from orchestrator.core.states import RunStatus
from orchestrator.core.windows import Window
from orchestrator.errors import Conflict, InvalidInput, NotAllowed, NotFound
from orchestrator.ports import Role
from orchestrator.ports.api_windows import ApiWindow
from orchestrator.ports.auditing import ERASED_INPUTS
from orchestrator.service import erasing
from orchestrator.store import auditing
from tests.integration.api.conftest import INPUTS, WORKFLOW, Face

Command = Callable[..., Any]
WHY = ("--reason", "the shop is closed")


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The console was made when it was imported, as wide as whatever these tests run in."""
    monkeypatch.setattr(output.stdout, "width", 200)


@pytest.fixture
async def address(face: Face) -> AsyncIterator[str]:
    """Where it listens, for clients that wait."""
    listening = socket.create_server(("127.0.0.1", 0))  # who comes early waits in its line
    server = uvicorn.Server(uvicorn.Config(face.app, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    await serving


def commands(address: str, key: str) -> Command:
    """Runs a command as whoever has the key; raises what it raises, else its answer."""

    async def run(app: typer.Typer, *given: str, drawn: bool = False) -> Any:
        env = {"ORCHESTRATOR_URL": address, "ORCHESTRATOR_KEY": key}
        words = [*given] if drawn else [*given, "--json"]
        done = await asyncio.to_thread(CliRunner().invoke, app, words, env=env)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout if drawn else json.loads(done.stdout)

    return run


async def test_the_story_of_a_run(face: Face, address: str) -> None:
    _, run_id = await face.stuck()
    viewer = commands(address, await face.key(Role.VIEWER))
    told = await viewer(audit.app, "explain", run_id[-8:])
    assert (told["run"], len(told["story"])) == (run_id, 2)
    assert "stopped for a person to decide" in await viewer(
        audit.app, "explain", run_id, drawn=True
    )


async def test_what_was_done_twice(face: Face, address: str) -> None:
    for tenant in ("acme", "acme", "zeta"):
        await face.accepted(tenant=tenant, attributes=(("customer", "42"),))
    viewer = commands(address, await face.key(Role.VIEWER, tenant="acme"))
    told = await viewer(audit.app, "explain", "--attribute", "customer=42")
    assert ({each["tenant"] for each in told["stories"]}, told["more"]) == ({"acme"}, False)
    assert len(told["stories"]) == 2
    drawn = await viewer(audit.app, "explain", "--attribute", "customer=42", drawn=True)
    assert "nothing was done more than once" in drawn
    with pytest.raises(NotAllowed):
        await viewer(audit.app, "explain", "--attribute", "customer=42", "--tenant", "zeta")


async def test_an_export_goes_on_where_the_last_one_ended(
    face: Face, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "SETTLING", timedelta(seconds=-10))
    viewer = commands(address, await face.key(Role.VIEWER))
    ours = commands(address, await face.key(Role.VIEWER, tenant="acme"))
    cursor = tmp_path / "cursor"

    async def exported(op: Command, *more: str) -> list[Any]:
        text = await op(audit.app, "export", *more, drawn=True)
        return [json.loads(line) for line in text.split("\n") if line]

    run_id = await face.accepted(tenant="acme", inputs={"said": "one line\u2028to JSON"})
    await face.services.checkpoints.make()
    (first,) = await exported(viewer, "--cursor", str(cursor))
    assert (first["run"], first["kind"], cursor.read_text()) == (run_id, "run.accepted", "1\n")
    await face.stuck(tenant="zeta")
    await face.services.checkpoints.make()
    rest = await exported(viewer, "--cursor", str(cursor), "--format", "cloudevents")
    assert ({each["tenant"] for each in rest}, cursor.read_text()) == ({"zeta"}, "2\n")
    assert await exported(viewer, "--cursor", str(cursor)) == []
    assert {each["tenant"] for each in await exported(ours)} == {"acme"}
    assert await exported(viewer, "--until", "1") == [first]
    with pytest.raises(InvalidInput, match="no such checkpoint"):
        await exported(viewer, "--since", "9")


async def test_payloads_are_erased(
    face: Face, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "MOST_ERASED", 2)
    runs_of: dict[str, list[str]] = {"acme": [], "zeta": []}
    for tenant in ("acme", "zeta", "acme", "acme"):
        run_id = await face.accepted(tenant=tenant, attributes=(("customer", "42"),))
        taken = await face.claimed(run_id)
        await face.write(taken, status=RunStatus.COMPENSATED, release=True)
        runs_of[tenant].append(run_id)
    open_run = await face.accepted(tenant="acme", attributes=(("customer", "42"),))
    ours = commands(address, await face.key(Role.ADMIN, tenant="acme"))
    many = ("erase", "--attribute", "customer=42", *WHY, "--yes")
    done = await ours(audit.app, *many)
    assert done["runs"] == runs_of["acme"][::-1], "all of ours, two at a time"
    assert (done["under_way"], done["more"]) == ([open_run], False)
    assert (await face.store.run(runs_of["acme"][0])).inputs == ERASED_INPUTS
    (theirs,) = runs_of["zeta"]
    with pytest.raises(NotFound):
        await ours(audit.app, "erase", theirs, *WHY, "--yes")
    assert (await face.store.run(theirs)).inputs == INPUTS
    everybody = commands(address, await face.key(Role.ADMIN))
    assert "1 runs" in await everybody(audit.app, "erase", theirs[-8:], *WHY, "--yes", drawn=True)
    (erased,) = (await face.store.audit(theirs))[-1:]
    assert (erased.kind, erased.actor, erased.data["reason"]) == ("audit.erased", "ada", WHY[1])


async def test_escalations(face: Face, address: str) -> None:
    known, run_id = await face.stuck(tenant="acme")
    other, _ = await face.stuck()
    op = commands(address, await face.key(Role.ADMIN))
    found = await op(escalations.app, "list", "--where", "tenant=acme and age<1h and detail~answer")
    assert [each["id"] for each in found] == [known]
    assert "in doubt" in await op(escalations.app, "list", drawn=True)
    shown = await op(escalations.app, "show", known[-8:])
    assert (shown["run_id"], shown["choices"] != []) == (run_id, True)
    assert "no answer" in await op(escalations.app, "show", known, drawn=True)
    taken = await op(escalations.app, "claim", "--next")
    assert (taken["id"], taken["claimed_by"]) == (known, "ada")
    assert (await op(escalations.app, "assign", known, "--to", "bob"))["claimed_by"] == "bob"
    assert len(await op(escalations.app, "comment", known, "I called them")) == 1
    assert (await op(escalations.app, "release", known))["claimed_by"] is None
    assert await op(escalations.app, "abandon", other, *WHY) == {other: "abandoned"}
    with pytest.raises(Conflict):
        await op(escalations.app, "abandon", other, *WHY)
    with pytest.raises(InvalidInput, match="name of others"):
        await op(escalations.app, "skip", known, *WHY, "--by", "eve")
    assert await op(escalations.app, "abandon", "--where", "tenant=acme", "--dry-run", *WHY) == {
        "fit": 1
    }
    made = await op(escalations.app, "abandon", "--where", "tenant=acme", "--detach", *WHY)
    assert (made["kind"], made["total"]) == ("escalations.abandon", 1)


async def test_jobs_of_runs(face: Face, address: str) -> None:
    run_id = await face.accepted(tenant="acme")
    op = commands(address, await face.key(Role.ADMIN))
    many = ("--where", "tenant=acme and status=pending and age<1h")
    assert await op(runs.app, "cancel", *many, "--dry-run", *WHY) == {"fit": 1}
    assert [each["id"] for each in await op(runs.app, "list", *many)] == [run_id]
    made = await op(runs.app, "cancel", *many, "--detach", *WHY)
    assert (made["kind"], made["total"]) == ("runs.cancel", 1)
    job = made["id"]
    assert [each["id"] for each in await op(jobs.app, "list")] == [job]
    assert (await op(jobs.app, "pause", job[-8:], *WHY))["state"] == "paused"
    shown = await op(jobs.app, "show", job, "--state", "pending")
    assert [each["item"] for each in shown["items"]] == [run_id]
    assert "the shop is closed" in await op(jobs.app, "show", job, drawn=True)
    assert (await op(jobs.app, "cancel", job, *WHY))["state"] == "cancelled"
    assert (await op(jobs.app, "watch", job))["state"] == "cancelled"


async def test_approvals_and_signals(face: Face, address: str) -> None:
    first, second = [(await face.asking()).id for _ in range(2)]
    op = commands(address, await face.key(Role.ADMIN))
    assert {each["id"] for each in await op(approvals.app, "list")} == {first, second}
    assert (await op(approvals.app, "show", first[-8:]))["message"] == "pay?"
    assert "pay?" in await op(approvals.app, "show", first, drawn=True)
    link = (await op(approvals.app, "link", first, "--for", "cy"))["url"]
    assert link.startswith("http://localhost/")
    said = await op(approvals.app, "approve", first, "--data", '{"limit": 5}')
    assert (said["outcome"], said["closed_by"]) == ("approved", "ada")
    assert said["answer"]["data"] == {"limit": 5}
    assert "rejected" in await op(approvals.app, "reject", second, *WHY, drawn=True)
    with pytest.raises(Conflict):
        await op(approvals.app, "approve", second)
    run_id = await face.accepted()
    sent = ("signal", run_id, "paid", "--key", "k")
    kept = await op(runs.app, *sent, "--data", '{"receipt": 7}')
    assert (kept["name"], kept["answers"], kept["repeated"]) == ("paid", None, False)
    assert "is kept" in await op(runs.app, *sent, "--data", '{"receipt": 7}', drawn=True)


async def test_pauses_and_held_apis(face: Face, address: str) -> None:
    op = commands(address, await face.key(Role.ADMIN))
    run_id = await face.accepted()
    assert (await op(runs.app, "pause", run_id[-8:], *WHY))["run_id"] == run_id
    await op(runs.app, "pause", "--workflow", "payments", "--for", "1h", *WHY)
    await op(runs.app, "pause", "--api", "stripe", *WHY)
    found = await op(runs.app, "pauses")
    assert {(each["run_id"], each["workflow"]) for each in found["pauses"]} == {
        (run_id, "payments"), (None, "payments"),
    }  # fmt: skip
    assert [each["reason"] for each in found["held_apis"]] == [WHY[1]]
    assert "API stripe (held)" in await op(runs.app, "pauses", drawn=True)
    assert (await op(runs.app, "resume", run_id))["ended_by"] == "ada"
    with pytest.raises(NotFound, match="not paused"):
        await op(runs.app, "resume", run_id)
    assert (await op(runs.app, "resume", "--api", "stripe"))["held"] is None


async def test_apis(face: Face, address: str) -> None:
    op = commands(address, await face.key(Role.ADMIN))
    changed = await op(apis.app, "set", "stripe", "rate=50/second", *WHY)
    assert {f["name"]: f["value"] for f in changed["fields"]}["rate"] == "50/second"
    shown = await op(apis.app, "list", drawn=True)
    assert "stripe" in shown
    assert "50/second" in await op(apis.app, "show", "stripe", drawn=True)
    back = await op(apis.app, "reset", "stripe")
    assert not [each for each in back["fields"] if each["change"] is not None]
    touched = await op(apis.app, "impact", "stripe", "--outage", "30m")
    assert (touched["api"], touched["outage_seconds"]) == ("stripe", 1800)
    assert "runs need stripe" in await op(apis.app, "impact", "stripe", drawn=True)
    viewer = commands(address, await face.key(Role.VIEWER))
    with pytest.raises(NotAllowed):
        await viewer(apis.app, "hold", "stripe", *WHY)


async def test_objectives_and_insights(face: Face, address: str) -> None:
    op = commands(address, await face.key(Role.VIEWER))
    app = typer.Typer()
    app.command("slo")(slo)
    app.command("insights")(insights)
    (view,) = (await op(app, "slo", "payments"))["views"]
    assert view["objective"]["kind"] == "compensation"
    assert "compensation" in await op(app, "slo", drawn=True)
    await face.stuck()
    assert (await op(app, "insights", "payments", "--days", "2"))["workflow"] == "payments"
    assert "nothing to say" in await op(app, "insights", "payments", drawn=True)


async def test_health_of_apis(face: Face, address: str) -> None:
    op = commands(address, await face.key(Role.VIEWER))
    assert "no calls" in await op(apis.app, "health", drawn=True)
    window = Window()
    for _ in range(60):
        window.add(status=503, outcome=Outcome.NOT_LANDED, seconds=0.2, waited=1.5)
    now = await face.store.now()
    await face.store.write_api_windows([
        ApiWindow(api="stripe", operation="POST /v1/charges", began=now, worker="w", window=window)
    ])  # fmt: skip
    (found,) = (await op(apis.app, "health", "stripe"))["apis"]
    (operation,) = found["operations"]
    assert operation["now"]["calls"] == 60
    assert operation["now"]["failed_share"] == 1.0
    assert operation["now"]["latency"]["p95"] == pytest.approx(0.2, rel=0.011)
    assert operation["now"]["wait"]["p50"] == pytest.approx(1.5, rel=0.011)
    assert (operation["now"]["statuses"], operation["trend"]) == ({"503": 60}, "unknown")
    assert "POST /v1/charges" in await op(apis.app, "health", drawn=True)


async def test_proposals_and_edits(face: Face, address: str) -> None:
    plan = with_digest(replace(face.version.plan, four_eyes={"hours": 1}))
    version, _ = await face.store.publish(plan, document="d", by="root")
    known, run_id = await face.stuck(workflow_id=version.id, version=version.version)
    ada, bob = [commands(address, await face.key(Role.ADMIN, name=name)) for name in ("ada", "bob")]
    proposed = (await ada(escalations.app, "abandon", known, *WHY))[known]
    proposal = proposed.removeprefix("proposed: ")
    assert proposal != proposed
    assert [each["id"] for each in await bob(proposals.app, "list", "--run", run_id)] == [proposal]
    assert WHY[1] in await bob(proposals.app, "show", proposal[-8:], drawn=True)
    with pytest.raises(Conflict):
        await ada(proposals.app, "confirm", proposal)
    done = await bob(proposals.app, "confirm", proposal)
    assert (done["run_status"], done["proposal"]["closed_by"]) == ("abandoned", "bob")
    waiting = await face.accepted()
    step = face.version.plan.steps[1].id
    edit = ("edit", waiting, "--step", step, *WHY)
    with pytest.raises(InvalidInput):
        await ada(runs.app, *edit, "--set", "nothing=1")
    made = await ada(runs.app, *edit, "--set", "amount=90")
    assert (made["subject"], made["subject_id"]) == ("edit", step)
    refused = await bob(proposals.app, "refuse", made["id"], *WHY)
    assert (refused["outcome"], refused["closed_by"]) == ("refused", "bob")


async def test_a_run_is_submitted_within_the_trace_of_its_caller(
    face: Face, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    monkeypatch.setenv("TRACEPARENT", traceparent)
    monkeypatch.setenv("TRACESTATE", "rojo=1")
    app = typer.Typer()
    app.command()(submit)
    wanted = json.dumps(INPUTS)
    made = await commands(address, await face.key(Role.ADMIN))(app, WORKFLOW, "--inputs", wanted)
    run = await face.store.run(made["run_id"])
    assert (run.traceparent, run.tracestate) == (traceparent, "rojo=1")
