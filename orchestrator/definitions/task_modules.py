"""Finding a deployment's tasks.

Modules are imported, packages among them whole. Those whose functions are isolated are not: workers
and commands would run what stands in them. A module is left alone where its source says that a
function is isolated (seen without running it), or where the deployment says so of the module, which
it need not do itself; then a sandbox imports it, and tells what is in it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from orchestrator.definitions.tasks import Isolation, Task, TaskRegistry, task_of
from orchestrator.errors import InvalidSetting, Problem

Describe = Callable[[Sequence[str]], Iterable[Task]]
"""The tasks of these modules, which are imported elsewhere. Raises InvalidSetting."""


def load_tasks(
    module_names: Iterable[str], *, apart: Collection[str] = (), describe: Describe | None = None
) -> TaskRegistry:
    """Collect the tasks of a deployment's modules; `describe` those that are left alone.

    `apart` are modules or packages all of whose functions are isolated, whatever they say. Raises
    InvalidSetting that names file, line and error when one does not import, or has functions of
    both kinds. The name `tasks` may be missing altogether: a deployment without functions of its
    own has none.
    """
    here: list[str] = []
    there: list[str] = []
    for name in module_names:
        if _exists(name):
            for each, is_apart in _tree(name, apart):
                (there if is_apart else here).append(each)
    before = {name for name in there if name in sys.modules}
    modules = [import_module(name) for name in here]
    for name in there:
        if name in sys.modules and name not in before:
            raise _dragged_in(name)
    found = [task_of(value) for module in modules for value in vars(module).values()]
    told = _told(there, describe) if there else ()
    return TaskRegistry(
        [*(item for item in found if item is not None), *told], modules=modules, apart=there
    )


def _told(names: Sequence[str], describe: Describe | None) -> Iterable[Task]:
    if describe is None:
        problem = Problem(place=names[0], found="a module of isolated functions",
                          wanted="a sandbox that says what is in it")  # fmt: skip
        raise InvalidSetting("isolated tasks cannot be loaded here", problems=[problem])
    return describe(names)


def _dragged_in(name: str) -> InvalidSetting:
    problem = Problem(
        place=f"module {name}", found="an import of it by another task module",
        wanted="none: what stands in it is for sandboxes alone; share code in a third module",
    )  # fmt: skip
    return InvalidSetting("a module of isolated functions was imported", problems=[problem])


def _exists(name: str) -> bool:
    """False only for the default package `tasks` where nobody has made one."""
    if name != "tasks":
        return True
    return name in sys.modules or importlib.util.find_spec(name) is not None


# --- without importing ----------------------------------------------------------------------------


def _tree(name: str, apart: Collection[str]) -> Iterator[tuple[str, bool]]:
    """The module and all within it, and whether each is left alone."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:  # of a parent; ValueError: made without a spec
        if name not in sys.modules:
            raise import_failure(name, error) from error
        spec = None
    if spec is None:
        yield name, False  # importing it says what is wrong
        return
    yield from _within(spec, apart, is_apart=False)


def _within(
    spec: ModuleSpec, apart: Collection[str], *, is_apart: bool
) -> Iterator[tuple[str, bool]]:
    """`is_apart`: the package is, so its modules cannot be imported without it."""
    is_apart = is_apart or spec.name in apart or _says_isolated(spec)
    yield spec.name, is_apart
    folders = spec.submodule_search_locations or []  # None would be the whole path
    for info in pkgutil.iter_modules(folders, prefix=f"{spec.name}."):
        if (inner := PathFinder.find_spec(info.name, folders)) is not None:
            yield from _within(inner, apart, is_apart=is_apart)


def _says_isolated(spec: ModuleSpec) -> bool:
    """Whether the source says that its functions are isolated. Raises InvalidSetting for some."""
    if spec.origin is None or not spec.origin.endswith(".py"):
        return False
    try:
        source = Path(spec.origin).read_bytes()
        if b"isolation" not in source:
            return False
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError):
        return False  # importing it says what is wrong
    kinds = {
        _is_isolated(decorator): node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for decorator in node.decorator_list
        if _is_task(decorator)
    }
    if len(kinds) > 1:
        problem = Problem(
            place=f"{spec.origin}:{kinds[False].lineno}",
            found=f"{kinds[False].name} beside {kinds[True].name}, which is isolated",
            wanted="isolated functions in modules of their own, which workers do not import",
        )  # fmt: skip
        raise InvalidSetting(f"the task module {spec.name} is not loaded", problems=[problem])
    return True in kinds


def _is_task(decorator: ast.expr) -> bool:
    match decorator:
        case ast.Name(id="task") | ast.Attribute(attr="task"):
            return True
        case ast.Call(func=function):
            return _is_task(function)
    return False


def _is_isolated(decorator: ast.expr) -> bool:
    if not isinstance(decorator, ast.Call):
        return False
    said = [each.value for each in decorator.keywords if each.arg == "isolation"]
    match said:
        case [ast.Constant(value=value)]:
            return value == Isolation.PROCESS
        case [ast.Attribute(attr="PROCESS")]:
            return True
    return False


# --- importing ------------------------------------------------------------------------------------


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
