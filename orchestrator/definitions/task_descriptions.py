"""What a sandbox says of the tasks in a module that nobody else imports.

It is said by code that is not trusted: nothing of it is taken without being of this form, and what
it calls itself gives no rights. A name that another task has is refused by the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import msgspec

from orchestrator.core.plan import Effects
from orchestrator.core.retry import RetryPolicy
from orchestrator.definitions.signatures import Parameter, Signature
from orchestrator.definitions.tasks import Isolation, Task
from orchestrator.errors import InvalidSetting, NotLanded, Problem


class _Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    schema: dict[str, Any]
    required: bool


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    operation_id: str
    module: str
    place: str
    summary: str
    is_async: bool
    effects: Effects
    calls: list[str]
    timeout_seconds: float | None
    retry: dict[str, float | int | None] | None
    parameters: list[_Parameter]
    takes_any: bool
    takes_context: bool
    result: dict[str, Any]
    version: int = 0


def described(task: Task) -> dict[str, Any]:
    """One task as JSON; said inside of the sandbox."""
    signature = task.signature
    given = _Description(
        name=task.name, operation_id=task.operation_id, module=task.module, place=task.place,
        summary=task.summary, is_async=task.is_async,
        effects=task.effects if task.calls else Effects.NONE, calls=list(task.calls),
        timeout_seconds=task.timeout_seconds,
        retry=None if task.retry is None else msgspec.to_builtins(task.retry),
        parameters=[
            _Parameter(each.name, dict(each.schema), each.required)
            for each in signature.parameters
        ],
        takes_any=signature.takes_any, takes_context=signature.takes_context,
        result=dict(signature.result), version=task.version,
    )  # fmt: skip
    shown: dict[str, Any] = msgspec.to_builtins(given)
    return shown


def read_descriptions(said: object, modules: Iterable[str]) -> list[Task]:
    """The tasks that were told of, of these modules alone. Raises InvalidSetting."""
    wanted = frozenset(modules)
    try:
        found = msgspec.convert(said, list[_Description])
        tasks = [_task(each) for each in found]
    except (msgspec.ValidationError, TypeError) as error:
        raise _refused(", ".join(sorted(wanted)), str(error)) from error
    for each in tasks:
        if each.module not in wanted:
            raise _refused(each.module, f"a task {each.name!r} of a module that was not asked for")
    return tasks


def _task(said: _Description) -> Task:
    parameters = tuple(
        Parameter(name=each.name, schema=each.schema, required=each.required)
        for each in said.parameters
    )
    return Task(
        name=said.name, operation_id=said.operation_id, function=_NotHere(said.name),
        module=said.module, place=said.place, summary=said.summary, is_async=said.is_async,
        effects=said.effects if said.calls else Effects.NONE, calls=tuple(said.calls),
        timeout_seconds=said.timeout_seconds, isolation=Isolation.PROCESS,
        retry=None if said.retry is None else _policy(said.retry),
        version=said.version,
        signature=Signature(
            parameters=parameters, takes_any=said.takes_any, takes_context=said.takes_context,
            result=said.result,
        ),
    )  # fmt: skip


def _policy(said: Mapping[str, float | int | None]) -> RetryPolicy:
    return msgspec.convert(said, RetryPolicy)


class _NotHere:
    """In place of a function that only a sandbox has."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, **_: object) -> NoReturn:
        raise NotLanded(f"task {self._name} is isolated, and was called outside of a sandbox")


def _refused(place: str, found: str) -> InvalidSetting:
    problem = Problem(place=f"module {place}", found=found, wanted="a description of its tasks")
    return InvalidSetting("what a sandbox says of its tasks is not taken", problems=[problem])
