"""`celery -A orchestrator worker`, typed in a deployment's folder, runs that folder's tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CELERY = Path(sys.executable).parent / "celery"


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script, which does not put the current folder on the path by itself."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env["ORCHESTRATOR_BROKER_URL"] = "redis://127.0.0.1:1/0"
    return subprocess.run(
        [CELERY, "-A", "orchestrator", *arguments],
        cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_task_module_that_does_not_import_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    module = tmp_path / "tasks" / "__init__.py"
    module.write_text("from orchestrator import task\n\nimport no_such_module\n")
    done = start(tmp_path, "worker")
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert f"{module}:3" in output
    assert "no_such_module" in output


def test_the_folder_s_tasks_are_registered(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text(
        "from orchestrator import task\n\n\n"
        "@task(effects='none')\ndef only_here() -> None:\n    pass\n"
    )
    names = subprocess.run(
        [CELERY.parent / "python", "-I", "-c", _LIST], cwd=tmp_path, capture_output=True,
        text=True, timeout=60, check=True,
        env={**os.environ, "ORCHESTRATOR_BROKER_URL": "redis://127.0.0.1:1/0"},
    ).stdout  # fmt: skip
    assert "tasks.only_here" in names


_LIST = "import orchestrator; print(*sorted(orchestrator.app.hop_names))"
