"""The workflows of a lab with what their APIs' documents say of each call."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from orchestrator.core.plan import Call, PlanStep
from orchestrator.definitions.api_builder import ApiWorkflow, as_document, as_yaml
from orchestrator.definitions.authoring import (
    Child,
    ForEach,
    Parallel,
    Step,
    Workflow,
    begun_by,
)
from orchestrator.definitions.builder import plan_and_warnings
from orchestrator.definitions.checking.apis import ApiOperation
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import WORKFLOWS, Document, parse_document, read_document
from orchestrator.definitions.loading import PATTERNS, Loaded, load_module, load_read
from orchestrator.definitions.problems import Findings
from orchestrator.definitions.program import Program
from orchestrator.definitions.sources import Sources
from orchestrator.definitions.task_modules import load_tasks
from orchestrator.definitions.tasks import Isolation, Task, TaskRegistry, task_of
from orchestrator.errors import NotFound, Problem
from orchestrator.testing.faults import Link, Way
from orchestrator.testing.samples import Documented, documented

Source: TypeAlias = "str | Path | Workflow | ApiWorkflow | Sequence[Definition]"
"""An Arazzo document, a Python file, a folder of either; or a workflow built in Python."""

_USUAL = (200, 201, 202, 204)
_HEADER = re.compile(r"\$response\.header\.([A-Za-z0-9_-]+)")
_POINTER = re.compile(r"\$response\.body#((?:/[A-Za-z0-9_~.-]+)+)")


@dataclass(frozen=True, slots=True)
class Definition:
    """One workflow of a lab."""

    loaded: Loaded
    program: Program
    documents: Sources

    @property
    def name(self) -> str:
        """As the workflow is called."""
        return self.loaded.plan.workflow

    @property
    def steps(self) -> Sequence[PlanStep]:
        """As the plan has them."""
        return self.loaded.plan.steps

    def step(self, step_id: str) -> PlanStep:
        """One of them."""
        return next(step for step in self.steps if step.id == step_id)

    def calls(self, link: Link) -> tuple[Call, ...]:
        """What may be called there: several where an undo depends on how the step went."""
        step = self.step(link.step)
        undos = () if step.compensation is None else step.compensation.calls
        undos = tuple(undo for undo in undos if "nothing" not in undo.template)
        match link.way:
            case Way.DO:
                return (step.call,)
            case Way.UNDO:
                return undos
            case Way.VERIFY:
                return _only(step.call.verify)
            case Way.VERIFY_UNDO:
                return tuple(each for undo in undos for each in _only(undo.verify))

    def links(self) -> Iterator[Link]:
        """Every call of an API or a function, in the order of the plan."""
        for step in self.steps:
            if step.call.is_local or step.call.is_answered:
                continue
            for way in Way:
                if self.calls(Link(step.id, way)):
                    yield Link(step.id, way)

    def documented(self, call: Call) -> Iterator[Documented]:
        """What its API may answer, with all that the step reads of it, the document's own first."""
        template = call.template
        read = json.dumps([template.get("outputs"), template.get("alreadyDone")])
        found, known = self.documents.document(call.api), None
        if found is not None:
            known = found.operation_at(str(template["path"]), str(template["method"]).lower())
        if found is not None and known is not None:
            for answer in documented(ApiOperation(call.api, known, found)):
                yield _completed(answer, read)
        for status in _USUAL:  # where criteria want what no document names
            yield _completed(Documented(status=status, headers={}), read)


def _only(call: Call | None) -> tuple[Call, ...]:
    return () if call is None else (call,)


def _completed(answer: Documented, read: str) -> Documented:
    """With a value wherever the step reads one that the document does not describe."""
    headers = {name.lower(): f"a-{name.lower()}" for name in _HEADER.findall(read)}
    body = answer.body
    for pointer in _POINTER.findall(read):
        body = _with(body, pointer[1:].split("/"))
    return replace(answer, body=body, headers={**headers, **answer.headers})


def _with(value: Any, tokens: Sequence[str]) -> Any:
    """The value with something at the end of this way; what is there stays."""
    if not tokens:
        return "text" if value is None else value
    name = tokens[0].replace("~1", "/").replace("~0", "~")
    if isinstance(value, list):
        if not name.isdecimal():
            return value
        index = int(name)
        longer = [*value, *[None] * (index + 1 - len(value))]
        return [_with(v, tokens[1:]) if i == index else v for i, v in enumerate(longer)]
    if value is None or isinstance(value, Mapping):
        known = value or {}
        return {**known, name: _with(known.get(name), tokens[1:])}
    return value


# --- reading --------------------------------------------------------------------------------------


def read(source: Source, modules: Sequence[str]) -> tuple[list[Definition], TaskRegistry]:
    """The workflows of a source, and the functions that they call.

    Raises InvalidDefinition with every problem, NotFound, InvalidSetting.
    """
    if not isinstance(source, str | Path | Workflow | ApiWorkflow):
        return list(source), TaskRegistry(())  # they were read before, and call no function
    if isinstance(source, Workflow):
        tasks = TaskRegistry(_tasks_in(source))
        workflows = {each.name: each for each in (*begun_by(source), source)}
        return [_built(each, tasks) for each in workflows.values()], tasks
    tasks = _tasks_of(tuple(modules))
    if isinstance(source, ApiWorkflow):
        text = as_yaml(as_document([source], title=source.name))
        document = parse_document(text, name=source.name)
        return _of_document(document, Path.cwd(), tasks), tasks
    found = [each for path in _files(Path(source).resolve()) for each in _of_file(path, tasks)]
    if not found:
        problem = Problem(
            place=str(source), found="no workflow", wanted="a document or Python file"
        )
        raise NotFound("there is nothing to test", problems=[problem])
    return found, tasks


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    return sorted({file for pattern in (*PATTERNS, "*.py") for file in source.glob(pattern)})


def _of_file(path: Path, tasks: TaskRegistry) -> Iterator[Definition]:
    if path.suffix != ".py":
        yield from _of_file_as_it_is(path, _stamps(path), tasks)
        return
    text = path.read_text("utf-8")
    for loaded in load_module(path, tasks=tasks):
        written = loaded.document != text  # by the workflows over APIs of the module
        sources = Sources()
        if written:
            document = parse_document(loaded.document, name=path.name)
            sources = _sources(document, path.parent, tasks)
        yield _definition(loaded, sources)


def _stamps(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What shows that neither the document nor what lies beside it has changed."""
    seen = ((each.name, each.stat()) for each in os.scandir(path.parent) if each.is_file())
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in seen))


@lru_cache(maxsize=32)
def _of_file_as_it_is(path: Path, stamps: object, tasks: TaskRegistry) -> list[Definition]:
    """Reading takes longer than a run, and each test of a workflow reads the same."""
    return _of_document(read_document(path, limits=WORKFLOWS), path.parent, tasks)


@lru_cache(maxsize=32)
def _tasks_of(modules: tuple[str, ...]) -> TaskRegistry:
    return load_tasks(modules)


def _of_document(document: Document, folder: Path, tasks: TaskRegistry) -> list[Definition]:
    loaded = load_read(document, folder=folder, tasks=tasks)
    sources = _sources(document, folder, tasks)
    return [
        _definition(each, sources if each.path is None else _sources_at(each.path, tasks))
        for each in loaded
    ]


def _sources_at(path: Path, tasks: TaskRegistry) -> Sources:
    return _sources(read_document(path, limits=WORKFLOWS), path.parent, tasks)


def _sources(document: Document, folder: Path, tasks: TaskRegistry) -> Sources:
    root = Cursor(document, Findings(), document.value)  # which has been validated
    return Sources.of(root, folder=folder, tasks=tasks)


def _definition(loaded: Loaded, sources: Sources) -> Definition:
    return Definition(loaded, Program(loaded.plan), sources)


def _built(workflow: Workflow, tasks: TaskRegistry) -> Definition:
    plan, warnings = plan_and_warnings(workflow, tasks=tasks)
    return _definition(Loaded(plan=plan, document="", warnings=warnings), Sources())


def _tasks_in(workflow: Workflow) -> Iterator[Task]:
    for step in workflow.steps:
        if isinstance(step, Step):
            for function in (step.function, step.compensate, step.verify):
                found = task_of(function)
                if found is not None:
                    yield found
        elif isinstance(step, ForEach | Child):
            yield from _tasks_in(step.workflow)
        elif isinstance(step, Parallel):
            for branch in step.branches.values():
                yield from _tasks_in(branch)


def unconfined(tasks: TaskRegistry) -> TaskRegistry:
    """The same functions, those of sandboxes among the others: a test runs them where it is."""
    return TaskRegistry(
        (replace(task, isolation=Isolation.NONE) for task in tasks), modules=tasks.modules
    )
