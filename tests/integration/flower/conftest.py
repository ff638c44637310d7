"""One deployment for each test that asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.flower.deployment import Deployment, deployment


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment in which each step is a message of its own and every wait is the table's."""
    settings = {
        "ORCHESTRATOR_MAX_INLINE_STEPS": "0",
        "ORCHESTRATOR_SHORT_WAIT_SECONDS": "0",
        "ORCHESTRATOR_RECOVERY_SECONDS": "0.2",
    }
    with deployment(tmp_path / "deployment", **settings) as made:
        yield made
