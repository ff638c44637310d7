"""The house stays in order: what `make check` runs, so that no change lands without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
CHECKS = {
    "format": [BIN / "ruff", "format", "--check", "."],
    "lint": [BIN / "ruff", "check", "."],
    "types": [BIN / "mypy"],
    "arrows": [BIN / "lint-imports", "--no-cache"],
    "security": [BIN / "bandit", "-q", "-c", "pyproject.toml", "-r", "orchestrator", "tasks"],
    "diagrams": [sys.executable, "docs/state_diagram.py", "--check"],
    "scaling": [sys.executable, "docs/scaling_page.py", "--check"],
    "metrics": [sys.executable, "docs/metrics_page.py", "--check"],
    "reference": [sys.executable, "docs/reference_pages.py", "--check"],
}
SLOW = ("types", "security")  # of the processor's minutes; `make check` runs them too


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name in SLOW else ()) for name in CHECKS],
)
def test_check(name: str) -> None:
    done = subprocess.run(
        CHECKS[name], cwd=ROOT, capture_output=True, text=True, timeout=270, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
