"""An operator's way from the inbox to the end of a run, in a real browser beside real workers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.conftest import Deployment, wait_until
from tests.acceptance.console.browsing import (
    answered,
    barriers,
    decide,
    logged_in,
    status_of,
    stuck,
)
from tests.sweeps import so_many, sweep

pytestmark = pytest.mark.slow
MANY = so_many(150, whole=500)


def test_from_the_inbox_to_the_end_of_the_run(
    running: Deployment, console: str, page: Page, browser: Browser
) -> None:
    found = stuck(running, "console")
    page.goto(f"{console}/escalations")
    page.get_by_role("link", name=found["id"][-12:]).click()
    expect(page.get_by_text("the drawer is jammed").first).to_be_visible()
    colleague = browser.new_page()
    colleague.goto(f"{console}/escalations/{found['id']}")
    expect(colleague.get_by_role("button", name="Take it")).to_be_visible()
    colleague.get_by_role("button", name="Skip").click()
    colleague.get_by_label("Why, and the evidence").fill("I did not see that")

    page.get_by_role("button", name="Take it").click()
    expect(page.get_by_text("with local since")).to_be_visible()
    expect(page.get_by_role("button", name="It did nothing")).to_be_disabled()
    colleague.get_by_role("dialog").get_by_role("button", name="Skip").click()
    expect(colleague.get_by_text("the escalation has moved on")).to_be_visible()
    colleague.close()

    decide(page, "Abandon", "the drawer went to the workshop")
    expect(page.get_by_text("abandoned by local")).to_be_visible()
    page.get_by_role("link", name="The run").click()
    expect(page.get_by_text("local ended it where it was")).to_be_visible()
    page.get_by_role("tab", name="Audit").click()
    expect(page.get_by_text("operator.abandoned")).to_be_visible()
    page.get_by_role("tab", name="Graph").click()
    graph = page.get_by_role("region", name="Graph of run")
    expect(graph.locator("svg").get_by_text("notes.first.undo")).to_be_visible()
    view = running.ask("runs", "show", found["run"])
    assert view["run"]["status"] == "abandoned"
    (closed,) = view["escalations"]
    assert closed["closing_reason"] == "the drawer went to the workshop"


def test_taken_given_away_and_remarked_on_by_keys_alone(
    running: Deployment, console: str, page: Page
) -> None:
    found = stuck(running, "keys")
    page.goto(f"{console}/escalations")
    expect(page.get_by_role("link", name=found["id"][-12:])).to_be_visible()
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys of this page")
    expect(keys.get_by_role("row", name="/ Filter")).to_be_visible()
    page.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    page.keyboard.press("/")
    expect(page.get_by_label("Filter")).to_be_focused()
    page.keyboard.type("detail~'drawer' and claimed=no")
    page.keyboard.press("Enter")
    page.wait_for_url("**where=**")
    expect(page.get_by_role("link", name=found["id"][-12:])).to_be_visible()
    page.keyboard.press("k")  # the last row
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Take it")).to_be_visible()

    page.keyboard.press("c")
    expect(page.get_by_text("with local since")).to_be_visible()
    answered(page, "m", "For those who come after you", "the key is at the desk")
    expect(page.get_by_text(": the key is at the desk")).to_be_visible()
    answered(page, "g", "To whom", "grace")
    expect(page.get_by_text("with grace since")).to_be_visible()
    answered(page, "s", "Why, and the evidence", "it may stay")
    expect(page.get_by_text("skipped by local")).to_be_visible()
    wait_until(lambda: status_of(running, found["run"]) == "escalated", "the next undo, jammed")


def test_an_undo_is_retried_or_vouched_for(running: Deployment, console: str, page: Page) -> None:
    again, by_hand = stuck(running, "again"), stuck(running, "by_hand")
    (Path(again["folder"]) / "jammed").unlink()
    page.goto(f"{console}/escalations/{again['id']}")
    decide(page, "Retry the undo of second", "the drawer is open")
    expect(page.get_by_text("retried by local")).to_be_visible()
    wait_until(lambda: status_of(running, again["run"]) == "compensated", "its undos")

    (Path(by_hand["folder"]) / "jammed").unlink()
    page.goto(f"{console}/escalations/{by_hand['id']}")
    decide(page, "It is done", "torn up by hand, see photo 17")
    expect(page.get_by_text("see photo 17")).to_be_visible()
    wait_until(lambda: status_of(running, by_hand["run"]) == "compensated", "the rest")
    assert [each.name for each in Path(by_hand["folder"]).iterdir()] == ["second"]


def test_a_step_is_restarted_with_other_values_or_given_its_outputs(
    running: Deployment, console: str, page: Page
) -> None:
    wrong, done = (
        stuck(running, name, workflow="delivery") for name in ("wrong_values", "outputs")
    )
    page.goto(f"{console}/escalations/{wrong['id']}")
    decide(page, "Restart judged", "the judge was asked", **{"/verdict": "good"})
    expect(page.get_by_text("retried by local")).to_be_visible()
    wait_until(lambda: status_of(running, wrong["run"]) == "succeeded", "its end")
    assert (Path(wrong["folder"]) / "good").exists()

    page.goto(f"{console}/escalations/{done['id']}")
    outputs = "What the step gave"
    decide(page, "It is done", "judged on paper", **{outputs: "[1]"})
    expect(page.get_by_text("wanted a JSON object")).to_be_visible()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(outputs).fill('{"verdict": "on-paper"}')
    dialog.get_by_role("button", name="It is done").click()
    expect(page.get_by_text("resolved by local")).to_be_visible()
    wait_until(lambda: status_of(running, done["run"]) == "succeeded", "its end")
    assert (Path(done["folder"]) / "on-paper").exists()


@sweep
def test_hundreds_at_once(running: Deployment, console: str, page: Page) -> None:
    folder = running.notes / "many"
    folder.mkdir()
    (folder / "jammed").touch()
    line = json.dumps({"inputs": {"folder": str(folder), "verdict": "bad"}})
    lines = running.folder / "many.jsonl"
    lines.write_text(f"{line}\n" * MANY)
    running.ask("submit", "notes", "--file", lines, "--tenant", "many")
    page.goto(f"{console}/escalations?where=tenant%3Dmany")
    expect(page.get_by_text(f"{MANY} that nobody has taken")).to_be_visible(timeout=60_000)
    (folder / "jammed").unlink()
    page.get_by_role("button", name="Retry all").click()
    expect(page.get_by_label("Why, and the evidence")).to_be_visible()
    # axe-core takes the shade behind a dialog (z-index -1 in its layer) for one before it.
    assert barriers(page, besides="color-contrast") == []
    page.get_by_label("Why, and the evidence").fill("the drawer is open")
    page.get_by_role("button", name=f"Retry all ({MANY})").click()
    page.wait_for_url("**/jobs/**")
    expect(page.get_by_role("status").get_by_text(f"{MANY} of {MANY} done")).to_be_visible(
        timeout=60_000
    )
    assert barriers(page) == []
    page.goto(f"{console}/jobs")
    expect(page.get_by_role("row", name=f"{MANY} of {MANY} done")).to_contain_text(
        "the drawer is open"
    )
    wait_until(lambda: list(folder.iterdir()) == [], "all undos")


def test_a_second_person_confirms_what_the_first_proposed(
    running: Deployment, locked_console: str, browser: Browser
) -> None:
    found = stuck(running, "eyes", workflow="delivery", verdict="poor")
    pages = {
        name: logged_in(running, browser, locked_console, name, "operator")
        for name in ("ada", "bob")
    }
    pages["ada"].goto(f"{locked_console}/escalations/{found['id']}")
    decide(pages["ada"], "Abandon", "nobody wants it any more")
    expect(pages["ada"].get_by_text("a second person has to confirm it")).to_be_visible()
    assert status_of(running, found["run"]) == "escalated"
    for name, answer in (("ada", "found ada"), ("bob", "The run is abandoned now")):
        page = pages[name]
        page.goto(f"{locked_console}/proposals")
        expect(page.get_by_role("row", name="nobody wants it")).to_be_visible()
        page.get_by_role("button", name="Confirm").click()
        page.get_by_label("Why (kept in the audit)").fill("so it is")
        page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
        expect(page.get_by_text(answer)).to_be_visible()
        page.close()
    assert status_of(running, found["run"]) == "abandoned"
