"""Two look-alikes of a payment API, as processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from orchestrator.demo.node import start_payment_api
from orchestrator.embedded.address import LOOPBACK, answers, free_port
from orchestrator.embedded.process import Child, ChildSpec, stop_all
from orchestrator.errors import InvalidSetting, Unavailable

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def stripe_mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """npm's stripe-stateful-mock."""
    try:
        child = start_payment_api(tmp_path_factory.mktemp("stripe") / "stripe.log")
    except (InvalidSetting, Unavailable) as error:
        pytest.skip(f"no stripe-stateful-mock: {error}")
    yield child.spec.address
    stop_all([child])


@pytest.fixture
def localstripe(tmp_path: Path) -> Iterator[str]:
    """PyPI's localstripe, empty."""
    if find_spec("localstripe") is None:
        pytest.skip("localstripe is not installed")
    port = free_port()
    spec = ChildSpec(
        name="localstripe",
        argv=(sys.executable, "-W", "ignore", str(HERE / "localstripe_server.py"), str(port)),
        address=f"http://{LOOPBACK}:{port}",
        ready=lambda: answers(port),
        grace_seconds=2.0,
    )
    child = Child(spec, tmp_path / "localstripe.log")
    child.start()
    try:
        child.wait_ready()
        yield child.spec.address
    finally:
        stop_all([child])
