"""Logging in by an identity provider on another site, in a real browser that keeps its rules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from oidc_provider_mock import User, run_server_in_thread
from playwright.sync_api import Page, expect

from orchestrator.embedded.address import free_port
from tests.acceptance.conftest import Deployment, end, wait_until
from tests.acceptance.console.browsing import barriers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Somebody else's, on `localhost`, which is another site than ours."""
    ada = User(sub="ada", claims={"roles": ["operator"], "tenant": "*"})
    eve = User(sub="eve", claims={"tenant": "*"})
    with run_server_in_thread(
        user_claims=[ada, eve], require_nonce=True, access_token_max_age=timedelta(minutes=1)
    ) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def console(running: Deployment, provider: str) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "ORCHESTRATOR_API_AUTH": "keys", "ORCHESTRATOR_API_TOKEN_ISSUER": provider,
        "ORCHESTRATOR_API_TOKEN_AUDIENCE": "orchestrator",
        "ORCHESTRATOR_API_LOGIN_CLIENT_ID": "console", "ORCHESTRATOR_PUBLIC_URL": url,
        "ORCHESTRATOR_API_LOGIN_CLIENT_SECRET": "env:CLIENT_SECRET", "CLIENT_SECRET": "any",
    }  # fmt: skip
    running.env.update(settings)
    process = running.start("api", "--port", str(port))
    for name in settings:
        del running.env[name]
    try:
        wait_until(lambda: _is_ready(url), "the API")
        yield f"{url}/console"
    finally:
        end(process)


def test_people_log_in_elsewhere_and_come_back_to_their_page(console: str, page: Page) -> None:
    page.goto(f"{console}/pauses?limit=5")
    login = page.get_by_role("link", name="Log in with localhost")
    expect(login).to_be_visible()
    assert barriers(page) == []
    login.click()
    page.get_by_role("button", name="eve").click()
    expect(page.get_by_text("gives no role or no tenant here")).to_be_visible()
    page.goto(f"{console}/pauses?limit=5")
    login.click()
    page.get_by_role("button", name="ada").click()
    expect(page.get_by_text("ada (operator)")).to_be_visible()
    expect(page).to_have_url(f"{console}/pauses?limit=5")
    page.goto(f"{console}/runs")
    page.get_by_role("link", name="Log out").click()
    expect(page).to_have_url(re.compile("/oauth2/end_session"))
    page.get_by_role("button").first.click()
    expect(login).to_be_visible()
    page.goto(f"{console}/runs")
    expect(login).to_be_visible()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
