"""Runs in a real browser: found, watched, held, ended and begun again, one by one and in bulk."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.conftest import Deployment, wait_until
from tests.acceptance.console.browsing import barriers, logged_in

pytestmark = pytest.mark.slow


def test_runs_are_paused_resumed_and_run_again(
    running: Deployment, console: str, page: Page
) -> None:
    folder = running.notes / "paused"
    folder.mkdir()
    page.goto(f"{console}/workflows/notes")
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Why (kept in the audit)").fill("the notes are counted")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_text("a pause of workflow notes")).to_be_visible()
    run_id = running.ask("submit", "notes", "--input", f"folder={folder}")["run_id"]
    page.goto(f"{console}/runs/{run_id}")
    expect(page.get_by_text("stopped by a pause of workflow notes")).to_be_visible()
    page.get_by_role("link", name="Pauses").last.click()
    page.get_by_role("button", name="Resume").click()
    page.get_by_label("Why (kept in the audit)").fill("counted")
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Nothing is paused.")).to_be_visible()

    page.goto(f"{console}/runs/{run_id}")
    page.get_by_role("button", name="Run again from").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why (kept in the audit)").fill("once more")
    dialog.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("an effect of the old run that stands")).to_be_visible()
    page.get_by_role("button", name="Run again from").click()
    dialog.get_by_role("checkbox").click()
    dialog.get_by_label("Why (kept in the audit)").fill("once more")
    dialog.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("run.rerun_of").or_(page.get_by_text(run_id)).first).to_be_visible()
    page.wait_for_url(lambda url: "/runs/" in url and not url.endswith(run_id))
    new = page.url.rpartition("/")[2]
    page.get_by_role("link", name=f"Rerun of {run_id[-12:]}").click()
    expect(page.get_by_role("link", name=f"Run again as {new[-12:]}")).to_be_visible()
    assert f"run again as  {new}" in running.run("runs", "show", run_id).out
    assert f"rerun of  {run_id}" in running.run("runs", "show", new).out


def test_a_view_is_kept_and_forgotten(console: str, page: Page) -> None:
    page.goto(f"{console}/runs?status=abandoned")
    page.keyboard.press("v")
    page.get_by_label("Name").fill("Given up")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)  # it is kept before the dialog goes
    page.goto(f"{console}/runs")
    page.get_by_role("link", name="Given up").click()
    page.wait_for_url("**/runs?status=abandoned")
    page.get_by_role("button", name="Forget the view Given up").click()
    expect(page.get_by_role("link", name="Given up")).to_have_count(0)


def test_a_person_answers_what_a_run_asks(running: Deployment, console: str, page: Page) -> None:
    folder = running.notes / "asked"
    folder.mkdir()
    run_id = running.ask("submit", "permission", "--input", f"folder={folder}")["run_id"]
    running.ask("runs", "signal", run_id, "asked", "--data", '{"name": "n"}')
    page.goto(f"{console}/approvals")
    page.get_by_role("row", name="Keep n?").get_by_role("link").click()
    assert barriers(page) == []
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("wanted why it is rejected")).to_be_visible()
    page.get_by_label("Why (wanted where you reject)").fill("not now")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("rejected by local")).to_be_visible()
    wait_until(lambda: not (folder / "n").exists(), "its undo")


def test_a_run_is_found_and_watched_while_it_ends(
    running: Deployment, console: str, page: Page
) -> None:
    folder = running.notes / "watched"
    folder.mkdir()
    (folder / "hold").touch()
    made = running.ask("submit", "notes", "--input", f"folder={folder}")
    page.goto(f"{console}/runs?status=running")
    page.get_by_label("Id of a run, or its end").fill(made["run_id"][-8:])
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("write_note").or_(page.get_by_text("first")).first).to_be_visible()
    (folder / "hold").unlink()
    expect(page.get_by_text("succeeded").first).to_be_visible()


def done_with_all(page: Page, address: str, verb: str, reason: str) -> None:
    """Act on all six runs that a page shows, and see the job to its end."""
    page.goto(address)
    page.get_by_role("button", name=verb).click()
    dialog = page.get_by_role("dialog", name=f"{verb}: 6")
    dialog.get_by_label("Why, and the evidence").fill(reason)
    if verb == "Run all again from":
        dialog.get_by_text("may come a second time").click()
    assert barriers(page, besides="color-contrast") == []  # of the shade behind the dialog
    dialog.get_by_role("button", name=f"{verb} (6)").click()
    page.wait_for_url("**/jobs/**")
    expect(page.get_by_role("status").get_by_text("6 of 6 done")).to_be_visible()


@pytest.mark.long
def test_all_that_fit_are_paused_resumed_cancelled_and_run_again(
    running: Deployment, console: str, page: Page
) -> None:
    """Runs that wait for a signal: nobody has them in hand, so they stand still at once."""
    herd = f"{console}/runs?tenant=herd&workflow=permission"
    lines = running.folder / "herd.jsonl"
    lines.write_text(f'{{"inputs": {{"folder": "{running.notes}"}}}}\n' * 6)
    running.ask("submit", "permission", "--file", lines, "--tenant", "herd")

    def count(status: str) -> int:
        where = f"tenant=herd and status={status}"
        return len(running.ask("runs", "list", "--where", where))

    wait_until(lambda: count("waiting") == 6, "their waits")
    page.goto(f"{console}/runs")
    expect(page.get_by_role("link", name="All", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Cancel all")).to_have_count(0)  # all means a filter
    done_with_all(page, herd, "Pause all", "the drawer is being counted")
    assert count("paused") == 6
    page.goto(f"{herd}&status=paused")
    expect(page.get_by_role("button", name="Resume all")).to_be_visible()
    expect(page.get_by_role("button", name="Pause all")).to_have_count(0)
    done_with_all(page, f"{herd}&status=paused", "Resume all", "it is counted")
    wait_until(lambda: count("waiting") == 6, "their waits")
    done_with_all(page, f"{herd}&status=waiting", "Cancel all", "nobody asks any more")
    wait_until(lambda: count("compensated") == 6, "their ends")
    done_with_all(page, herd, "Run all again from", "somebody does")
    expect(page.get_by_text("runs.rerun")).to_be_visible()
    wait_until(lambda: count("waiting") == 6, "the new ones")


def test_a_later_step_is_given_other_values_once_a_second_person_agrees(
    running: Deployment, locked_console: str, browser: Browser
) -> None:
    folder = running.notes / "edited"
    folder.mkdir()
    run_id = running.ask("submit", "permission", "--input", f"folder={folder}")["run_id"]
    wait_until(lambda: running.ask("runs", "show", run_id)["run"]["status"] == "waiting", "it")
    page = logged_in(running, browser, locked_console, "eve", "operator")
    page.goto(f"{locked_console}/runs/{run_id}")
    page.get_by_role("button", name="Other values").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("folder")).to_have_value(str(folder))
    assert barriers(page, besides="color-contrast") == []  # of the shade behind the dialog
    dialog.get_by_label("Why (kept in the audit)").fill("it was misspelt")
    dialog.get_by_role("button", name="Propose it").click()
    expect(page.get_by_text("wanted another value")).to_be_visible()
    dialog.get_by_label("name (not known yet").fill("spelt-right")
    dialog.get_by_role("button", name="Propose it").click()
    expect(page.get_by_text("It is proposed")).to_be_visible()
    page.close()

    second = logged_in(running, browser, locked_console, "finn", "approver")
    second.goto(f"{locked_console}/runs/{run_id}")
    proposal = second.get_by_role("row", name="permission edit")  # the audit has it as well
    expect(proposal).to_contain_text("it was misspelt")
    assert barriers(second) == []
    second.get_by_role("button", name="Confirm").click()
    second.get_by_label("Why (kept in the audit)").fill("so it is")
    second.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    expect(second.get_by_text('draft sends name="spelt-right"')).to_be_visible()
    second.close()
    running.ask("runs", "signal", run_id, "asked", "--data", '{"name": "mispelt"}')
    wait_until((folder / "spelt-right").exists, "the note")


DESK = """
openapi: 3.1.0
info: {title: Desk, version: '1'}
servers: [{url: 'http://127.0.0.1:9'}]
paths:
  /drawer: {get: {operationId: look, responses: {'200': {description: what is in it}}}}
"""
LOOKING = """
arazzo: 1.0.1
info: {title: Looking, version: 1.0.0}
sourceDescriptions:
  - {name: desk, url: desk.yaml, type: openapi}
  - {name: people, url: 'waits:', type: openapi}
workflows:
  - workflowId: looking
    steps:
      - stepId: asked
        operationId: $sourceDescriptions.people.signal
        requestBody: {payload: {signal: asked, timeout: 3600}}
      - stepId: look
        operationId: $sourceDescriptions.desk.look
"""


def test_whom_an_api_touches_and_what_if_it_is_away(
    running: Deployment, console: str, page: Page
) -> None:
    document = running.folder / "looking.arazzo.yaml"
    document.write_text(LOOKING)
    document.with_name("desk.yaml").write_text(DESK)
    running.ask("workflows", "publish", document)
    running.ask("submit", "looking", "--tenant", "touched")
    page.goto(f"{console}/apis")
    page.get_by_role("link", name="Whom it touches: desk").click()
    expect(page.get_by_text("1 of")).to_be_visible()
    mine = page.get_by_role("region", name="By tenant").get_by_role("row", name="touched")
    assert mine.get_by_role("cell").all_inner_texts() == ["touched", *"1010000"]
    assert barriers(page) == []
    page.get_by_label("What if it is away for").click()
    page.get_by_role("option", name="a day").click()
    page.wait_for_url("**/apis/desk?away=1440")
    expect(page.get_by_text("If it is away for a day")).to_be_visible()
    mine.get_by_role("link").click()
    expect(page.get_by_role("row", name="touched")).to_be_visible()
