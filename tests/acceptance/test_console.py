"""An operator's way through the console in a real browser, beside real workers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from orchestrator.embedded.address import free_port
from tests.acceptance.conftest import Deployment, end, wait_until
from tests.conftest import skip_or_fail

pytestmark = pytest.mark.slow
PAGES = (
    "/", "/runs", "/escalations", "/approvals", "/proposals", "/jobs", "/pauses", "/apis",
    "/workflows", "/login",
)  # fmt: skip
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def console(running: Deployment) -> Iterator[str]:
    """Its address; no key is asked for."""
    port = free_port()
    process = running.start("api", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _is_ready(url), "the API")
        yield f"{url}/console"
    finally:
        end(process)


@pytest.fixture
def locked_console(running: Deployment) -> Iterator[str]:
    """One that asks for keys."""
    port = free_port()
    running.env["ORCHESTRATOR_API_AUTH"] = "keys"
    process = running.start("api", "--port", str(port))
    del running.env["ORCHESTRATOR_API_AUTH"]
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _is_ready(url), "the API")
        yield f"{url}/console"
    finally:
        end(process)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    if found is None:
        skip_or_fail("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    made = browser.new_page(viewport={"width": 1280, "height": 800})
    made.set_default_timeout(20_000)
    broken: list[str] = []
    made.on("pageerror", lambda error: broken.append(str(error)))
    yield made
    made.close()
    assert broken == []


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def stuck(
    running: Deployment, name: str, *, workflow: str = "notes", verdict: str = "bad"
) -> dict[str, str]:
    """An escalation: a run that turns back while its undo is jammed; of `delivery`, one that
    goes forward."""
    folder = running.notes / name
    folder.mkdir()
    (folder / "jammed").touch()
    wish = [f"folder={folder}", f"verdict={verdict}"]
    inputs = [part for each in wish for part in ("--input", each)]
    view = running.run("submit", workflow, "--wait", "--json", *inputs).data
    (found,) = [each for each in view["escalations"] if each["closed_at"] is None]
    return {"id": found["id"], "run": view["run"]["id"], "folder": str(folder)}


def barriers(page: Page, *, besides: str = "") -> list[str]:
    """What keeps somebody out of the page as it is now, once nothing moves in it."""
    page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
    return [
        f"{page.url}: {each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in Axe().run(page).response["violations"]
        if each["impact"] in SERIOUS and each["id"] != besides
    ]


def decide(page: Page, verb: str, reason: str, **fields: str) -> None:
    """Choose, give the reason and what else is wanted, and confirm."""
    page.get_by_role("button", name=verb).click()
    dialog = page.get_by_role("dialog")
    if fields:
        expect(dialog.get_by_label("Why, and the evidence")).to_be_visible()
        if dialog.get_by_text("With other values").count():
            dialog.get_by_text("With other values").click()
    for name, value in fields.items():
        dialog.get_by_label(name).fill(value)
    dialog.get_by_label("Why, and the evidence").fill(reason)
    dialog.get_by_role("button", name=verb).click()


def answered(page: Page, key: str, label: str, text: str) -> None:
    """Press a key, and answer what its dialog asks."""
    page.keyboard.press(key)
    expect(page.get_by_label(label)).to_be_focused()
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)


def status_of(running: Deployment, run_id: str) -> str:
    return str(running.ask("runs", "show", run_id)["run"]["status"])


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


def test_five_hundred_at_once(running: Deployment, console: str, page: Page) -> None:
    folder = running.notes / "many"
    folder.mkdir()
    (folder / "jammed").touch()
    line = json.dumps({"inputs": {"folder": str(folder), "verdict": "bad"}})
    lines = running.folder / "many.jsonl"
    lines.write_text(f"{line}\n" * 500)
    running.ask("submit", "notes", "--file", lines, "--tenant", "many")
    page.goto(f"{console}/escalations?where=tenant%3Dmany")
    expect(page.get_by_text("500 that nobody has taken")).to_be_visible(timeout=60_000)
    (folder / "jammed").unlink()
    page.get_by_role("button", name="Retry all").click()
    expect(page.get_by_label("Why, and the evidence")).to_be_visible()
    # axe-core takes the shade behind a dialog (z-index -1 in its layer) for one before it.
    assert barriers(page, besides="color-contrast") == []
    page.get_by_label("Why, and the evidence").fill("the drawer is open")
    page.get_by_role("button", name="Retry all (500)").click()
    page.wait_for_url("**/jobs/**")
    expect(page.get_by_role("status").get_by_text("500 of 500 done")).to_be_visible(timeout=60_000)
    assert barriers(page) == []
    page.goto(f"{console}/jobs")
    expect(page.get_by_role("row", name="500 of 500 done")).to_contain_text("the drawer is open")
    wait_until(lambda: list(folder.iterdir()) == [], "all undos")


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


def test_a_view_is_kept_and_forgotten(console: str, page: Page) -> None:
    page.goto(f"{console}/runs?status=abandoned")
    page.keyboard.press("v")
    page.get_by_label("Name").fill("Given up")
    page.keyboard.press("Enter")
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


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_no_serious_barrier_on_any_page(
    running: Deployment,
    console: str,
    browser: Browser,
    scheme: Literal["light", "dark"],
    width: int,
) -> None:
    found = running.ask("escalations", "list")
    one = found[0] if found else stuck(running, "barriers")
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page, run_id = context.new_page(), one.get("run_id", one.get("run"))
    seen: list[str] = []
    for path in (*PAGES, f"/runs/{run_id}", f"/escalations/{one['id']}", "/workflows/notes"):
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
    page.goto(f"{locked_console}/runs")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert found["run"][-12:] not in page.content()
    page.get_by_label("Key").fill("ork_no_such_key")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("No such key")).to_be_visible()
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("vera (viewer)")).to_be_visible()
    assert all(cookie["httpOnly"] for cookie in page.context.cookies() if cookie["value"] == key)

    page.goto(f"{locked_console}/escalations/{found['id']}")
    page.get_by_role("button", name="Take it").click()
    expect(page.get_by_text("the key's role does not allow this")).to_be_visible()
    assert running.ask("escalations", "show", found["id"])["claimed_by"] is None
    page.get_by_role("link", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    page.goto(f"{locked_console}/runs")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()


def test_a_second_person_confirms_what_the_first_proposed(
    running: Deployment, locked_console: str, browser: Browser
) -> None:
    found = stuck(running, "eyes", workflow="delivery", verdict="poor")
    pages = {}
    for name in ("ada", "bob"):
        key = running.ask("keys", "create", name, "--role", "operator")["key"]
        pages[name] = browser.new_page()
        pages[name].goto(f"{locked_console}/login")
        pages[name].get_by_label("Key").fill(key)
        pages[name].get_by_role("button", name="Log in").click()
        expect(pages[name].get_by_text(f"{name} (operator)")).to_be_visible()
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
