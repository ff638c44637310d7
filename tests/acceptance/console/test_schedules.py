"""Schedules on the console: their times, what became of them, pause, resume and run now."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.conftest import Deployment
from tests.acceptance.console.browsing import answered, barriers

pytestmark = pytest.mark.slow


def test_a_schedule_is_paused_resumed_and_run_now(
    running: Deployment, console: str, page: Page
) -> None:
    folder = running.notes / "scheduled"
    folder.mkdir()
    running.ask(
        "schedules", "set", "closing", "--workflow", "notes", "--input", f"folder={folder}",
        "--input", "verdict=good", "--cron", "0 3 1 1 *", "--zone", "Europe/Berlin",
        "--reason", "the books are closed",
    )  # fmt: skip
    page.goto(f"{console}/schedules")
    expect(page.get_by_text("0 3 1 1 * in Europe/Berlin")).to_be_visible()
    page.get_by_role("link", name="closing").click()
    times = page.get_by_role("region", name="Next times")
    expect(times.get_by_text("-01-01 02:00:00")).to_have_count(5)
    expect(times.get_by_text("-01-01 03:00:00 CET")).to_have_count(5)
    expect(page.get_by_text("None yet.")).to_be_visible()
    assert barriers(page) == []

    answered(page, "p", "Why", "the auditor is here")
    expect(page.get_by_text("Paused by local: the auditor is here")).to_be_visible()
    expect(times).to_have_count(0)
    answered(page, "r", "Why", "he has gone")
    expect(times.get_by_text("-01-01 02:00:00")).to_have_count(5)
    changes = page.get_by_role("region", name="Changes")
    expect(changes.get_by_role("row")).to_have_count(4)

    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("A run begins.")).to_be_visible()
    page.get_by_role("region", name="Last times").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Run ")
    expect(page.get_by_text("succeeded", exact=True)).to_be_visible()


def test_one_that_is_not_there_is_told(console: str, page: Page) -> None:
    page.goto(f"{console}/schedules/default/nothing")
    expect(page.get_by_text("no such schedule: nothing")).to_be_visible()
