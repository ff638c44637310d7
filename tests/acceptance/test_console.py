"""An operator's way through the console in a real browser, beside real workers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from orchestrator.embedded.address import free_port
from tests.acceptance.conftest import Deployment, end, wait_until
from tests.conftest import skip_or_fail

pytestmark = pytest.mark.slow
PAGES = ("/", "/runs", "/escalations", "/approvals", "/apis", "/workflows", "/login")
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


def stuck(running: Deployment, name: str) -> dict[str, str]:
    """An escalation: a run that turns back while its undo is jammed."""
    folder = running.notes / name
    folder.mkdir()
    (folder / "jammed").touch()
    wish = [f"folder={folder}", "verdict=bad"]
    inputs = [part for each in wish for part in ("--input", each)]
    view = running.run("submit", "notes", "--wait", "--json", *inputs).data
    (found,) = [each for each in view["escalations"] if each["closed_at"] is None]
    return {"id": found["id"], "run": view["run"]["id"], "folder": str(folder)}


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

    page.get_by_role("button", name="Take it").click()
    expect(page.get_by_text("with local since")).to_be_visible()
    expect(page.get_by_role("button", name="Abandon")).to_be_disabled()
    page.get_by_label("Why, and the evidence").fill("the drawer went to the workshop")
    colleague.get_by_label("Why, and the evidence").fill("I did not see that")
    colleague.get_by_role("button", name="Skip").click()
    expect(colleague.get_by_text("the escalation has moved on")).to_be_visible()
    colleague.close()

    page.get_by_role("button", name="Abandon").click()
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


def test_a_person_answers_what_a_run_asks(running: Deployment, console: str, page: Page) -> None:
    folder = running.notes / "asked"
    folder.mkdir()
    run_id = running.ask("submit", "permission", "--input", f"folder={folder}")["run_id"]
    running.ask("runs", "signal", run_id, "asked", "--data", '{"name": "n"}')
    page.goto(f"{console}/approvals")
    page.get_by_role("row", name="Keep n?").get_by_role("link").click()
    barriers = Axe().run(page).response["violations"]
    assert [each["id"] for each in barriers if each["impact"] in SERIOUS] == []
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


def test_no_serious_barrier_on_any_page(running: Deployment, console: str, page: Page) -> None:
    found = stuck(running, "barriers")
    for path in (*PAGES, f"/runs/{found['run']}", f"/escalations/{found['id']}"):
        page.goto(f"{console}{path}")
        page.wait_for_selector("main")
        violations = Axe().run(page).response["violations"]
        barriers = [
            f"{path}: {each['id']}: {each['nodes'][0]['html'][:200]}"
            for each in violations
            if each["impact"] in SERIOUS
        ]
        assert barriers == []


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
