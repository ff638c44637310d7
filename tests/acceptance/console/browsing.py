"""What tests do in the console, and what they look for there."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.conftest import Deployment

SERIOUS = {"serious", "critical"}


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


def logged_in(running: Deployment, browser: Browser, console: str, name: str, role: str) -> Page:
    """A page of somebody with a key of this role."""
    key = running.ask("keys", "create", name, "--role", role)["key"]
    page = browser.new_page()
    page.goto(f"{console}/login")
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text(f"{name} ({role})")).to_be_visible()
    return page
