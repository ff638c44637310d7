"""Builds what isolated tasks run in, where a deployment has some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.definitions.tasks import Isolation, Task, TaskRegistry
from orchestrator.engine.isolation.brokering import require_grants
from orchestrator.engine.isolation.crew import IsolatedTasks
from orchestrator.engine.isolation.describing import describe
from orchestrator.engine.isolation.sandbox import Bounds, Sandbox, trees_of
from orchestrator.settings import Settings


def isolated_tasks(settings: Settings, registry: TaskRegistry) -> IsolatedTasks | None:
    """None where no task is isolated. Raises InvalidSetting where this machine cannot isolate."""
    if not any(task.isolation is Isolation.PROCESS for task in registry):
        return None
    require_grants(registry, settings.isolation.calls)
    line = any(task.calls for task in registry)
    sandbox = _sandbox(settings, _modules(registry), line=line)
    tasks = IsolatedTasks(
        sandbox, at_once=settings.isolation.processes, spares=settings.isolation.spares,
        most_answer_bytes=settings.max_output_bytes,
    )  # fmt: skip
    tasks.rehearse()
    return tasks


def described_tasks(settings: Settings, modules: Sequence[str]) -> list[Task]:
    """The tasks of modules that only sandboxes import. Raises InvalidSetting."""
    sandbox = _sandbox(settings, modules)
    return describe(modules, sandbox, kept_in=settings.state_dir)


def _modules(registry: TaskRegistry) -> list[str]:
    return [*(module.__name__ for module in registry.modules), *registry.apart]


def _sandbox(settings: Settings, modules: Sequence[str], *, line: bool = False) -> Sandbox:
    wanted = settings.isolation
    bounds = Bounds(
        memory_bytes=wanted.memory_bytes, cpu_seconds=wanted.cpu_seconds,
        file_bytes=wanted.file_bytes,
    )  # fmt: skip
    return Sandbox(
        bounds, readable=[*trees_of(modules), *wanted.readable],
        hidden=[settings.config_dir, settings.state_dir, *_database_files(settings.database)],
        namespaces=wanted.mode == "sandbox", line=line,
    )  # fmt: skip


def _database_files(url: str) -> list[Path]:
    """SQLite's; those of a server are nobody's to read anyway."""
    scheme, _, file = url.partition(":///")
    if not scheme.startswith("sqlite"):
        return []
    file = file.partition("?")[0]
    return [Path(f"{file}{suffix}") for suffix in ("", "-wal", "-shm")]
