"""Builds what isolated tasks run in, where a deployment has some."""

from __future__ import annotations

from pathlib import Path

from orchestrator.definitions.tasks import Isolation, TaskRegistry
from orchestrator.engine.isolation.crew import IsolatedTasks
from orchestrator.engine.isolation.sandbox import Bounds, Sandbox, trees_of
from orchestrator.settings import Settings


def isolated_tasks(settings: Settings, registry: TaskRegistry) -> IsolatedTasks | None:
    """None where no task is isolated. Raises InvalidSetting where this machine cannot isolate."""
    if not any(task.isolation is Isolation.PROCESS for task in registry):
        return None
    wanted = settings.isolation
    bounds = Bounds(
        memory_bytes=wanted.memory_bytes, cpu_seconds=wanted.cpu_seconds,
        file_bytes=wanted.file_bytes,
    )  # fmt: skip
    sandbox = Sandbox(
        bounds,
        readable=[*trees_of(module.__name__ for module in registry.modules), *wanted.readable],
        hidden=[settings.config_dir, settings.state_dir, *_database_files(settings.database)],
        namespaces=wanted.mode == "sandbox",
    )
    tasks = IsolatedTasks(
        sandbox, at_once=wanted.processes, spares=wanted.spares,
        most_answer_bytes=settings.max_output_bytes,
    )  # fmt: skip
    tasks.rehearse()
    return tasks


def _database_files(url: str) -> list[Path]:
    """SQLite's; those of a server are nobody's to read anyway."""
    scheme, _, file = url.partition(":///")
    if not scheme.startswith("sqlite"):
        return []
    file = file.partition("?")[0]
    return [Path(f"{file}{suffix}") for suffix in ("", "-wal", "-shm")]
