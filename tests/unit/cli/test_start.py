"""What a command pays before it does anything."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from orchestrator.garbage import LOADING_THRESHOLDS

SHOW = "import gc, json, sys; print(json.dumps([gc.get_threshold(), sorted(sys.modules)]))"
AT_EXIT = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count()));"
HEAVY = {"aiohttp", "alembic", "fastapi", "lxml", "mcp", "nicegui", "psycopg"}


def python(program: str) -> Any:
    """What it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("loaded", "absent"),
    [
        ("orchestrator.cli.main", {*HEAVY, "celery", "jsonschema", "sqlalchemy"}),
        ("orchestrator.cli.main, orchestrator.wiring_services", HEAVY),
    ],
)
def test_it_loads_only_what_all_commands_need(loaded: str, absent: set[str]) -> None:
    thresholds, modules = python(f"import {loaded}; {SHOW}")
    assert not absent & set(modules)
    assert tuple(thresholds) == LOADING_THRESHOLDS


def test_what_is_loaded_is_not_searched_for_garbage_at_the_end() -> None:
    assert python(f"{AT_EXIT} import orchestrator.cli.main") > 10_000


def test_a_worker_of_celery_s_own_command_starts_as_quickly() -> None:
    env = "import os; os.environ['ORCHESTRATOR_BROKER_URL'] = 'redis://127.0.0.1:1/0';"
    thresholds, _ = python(f"{env} from orchestrator import app; {SHOW}")
    assert tuple(thresholds) == LOADING_THRESHOLDS
