"""The scripts of docs/ as modules."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def advisories(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("advisories")


@pytest.fixture
def audit(advisories: ModuleType) -> ModuleType:
    assert advisories
    return importlib.import_module("audit")
