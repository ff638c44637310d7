"""A real worker, a real server with faults: they are found, and a change that is accepted helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli.insights import insights
from orchestrator.core.insights import InsightKind
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import RunFilter, RunRecord
from orchestrator.service.submitting import Submission
from orchestrator.wiring_services import Services
from tests.integration.learning.config import WORKFLOWS, write_config
from tests.integration.learning.erring_shop import FINDERS, Shop, opened_shop
from tests.integration.stripe.stack import stack

app = typer.Typer()
app.command("insights")(insights)
app.callback()(lambda: None)
pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

RUNS = {
    "clean": 50, "tight": 24, "vain": 24, "greedy": 30, "loose": FINDERS, "failing": 20,
    "stuck": 20, "lame": 20, "doubtful": 20, "waiting": 50, "narrow": 60, "drifting": 20,
}  # fmt: skip
PLANTED = {
    "tight": {InsightKind.TIMEOUT_TIGHT: "quote"},
    "vain": {InsightKind.RETRIES_IN_VAIN: "claim"},
    "greedy": {InsightKind.LIMIT_HIGH: "meter"},
    "loose": {InsightKind.TIMEOUT_LOOSE: "find"},
    "failing": {InsightKind.STEP_FAILS: "sell"},
    "stuck": {InsightKind.UNDO_FAILS: "hold.undo"},
    "lame": {InsightKind.UNDO_SLOW: "take.undo"},
    "doubtful": {InsightKind.DOUBT_STAYS: "pay"},
    "waiting": {InsightKind.COULD_RUN_BESIDE: "look+listing"},
    "narrow": {InsightKind.LIMIT_LOW: "narrow"},
    "drifting": {
        InsightKind.UNDOCUMENTED_STATUS: "stock",
        InsightKind.ANSWER_DIFFERS: "stock",
    },
}
LAST = (("POST", "note"), ("POST", "send"), ("POST", "count"), ("GET", "stock"))
SETTLE_SECONDS = 90.0


async def live(services: Services, runs: Iterable[tuple[str, int]], wave: str) -> list[RunRecord]:
    """Submit, and wait until all have settled."""
    wanted = [
        Submission(
            workflow=name, idempotency_key=f"{wave}-{name}-{number}", inputs={"n": number}
        )
        for name, number in runs
    ]  # fmt: skip
    await services.submitter.submit(wanted)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = await services.runs.list(RunFilter(limit=1000))
        mine = [run for run in found if run.idempotency_key.startswith(f"{wave}-")]
        open_ones = [run for run in mine if run.status not in SETTLED]
        if len(mine) == len(wanted) and not open_ones:
            return mine
        if time.monotonic() > deadline:
            left = [(run.idempotency_key, run.status, run.cause) for run in open_ones]
            raise AssertionError(left[:10])
        await asyncio.sleep(0.1)


def of(*workflows: str) -> list[tuple[str, int]]:
    return [(name, number) for name in workflows for number in range(RUNS[name])]


def succeeded(runs: Iterable[RunRecord], workflow: str) -> int:
    return sum(run.status is RunStatus.SUCCEEDED for run in runs if run.workflow == workflow)


async def test_planted_defects_are_found_and_a_change_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "config"
    monkeypatch.setenv("ORCHESTRATOR_CONFIG_DIR", str(folder))  # for the commands
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(tmp_path / "state"))
    async with opened_shop() as shop:
        write_config(folder, shop.url)
        documents = [f"{name}.arazzo.yaml" for name in WORKFLOWS]
        async with stack(tmp_path / "state", folder, documents, {}) as services:
            # What has to be quick goes first, and what waits long, beside it.
            first = asyncio.create_task(live(services, of("loose", "tight"), "first"))
            await shop.found_by_all.wait()
            before = await live(services, of(*RUNS.keys() - {"loose", "tight"}), "before")
            before += await first
            await _calls_were_seen(services, shop)
            await _all_are_found(services)
            claims = shop.calls["claim"]
            await _accept_by_hand(folder)
            await _accept(services, folder, "vain", "retries_in_vain/claim")
            await _accept_for_an_api(services, folder)
            await _accept_in_the_apis_own_document(services, folder)
            await _compare(services, shop, before, claims)


async def _all_are_found(services: Services) -> None:
    assert (await services.insights.of("clean")).insights == []
    for workflow, planted in PLANTED.items():
        report = await services.insights.of(workflow)
        found = {each.kind: each for each in report.insights}
        told = [(each.id, each.said) for each in report.insights]
        for kind, about in planted.items():
            assert kind in found, (workflow, told)
            assert found[kind].about == about
            assert found[kind].runs


async def _calls_were_seen(services: Services, shop: Shop) -> None:
    """What the worker has written down of the calls by now; it does so every ten seconds."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = {each.api: each for each in (await services.api_health.of()).apis}
        calls = {
            name.name: name.now.calls for each in found.values() for name in each.operations
        }  # fmt: skip
        if {
            f"{method} /{name}": shop.calls[name] for method, name in LAST
        }.items() <= calls.items():
            break
        assert time.monotonic() < deadline, calls
        await asyncio.sleep(0.2)
    [send] = found["meter"].operations
    assert send.now.statuses == {"200": RUNS["greedy"], "429": RUNS["greedy"] // 3}
    [look] = [one for one in found["shop"].operations if one.name == "GET /look"]
    assert look.now.latency.p50 is not None
    assert look.now.latency.p50 >= 0.6 * 0.98


async def _accept_by_hand(folder: Path) -> None:
    """As an operator does; who says no has changed nothing."""
    file = folder / "workflows" / "tight.arazzo.yaml"
    before = file.read_text()
    command = ["insights", "tight", "--accept", "timeout_tight/quote", "--publish"]

    def operate(answer: str) -> Result:
        return CliRunner().invoke(app, command, input=answer)

    refused = await asyncio.to_thread(operate, "n\n")
    assert (refused.exit_code, file.read_text()) == (1, before)
    assert "-    x-timeout: 2.0" in refused.output
    assert "+    x-timeout: 4" in refused.output
    done = await asyncio.to_thread(operate, "y\n")
    assert done.exit_code == 0, done.output
    assert "version 2 is published" in done.output
    assert file.read_text() == before.replace("x-timeout: 2.0", "x-timeout: 4")


async def _accept(services: Services, folder: Path, workflow: str, insight: str) -> None:
    report = await services.insights.of(workflow)
    [finding] = [each for each in report.insights if each.id == insight]
    with pytest.raises(Conflict):  # somebody else's change was shown
        await services.insights.accept(workflow, insight, by="test", diff=f"{finding.diff} ")
    with pytest.raises(NotFound, match="no such insight"):
        await services.insights.accept(workflow, "timeout_tight/claim", by="test")
    done = await services.insights.accept(
        workflow, insight, by="test", diff=finding.diff, publish=True
    )
    assert (Path(done.written), done.published) == (
        folder / "workflows" / f"{workflow}.arazzo.yaml", 2,
    )  # fmt: skip


async def _accept_in_the_apis_own_document(services: Services, folder: Path) -> None:
    """What the API answers is documented then, and the history says no more of it."""
    report = await services.insights.of("drifting")
    found = {each.kind: each for each in report.insights}
    differs = found[InsightKind.ANSWER_DIFFERS].said
    for told in (
        "/amount: string, documented: integer", "/id: nothing, documented: a required field",
        "/shelf: the field, documented: none",
    ):  # fmt: skip
        assert told in differs
    status = found[InsightKind.UNDOCUMENTED_STATUS]
    done = await services.insights.accept("drifting", status.id, by="test", diff=status.diff)
    assert done.written == str(folder / "workflows" / "shop.yaml")
    left = {each.kind for each in (await services.insights.of("drifting")).insights}
    assert InsightKind.UNDOCUMENTED_STATUS not in left


async def _accept_for_an_api(services: Services, folder: Path) -> None:
    """The file where there is one; an operator's override where that holds."""
    file = folder / "apis" / "meter.yaml"
    rate = "1000/second"
    [finding] = (await services.insights.of("greedy")).insights
    await services.insights.accept("greedy", finding.id, by="test", diff=finding.diff)
    assert finding.change is not None
    assert f'rate: "{finding.change.after}"' in file.read_text()
    assert rate not in file.read_text()
    await services.apis.set("meter", {"rate": rate}, by="test", reason="a try")
    [again] = (await services.insights.of("greedy")).insights
    assert (again.diff, "override holds" in again.undone) == ("", True)
    await services.insights.accept("greedy", again.id, by="test")
    assert (await services.apis.show("meter")).value("rate") == finding.change.after


async def _compare(services: Services, shop: Shop, before: list[RunRecord], claims: int) -> None:
    """The same runs of the changed workflows."""
    after = await live(services, of("tight", "vain"), "after")
    assert {run.version for run in after} == {2}
    assert succeeded(before, "tight") <= RUNS["tight"] // 2
    assert succeeded(after, "tight") > succeeded(before, "tight")
    # Twelve of the callers asked five times, and now once.
    assert shop.calls["claim"] - claims == RUNS["vain"]
    assert claims == RUNS["vain"] // 2 * (1 + 5)
    assert succeeded(after, "vain") == succeeded(before, "vain") == RUNS["vain"] // 2
    report = await services.insights.of("tight")
    assert InsightKind.TIMEOUT_TIGHT not in {each.kind for each in report.insights}
