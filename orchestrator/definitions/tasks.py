"""Python functions as steps.

    @task(effects="none")
    def price(unit_price: int, quantity: int) -> dict[str, int]:
        return {"total": unit_price * quantity}

The decorator leaves the function as it is (call it in tests); `load_tasks` finds what is decorated
in a deployment's modules. A function takes keyword arguments and, if it names one `context`, a
TaskContext. It returns a JSON object, or None. To say what became of its effect it raises NotLanded
or InDoubt; any other exception counts as in doubt, unless the task's effects are none.

With `isolation="process"` the function runs in a process of its own, for that one call, which sees
neither secrets nor network nor other files; so it has no effects but its result.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
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
    """A registered function."""

    name: str  # the Celery task's name: "tasks.checkout.price"
    operation_id: str  # its name in documents: "price"
    function: Callable[..., Any]
    effects: Effects
    signature: Signature
    retry: RetryPolicy | None = None  # None: the default policy
    timeout_seconds: float | None = None  # None: the engine's default
    isolation: Isolation = Isolation.NONE

    @property
    def is_async(self) -> bool:
        """Whether it runs in the event loop; a plain function runs in a thread."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def takes_context(self) -> bool:
        """Whether it wants a TaskContext as `context`."""
        return self.signature.takes_context

    @property
    def place(self) -> str:
        """File and line of the function."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"


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
) -> F | Callable[[F], F]:
    """Make a function a step of workflows. Without `effects` it is never repeated while in doubt.

    `name` is its name in documents (default: the function's), or with dots the whole registered
    name; `timeout` in seconds. Raises InvalidSetting for a signature that cannot be called by name,
    and for effects of a function that is isolated.
    """
    apart = Isolation(isolation)

    def register(decorated: F) -> F:
        made = _make(decorated, name, _effects(decorated, effects, apart), timeout, retry, apart)
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
) -> Task:
    short = name or function.__name__
    full = short if "." in short else f"{function.__module__}.{short}"
    return Task(
        name=full, operation_id=full.rpartition(".")[2], function=function, effects=effects,
        signature=read_signature(function), retry=retry, timeout_seconds=timeout,
        isolation=isolation,
    )  # fmt: skip


def _effects(
    function: Callable[..., Any], given: EffectsName | Effects | None, isolation: Isolation
) -> Effects:
    """As given; without it, what is surely true."""
    if isolation is Isolation.NONE:
        return Effects(given or Effects.UNKEYED)
    if given is not None and Effects(given) is not Effects.NONE:
        code = inspect.unwrap(function).__code__
        problem = Problem(
            place=f"{code.co_filename}:{code.co_firstlineno}",
            found=f"effects={str(Effects(given))!r} beside isolation='process'",
            wanted="none: an isolated function reaches nothing that it could change",
        )  # fmt: skip
        raise InvalidSetting(f"{function.__qualname__} cannot be a task", problems=[problem])
    return Effects.NONE


class TaskRegistry:
    """The functions of a deployment by name. Immutable once made."""

    def __init__(self, tasks: Iterable[Task] = (), *, modules: Iterable[ModuleType] = ()) -> None:
        self.modules = tuple(modules)
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
        for known, key in ((self._by_name, item.name), (self._by_operation, item.operation_id)):
            other = known.setdefault(key, item)
            if other.function is not item.function:
                problem = Problem(
                    place=item.place, found=f"a second task {key!r}",
                    wanted=f"a name that the task at {other.place} does not have",
                )  # fmt: skip
                raise InvalidSetting("two tasks have the same name", problems=[problem])


def _operation(item: Task) -> dict[str, Any]:
    doc = inspect.getdoc(item.function) or ""
    return {
        "operationId": item.operation_id,
        "summary": doc.partition("\n")[0],
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


# --- finding them ---------------------------------------------------------------------------------


def load_tasks(module_names: Iterable[str]) -> TaskRegistry:
    """Import a deployment's modules, the packages among them whole, and collect their tasks.

    Raises InvalidSetting that names file, line and error when one does not import. The name
    `tasks` may be missing altogether: a deployment without functions of its own has none.
    """
    modules: list[ModuleType] = []
    for name in module_names:
        if not _exists(name):
            continue
        modules += _import_tree(name)
    found = (task_of(value) for module in modules for value in vars(module).values())
    return TaskRegistry((item for item in found if item is not None), modules=modules)


def _exists(name: str) -> bool:
    """False only for the default package `tasks` where nobody has made one."""
    if name != "tasks":
        return True
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _import_tree(name: str) -> list[ModuleType]:
    module = import_module(name)
    inner = [
        import_module(info.name)
        for info in pkgutil.walk_packages(getattr(module, "__path__", ()), prefix=f"{name}.")
    ]
    return [module, *inner]


def import_module(name: str) -> ModuleType:
    """Import one module. Raises InvalidSetting naming file, line and error."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a deployment's module raises
        raise import_failure(name, error) from error


def import_failure(name: str, error: Exception) -> InvalidSetting:
    """The error for a module that does not import: the innermost line outside the import system."""
    found = f"{type(error).__name__}: {error}"
    problem = Problem(place=_place_of(error, name), found=found, wanted="a module that imports")
    return InvalidSetting(f"the task module {name} does not import", problems=[problem])


def _place_of(error: Exception, name: str) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen ") and frame.filename != __file__
        and frame.filename != importlib.__file__
    ]  # fmt: skip
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else name
