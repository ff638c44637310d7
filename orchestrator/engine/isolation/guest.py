"""What runs in a sandbox: ``guest.py BOOT [ASKS HEARS]`` reads a request, calls a function,
writes an answer.

Started by path in an isolated interpreter, so nothing but the standard library is there until the
limits hold. BOOT is `{"path": […], "limits": {"AS": 536870912, …}}`: what becomes `sys.path`, and
resource limits by the names of `resource.RLIMIT_…`. ASKS and HEARS are descriptors on which calls
of APIs are asked for (calling.py).

    request   {"module": "tasks.x", "task": "tasks.x.f", "arguments": {…}, "context": {…} | null}
    answer    {"result": {…}}, or one of the outcomes in `_outcome`; one line

    request   {"describe": ["tasks.x", …]}
    answer    {"tasks": […]}, or {"refused": {"place": …, "found": …, "wanted": …}}

The answer goes to what was standard output at the start; what the function prints goes to standard
error. Nothing here protects anything: the function shares this process and may do all it can. What
holds it is outside (sandbox.py), and what is believed of its answers is checked there (crew.py).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any


def main(boot: dict[str, Any], line: list[int]) -> None:
    """Serve one request. Does not return."""
    answers = os.dup(1)
    os.dup2(2, 1)
    # A second before the kernel kills it there is a warning, which lets it say why it dies.
    signal.signal(signal.SIGXCPU, lambda *_: os._exit(128 + signal.SIGXCPU))
    for name, most in boot["limits"].items():
        soft = most - 1 if name == "CPU" else most
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (soft, most))
    sys.path[:] = boot["path"]
    import orchestrator.definitions.tasks  # noqa: F401, PLC0415 - loaded while nobody waits yet

    if line:
        from orchestrator.definitions.calling import open_line  # noqa: PLC0415 - after the limits

        open_line(*line)
    text = sys.stdin.buffer.read()
    if text:
        _write(answers, _answered(json.loads(text)))
    os._exit(0)  # what the function has left behind (threads, exit handlers) is not waited for


def _answered(request: dict[str, Any]) -> bytes:
    try:
        answer = _described(request) if "describe" in request else _call(request)
    except MemoryError:
        answer = {"exhausted": "memory"}
    except BaseException as error:  # noqa: BLE001 - whatever a function raises is its outcome
        answer = _outcome(error)
    return json.dumps(answer).encode() + b"\n"


def _call(request: dict[str, Any]) -> dict[str, Any]:
    import importlib  # noqa: PLC0415 - after the limits

    from orchestrator.definitions.tasks import task_of  # noqa: PLC0415 - found by the given path

    if not request["module"]:  # a rehearsal: it got as far as this
        return {"result": {}}
    try:
        module = importlib.import_module(request["module"])
    except ImportError as error:
        return {"missing": f"{type(error).__name__}: {error}"}
    tasks = (task_of(value) for value in vars(module).values())
    task = next((item for item in tasks if item is not None and item.name == request["task"]), None)
    if task is None:
        return {"missing": f"{request['module']} has no task {request['task']}"}
    return _shown(_result(task, request))


def _described(request: dict[str, Any]) -> dict[str, Any]:
    """The tasks of these modules: all are isolated, whatever they say of themselves."""
    from orchestrator.definitions.task_descriptions import described  # noqa: PLC0415 - found by the given path
    from orchestrator.definitions.task_modules import import_module  # noqa: PLC0415 - the same
    from orchestrator.definitions.tasks import task_of  # noqa: PLC0415 - the same
    from orchestrator.errors import InvalidSetting  # noqa: PLC0415 - the same

    try:
        modules = [import_module(name) for name in request["describe"]]
    except InvalidSetting as error:
        (problem,) = error.problems
        told = {"place": problem.place, "found": problem.found, "wanted": problem.wanted}
        return {"refused": told}
    tasks = {
        task.name: task
        for module in modules
        for task in map(task_of, vars(module).values())
        if task is not None and task.module == module.__name__
    }
    return {"tasks": [described(each) for each in tasks.values()]}


def _result(task: Any, request: dict[str, Any]) -> Any:
    arguments = request["arguments"]
    if request["context"] is not None:
        arguments["context"] = _context(request["context"])
    if not task.is_async:
        return task.function(**arguments)
    import asyncio  # noqa: PLC0415 - only where it is needed: it costs 20 ms

    return asyncio.run(task.function(**arguments))


def _context(given: dict[str, Any]) -> Any:
    from orchestrator.core.states import Direction  # noqa: PLC0415 - found by the given path
    from orchestrator.definitions.tasks import TaskContext  # noqa: PLC0415 - the same

    return TaskContext(**{**given, "direction": Direction(given["direction"])})


def _shown(result: Any) -> dict[str, Any]:
    """Ours are the rules of tasks that run in the worker, so its encoder is asked."""
    import orjson  # noqa: PLC0415 - found by the given path

    try:
        text = b"{}" if result is None else orjson.dumps(result)
    except TypeError as error:
        return {"unreadable": f"returned what is not JSON: {error}"}
    if not text.startswith(b"{"):
        return {"unreadable": f"returned {type(result).__name__}, not a JSON object"}
    return {"result": json.loads(text)}


def _outcome(error: BaseException) -> dict[str, Any]:
    from orchestrator.errors import NotLanded, StepError  # noqa: PLC0415 - found by the given path

    if not isinstance(error, StepError):
        return {"raised": f"{type(error).__name__}: {error}"}
    said = {"reason": error.reason, "retry_after_seconds": error.retry_after_seconds}
    if not isinstance(error, NotLanded):
        return {"in_doubt": said}
    return {"not_landed": {**said, "retryable": error.retryable}}


def _write(answers: int, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(answers, rest) :]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), [*map(int, sys.argv[2:])])
