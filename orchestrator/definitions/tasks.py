"""Python functions as steps.

    @task(effects="none")
    def price(unit_price: int, quantity: int) -> dict[str, int]:
        return {"total": unit_price * quantity}

The decorator leaves the function as it is (call it in tests); `load_tasks` finds what is decorated
in a deployment's modules. A function takes keyword arguments and, if it names one `context`, a
TaskContext. It returns a JSON object, or None. To say what became of its effect it raises NotLanded
or InDoubt; any other exception counts as in doubt, unless the task's effects are none.

With `isolation="process"` the function runs in a process of its own, for that one call, which sees
neither secrets nor network nor other files; so it has no effects but its result, unless it says
which APIs it `calls` (calling.py). Its module is imported there alone (task_modules.py finds it
without).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Any, Literal, TypeVar, overload

from orchestrator.core.plan import Effects
from orchestrator.core.retry import RetryPolicy
from orchestrator.core.states import Direction
from orchestrator.definitions.signatures import Signature, read_signature
from orchestrator.errors import InvalidSetting, Problem

F = TypeVar("F", bound=Callable[..., Any])
EffectsName = Literal["none", "keyed", "unkeyed"]
IsolationName = Literal["none", "process"]

_ATTRIBUTE = "__orchestrator_task__"


class Isolation(StrEnum):
    """How far a function is kept from the worker that calls it."""

    NONE = "none"  # it runs in the worker's own process
    PROCESS = "process"  # in a sandbox, for that one call


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskContext:
    """Which attempt of which step a function is called for."""

    run_id: str
    step_id: str
    attempt: int  # 1-based
    idempotency_key: str  # the same for every attempt of this link, on every worker
    direction: Direction
    tenant: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A registered function.

    Of a module that only sandboxes import, `function` is a stand-in that cannot be called.
    """

    name: str  # the Celery task's name: "tasks.checkout.price", with a version "…price@2"
    operation_id: str  # its name in documents: "price"
    function: Callable[..., Any]
    module: str
    place: str  # file and line of the function
    summary: str  # the first line of its documentation
    is_async: bool  # it runs in the event loop; a plain function runs in a thread
    effects: Effects
    signature: Signature
    retry: RetryPolicy | None = None  # None: the default policy
    timeout_seconds: float | None = None  # None: the engine's default
    isolation: Isolation = Isolation.NONE
    calls: tuple[str, ...] = ()  # APIs that an isolated one may ask for; settings say which it gets
    version: int = 0  # 0: its author gave none, and whatever has its name is it

    @property
    def bare_name(self) -> str:
        """Its name without the version."""
        return self.name.removesuffix(f"@{self.version}")

    @property
    def takes_context(self) -> bool:
        """Whether it wants a TaskContext as `context`."""
        return self.signature.takes_context


@overload
def task(function: F, /) -> F: ...
@overload
def task(
    *,
    name: str | None = None,
    effects: EffectsName | Effects | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    isolation: IsolationName | Isolation = "none",
    calls: Iterable[str] = (),
    version: int | None = None,
) -> Callable[[F], F]: ...
def task(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    effects: EffectsName | Effects | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | None = None,
    isolation: IsolationName | Isolation = "none",
    calls: Iterable[str] = (),
    version: int | None = None,
) -> F | Callable[[F], F]:
    """Make a function a step of workflows. Without `effects` it is never repeated while in doubt.

    `name` is its name in documents (default: the function's), or with dots the whole registered
    name; `timeout` in seconds; `calls` names the APIs that an isolated function calls. `version` (1
    or more): runs that began with another one do not get this function, but wait for theirs, which
    may stand beside it under the same name; documents get the highest.

    Raises InvalidSetting for a version below 1, for a signature that cannot be called by name, for
    `calls` of a function that is not isolated, and for effects of one that is and calls nothing.
    """
    apart, called = Isolation(isolation), tuple(calls)

    def register(decorated: F) -> F:
        known = _effects(decorated, effects, apart, called)
        made = _make(decorated, name, known, timeout, retry, apart, called, version)
        setattr(decorated, _ATTRIBUTE, made)
        return decorated

    return register if function is None else register(function)


def task_of(function: object) -> Task | None:
    """The task that a decorated function is, if it is one."""
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, Task) else None


def _make(
    function: Callable[..., Any],
    name: str | None,
    effects: Effects,
    timeout: float | None,
    retry: RetryPolicy | None,
    isolation: Isolation,
    calls: tuple[str, ...],
    version: int | None,
) -> Task:
    if version is not None and version < 1:
        raise _wrong(function, f"version={version}", "1 or more, or none")
    short = name or function.__name__
    full = short if "." in short else f"{function.__module__}.{short}"
    return Task(
        name=full if version is None else f"{full}@{version}", version=version or 0,
        operation_id=full.rpartition(".")[2], function=function, effects=effects,
        module=function.__module__, place=_place_of(function),
        summary=(inspect.getdoc(function) or "").partition("\n")[0],
        is_async=inspect.iscoroutinefunction(function),
        signature=read_signature(function), retry=retry, timeout_seconds=timeout,
        isolation=isolation, calls=calls,
    )  # fmt: skip


def _place_of(function: Callable[..., Any]) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def _effects(
    function: Callable[..., Any],
    given: EffectsName | Effects | None,
    isolation: Isolation,
    calls: tuple[str, ...],
) -> Effects:
    """As given; without it, what is surely true."""
    if isolation is Isolation.NONE:
        if calls:
            raise _wrong(
                function, f"calls={calls!r} without isolation='process'",
                "none: what runs in the worker calls whatever it likes",
            )  # fmt: skip
        return Effects(given or Effects.UNKEYED)
    if calls:
        return Effects(given or Effects.UNKEYED)
    if given is not None and Effects(given) is not Effects.NONE:
        raise _wrong(
            function, f"effects={str(Effects(given))!r} beside isolation='process'",
            "none, or `calls`: an isolated function reaches nothing else that it could change",
        )  # fmt: skip
    return Effects.NONE


def _wrong(function: Callable[..., Any], found: str, wanted: str) -> InvalidSetting:
    problem = Problem(place=_place_of(function), found=found, wanted=wanted)
    return InvalidSetting(f"{function.__qualname__} cannot be a task", problems=[problem])


class TaskRegistry:
    """The functions of a deployment by name. Immutable once made."""

    def __init__(
        self,
        tasks: Iterable[Task] = (),
        *,
        modules: Iterable[ModuleType] = (),
        apart: Iterable[str] = (),
    ) -> None:
        """`modules` are imported; `apart` are names of those that only sandboxes import."""
        self.modules, self.apart = tuple(modules), tuple(apart)
        self._by_name: dict[str, Task] = {}
        self._by_operation: dict[str, Task] = {}
        for item in tasks:
            self._add(item)

    def names(self) -> list[str]:
        """The registered names, sorted."""
        return sorted(self._by_name)

    def get(self, name: str) -> Task | None:
        """The task with this registered name."""
        return self._by_name.get(name)

    def operation(self, operation_id: str) -> Task | None:
        """The task with this name in documents; the registered name serves as well."""
        return self._by_operation.get(operation_id) or self._by_name.get(operation_id)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._by_name.values())

    def document(self) -> Mapping[str, Any]:
        """The OpenAPI document that stands behind `url: "tasks:"`."""
        return {
            "openapi": "3.1.0",
            "info": {"title": "Python tasks of this deployment", "version": "1"},
            "paths": {
                f"/{name}": {"post": _operation(self._by_name[name])} for name in self.names()
            },
        }

    def _add(self, item: Task) -> None:
        same = self._by_operation.get(item.operation_id)
        if same is not None and same.version != item.version and same.bare_name == item.bare_name:
            if item.version > same.version:
                self._by_operation[item.operation_id] = item
        elif same is not None and same.function is not item.function:
            raise _second(item, item.operation_id, same)
        else:
            self._by_operation[item.operation_id] = item
        other = self._by_name.setdefault(item.name, item)
        if other.function is not item.function:
            raise _second(item, item.name, other)


def _second(item: Task, key: str, other: Task) -> InvalidSetting:
    problem = Problem(
        place=item.place, found=f"a second task {key!r}",
        wanted=f"a name that the task at {other.place} does not have, or another version of it",
    )  # fmt: skip
    return InvalidSetting("two tasks have the same name", problems=[problem])


def _operation(item: Task) -> dict[str, Any]:
    return {
        "operationId": item.operation_id,
        "summary": item.summary,
        "x-effects": str(item.effects),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": item.signature.arguments_schema()}},
        },
        "responses": {
            "200": {
                "description": "What the function returned.",
                "content": {"application/json": {"schema": item.signature.result_schema()}},
            }
        },
    }
