"""Durable workflow runs over rate-limited APIs, undone in reverse order where they fail.

What workflows and step functions need is importable from here; it is loaded when first asked for,
so that `import orchestrator` costs next to nothing. `app` is the Celery app of this process.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.core.plan import CompensationKind, Effects
    from orchestrator.core.retry import RetryPolicy
    from orchestrator.definitions.api_builder import Api, ApiWorkflow, end, goto, retry, select
    from orchestrator.definitions.authoring import Workflow, step
    from orchestrator.definitions.calling import ApiAnswer, call_api
    from orchestrator.definitions.tasks import TaskContext, task
    from orchestrator.errors import InDoubt, NotLanded

__all__ = [
    "Api",
    "ApiAnswer",
    "ApiWorkflow",
    "CompensationKind",
    "Effects",
    "InDoubt",
    "NotLanded",
    "RetryPolicy",
    "TaskContext",
    "Workflow",
    "call_api",
    "end",
    "goto",
    "retry",
    "select",
    "step",
    "task",
]

_HOMES = {
    "Api": "orchestrator.definitions.api_builder",
    "ApiAnswer": "orchestrator.definitions.calling",
    "ApiWorkflow": "orchestrator.definitions.api_builder",
    "CompensationKind": "orchestrator.core.plan",
    "Effects": "orchestrator.core.plan",
    "InDoubt": "orchestrator.errors",
    "NotLanded": "orchestrator.errors",
    "RetryPolicy": "orchestrator.core.retry",
    "TaskContext": "orchestrator.definitions.tasks",
    "Workflow": "orchestrator.definitions.authoring",
    "call_api": "orchestrator.definitions.calling",
    "end": "orchestrator.definitions.api_builder",
    "goto": "orchestrator.definitions.api_builder",
    "retry": "orchestrator.definitions.api_builder",
    "select": "orchestrator.definitions.api_builder",
    "step": "orchestrator.definitions.authoring",
    "task": "orchestrator.definitions.tasks",
}


def __getattr__(name: str) -> Any:
    if name == "app":  # what `celery -A orchestrator` looks for
        importlib.import_module("orchestrator.garbage").expect_modules()
        return importlib.import_module("orchestrator.wiring").celery_app()
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "app"])
