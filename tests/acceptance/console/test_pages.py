"""All pages: who gets in, whom they keep out, and how they look."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.conftest import Deployment
from tests.acceptance.console.browsing import barriers, stuck
from tests.sweeps import WHOLE, sweep

pytestmark = pytest.mark.slow
PAGES = (
    "/", "/runs", "/escalations", "/approvals", "/proposals", "/jobs", "/pauses", "/apis",
    "/objectives", "/workflows", "/schedules", "/agents", "/login",
)  # fmt: skip


@sweep
@pytest.mark.parametrize(("scheme", "width", "first"), [("light", 1280, 0), ("dark", 390, 1)])
def test_no_serious_barrier_on_any_page(
    running: Deployment,
    console: str,
    browser: Browser,
    scheme: Literal["light", "dark"],
    width: int,
    first: int,
) -> None:
    """Each page one way or the other, unless there is time for both (`make long`)."""
    found = running.ask("escalations", "list")
    one = found[0] if found else stuck(running, "barriers")
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page, run_id = context.new_page(), one.get("run_id", one.get("run"))
    seen: list[str] = []
    paths = (
        *PAGES,
        f"/runs/{run_id}",
        f"/escalations/{one['id']}",
        "/workflows/notes",
        "/apis/nothing",
        "/workflows/notes/insights",
    )
    for path in paths if WHOLE else paths[first::2]:
        page.goto(f"{console}{path}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        seen += barriers(page)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            seen.append(f"{path}: wider than {width} pixels")
    context.close()
    assert seen == []


def test_dark_or_light_is_remembered(console: str, page: Page) -> None:
    page.goto(f"{console}/jobs")
    expect(page.locator("body")).to_have_class(re.compile("body--light"))
    page.get_by_role("button", name="Dark or light").click()
    expect(page.locator("body")).to_have_class(re.compile("body--dark"))
    page.goto(f"{console}/pauses")
    expect(page.locator("body")).to_have_class(re.compile("body--dark"))


def test_with_keys_one_logs_in_and_may_what_the_key_may(
    running: Deployment, locked_console: str, page: Page
) -> None:
    key = running.ask("keys", "create", "vera", "--role", "viewer")["key"]
    found = stuck(running, "locked")
    stranger = {"origin": "https://evil.example"}
    entry = locked_console.replace("/console", "/console-login")
    bent = httpx.post(entry, data={"key": key}, headers=stranger)
    assert (bent.status_code, "set-cookie" in bent.headers) == (403, False)
    page.goto(f"{locked_console}/runs")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert found["run"][-12:] not in page.content()
    page.get_by_label("Key").fill("ork_no_such_key")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("No such key")).to_be_visible()
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("vera (viewer)")).to_be_visible()
    (cookie,) = [each for each in page.context.cookies() if each["value"] == key]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")

    page.goto(f"{locked_console}/escalations/{found['id']}")
    page.get_by_role("button", name="Take it").click()
    expect(page.get_by_text("the key's role does not allow this")).to_be_visible()
    assert running.ask("escalations", "show", found["id"])["claimed_by"] is None
    page.get_by_role("link", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    page.goto(f"{locked_console}/runs")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()


def test_strangers_reach_neither_a_page_nor_its_socket(console: str) -> None:
    """A page of another site in the operator's browser: it may send, and a socket would answer."""
    upgrade = {
        "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    socket = f"{console}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    stranger = {"origin": "https://evil.example"}
    assert httpx.get(f"{console}/", headers=stranger).status_code == 403
    assert httpx.get(socket, headers=upgrade | stranger).status_code == 403
    for path in ("/", "/runs", "/login", "/nothing"):
        headers = httpx.get(f"{console}{path}").headers
        assert headers["content-security-policy"] == "frame-ancestors 'none'"
        assert headers["x-frame-options"] == "DENY"


def test_what_agents_and_apis_say_is_text_on_every_page(
    running: Deployment, console: str, page: Page
) -> None:
    """Names, reasons and values of a run are nobody's markup, script, or template."""
    planted = "<img src=x onerror=window.owned=1><svg onload=window.owned=2>{{7*191}}"
    found = stuck(running, f"hostile-{planted}")
    page.goto(f"{console}/escalations/{found['id']}")
    folded = page.get_by_role("button", name=re.compile("^Expand"))
    expect(folded.first).to_be_visible()
    for each in folded.all():
        each.click()
    expect(page.get_by_text(planted).first).to_be_visible()
    assert_is_text(page)
    pages = {"/runs": "run", f"/runs/{found['run']}": "id", "/escalations": "id"}
    for path, leads_to in pages.items():
        page.goto(f"{console}{path}")
        link = page.locator(f"main a[href$='{found[leads_to]}']")
        expect(link.first).to_be_visible()
        assert_is_text(page)


def assert_is_text(page: Page) -> None:
    """Nothing that was planted has come to life."""
    assert page.evaluate("window.owned") is None, page.url
    assert page.locator("img[src=x]").count() == 0
    assert "1337" not in page.locator("body").inner_text()


def test_how_the_calls_of_an_api_are(running: Deployment, console: str, page: Page) -> None:
    """What workers have written down, on the API's own page."""
    told = json.dumps({"seconds": {"-80": 60}, "statuses": {"200": 57, "503": 3}})
    row = ("nothing", "POST /charges", int(time.time() * 1e6), "w", 60, 3, 0, told)
    with sqlite3.connect(
        running.folder / ".orchestrator" / "orchestrator.db", timeout=20
    ) as database:
        places = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO api_windows VALUES ({places})", row)
    page.goto(f"{console}/apis/nothing")
    calls = page.get_by_role("region", name="Calls by operation")
    expect(calls.get_by_text("POST /charges")).to_be_visible()
    expect(calls.get_by_text("5.0%").first).to_be_visible()
    # The middle of the bucket: 2 gamma^-80 / (1 + gamma), gamma = 1.01 / 0.99.
    expect(calls.get_by_text("200 ms").first).to_be_visible()


def test_what_the_history_of_a_workflow_says(running: Deployment, console: str, page: Page) -> None:
    for number in range(3):  # an undo that fails so often is told of
        stuck(running, f"history-{number}")
    page.goto(f"{console}/workflows/notes")
    page.get_by_role("link", name="What its history says").click()
    expect(page.get_by_text("do not land").first).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("^run ")).first).to_be_visible()
    assert barriers(page) == []


def test_an_agent_is_seen_stopped_and_allowed_again(
    running: Deployment, console: str, page: Page
) -> None:
    rules = ("--budget", "9 runs/day", "--ask-above", "50 EUR", "--reason", "first week")
    running.ask("agents", "set", "page-bot", *rules)
    page.goto(f"{console}/agents")
    line = page.get_by_role("row").filter(has_text="page-bot")
    expect(line).to_contain_text("9 of 9 runs/day")
    expect(line).to_contain_text("50 EUR")
    for verb, state, why in (("Stop", "stopped", "it is mad"), ("Allow", "works", "mended")):
        line.get_by_role("button", name=verb).click()
        dialog = page.get_by_role("dialog")
        if verb == "Stop":
            dialog.get_by_text("Its runs are undone").click()
        dialog.get_by_label("Why").fill(why)
        dialog.get_by_role("button", name=verb).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(line).to_contain_text(state)
    line.get_by_role("link", name="page-bot").click()
    expect(page.get_by_role("region", name="Changes")).to_contain_text("it is mad")
    assert barriers(page) == []
    found = running.ask("agents", "history", "page-bot")
    assert [each["kind"] for each in found] == ["allow", "stop", "set"]
