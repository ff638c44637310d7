"""A real browser at the console of a deployment, which all tests of the folder share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from orchestrator.embedded.address import free_port
from tests.acceptance.conftest import Deployment, end, up, wait_until
from tests.conftest import skip_or_fail

PATIENCE_MS = 60_000


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment that is up, with its workflows published."""
    with up(tmp_path_factory.mktemp("console")) as deployment:
        yield deployment


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
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
    made.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)  # else five seconds, which a busy machine may need
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
