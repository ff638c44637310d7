"""Pictures of the console for the documents: `make screenshots`.

    python docs/screenshots.py [FOLDER]

Starts a demo of sixty checkouts and the console beside it, looks at its pages in the system's
Chromium (headless), and ends both. Needs `playwright` and `chromium`.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

from playwright.sync_api import Page, sync_playwright

ORCHESTRATOR = Path(sys.executable).with_name("orchestrator")
PORT = 8031
CONSOLE = f"http://127.0.0.1:{PORT}/console"
PATIENCE_SECONDS = 180
ROOT = Path(__file__).parents[1]
OBJECTIVES = """\
checkout:
  success: {target: 0.8}
  latency: {target: 0.95, seconds: 30}
  freshness: {target: 0.9, seconds: 3600}
"""


def main(folder: Path) -> None:
    """Take them all."""
    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium")
    with (
        TemporaryDirectory() as home,
        _with_objectives(Path(home)),
        _started("demo", "--keep", "--runs", "60", until="Ctrl-C", home=home),
        _started("api", "--port", str(PORT), until=str(PORT), home=home),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        phone = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        _take(phone, folder, "phone", "escalations")
        _take_all(browser.new_page(viewport={"width": 1280, "height": 800}), folder)
        browser.close()


def _take_all(page: Page, folder: Path) -> None:
    for name in ("overview", "runs", "escalations", "approvals", "apis", "workflows"):
        _take(page, folder, name, "" if name == "overview" else name)
    page.goto(f"{CONSOLE}/runs?status=compensated")
    page.locator("td a").first.click()
    _shoot(page, folder, "run")
    page.get_by_role("tab", name="Graph").click()
    _shoot(page, folder, "graph", whole=True)
    page.goto(f"{CONSOLE}/escalations")
    page.locator("td a").first.click()
    _shoot(page, folder, "escalation", whole=True)
    page.keyboard.press("?")
    _shoot(page, folder, "keys")
    page.keyboard.press("Escape")
    page.goto(f"{CONSOLE}/workflows")
    page.locator("td a").first.click()
    _shoot(page, folder, "workflow")
    page.goto(f"{CONSOLE}/apis")
    page.get_by_role("link", name="Whom it touches").first.click()
    _shoot(page, folder, "api")
    _take_objectives(page, folder)
    _take_job(page, folder)


def _take_objectives(page: Page, folder: Path) -> None:
    """Once they have been counted."""
    page.goto(f"{CONSOLE}/objectives")
    page.get_by_text("latency").first.wait_for(timeout=PATIENCE_SECONDS * 1000)
    _shoot(page, folder, "objectives")


def _take_job(page: Page, folder: Path) -> None:
    """What is left is skipped, all at once; it goes last."""
    page.goto(f"{CONSOLE}/escalations")
    page.get_by_role("button", name="Skip all").click()
    page.get_by_label("Why, and the evidence").fill("the drill is over")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/**")
    _shoot(page, folder, "job")


def _take(page: Page, folder: Path, name: str, path: str) -> None:
    answer = page.goto(f"{CONSOLE}/{path}")
    if answer is not None and answer.ok:
        _shoot(page, folder, name)


def _shoot(page: Page, folder: Path, name: str, *, whole: bool = False) -> None:
    page.wait_for_load_state("networkidle", timeout=PATIENCE_SECONDS * 1000)
    page.wait_for_timeout(1500)  # until what is drawn has been
    page.screenshot(path=folder / f"{name}.png", full_page=whole)


@contextmanager
def _with_objectives(home: Path) -> Iterator[None]:
    """The shipped configuration and tasks, and objectives of the demo's workflow."""
    for name in ("config", "tasks"):
        shutil.copytree(ROOT / name, home / name)
    (home / "config" / "slos.yaml").write_text(OBJECTIVES)
    yield


@contextmanager
def _started(*arguments: str, until: str, home: str) -> Iterator[None]:
    """A command that goes on, once it has said `until`."""
    process = subprocess.Popen(
        [ORCHESTRATOR, *arguments], cwd=home, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        _wait_for(process, until)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def _wait_for(process: subprocess.Popen[str], until: str) -> None:
    said: list[str] = []
    watch = Timer(PATIENCE_SECONDS, process.kill)
    watch.start()
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if until in line:
            watch.cancel()
            return
    raise SystemExit("".join(said) + f"{process.args} never said {until!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
