"""From files to validated plans: the one door for both front ends."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import with_digest
from orchestrator.definitions.api_builder import ApiWorkflow, as_document, as_yaml
from orchestrator.definitions.arazzo import ReadWorkflow
from orchestrator.definitions.arazzo_validation import read_and_validate
from orchestrator.definitions.authoring import Workflow, begun_by
from orchestrator.definitions.builder import plan_and_warnings
from orchestrator.definitions.document import (
    WORKFLOWS,
    Document,
    parse_document,
    read_document,
    read_text,
)
from orchestrator.definitions.problems import Findings
from orchestrator.definitions.saying import said_of_operations
from orchestrator.definitions.task_modules import import_failure
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import InvalidDefinition, InvalidSetting, NotFound, Problem, RefusedError

PATTERNS = ("*.arazzo.yaml", "*.arazzo.yml", "*.arazzo.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """One validated workflow."""

    plan: Plan
    document: str  # the text it came from
    warnings: tuple[str, ...] = ()
    operations: str = ""  # what the APIs say about those that it calls
    path: Path | None = None  # of another document than the one asked for, which begins its runs


def load_document(
    path: Path,
    *,
    workflow_id: str | None = None,
    tasks: TaskRegistry | None = None,
    effects_may_stay: bool = False,
) -> list[Loaded]:
    """The workflows of an Arazzo document, with those of other documents that their runs begin; or
    the one named.

    `effects_may_stay`: a step with an effect, and neither a compensation nor a reason for none, is
    warned of instead of refused, so that documents which know no compensation can be published.

    Raises InvalidDefinition with every problem of the document at once, or NotFound.
    """
    document = read_document(path, limits=WORKFLOWS)
    return load_read(
        document, folder=path.parent, workflow_id=workflow_id, tasks=tasks,
        effects_may_stay=effects_may_stay,
    )  # fmt: skip


def load_read(
    document: Document,
    *,
    folder: Path,
    workflow_id: str | None = None,
    tasks: TaskRegistry | None = None,
    effects_may_stay: bool = False,
) -> list[Loaded]:
    """The same of a document that has been read; its sources lie in `folder`."""
    findings = Findings()
    read = read_and_validate(
        document, folder=folder, tasks=tasks or TaskRegistry(), findings=findings,
        workflow_id=workflow_id, effects_may_stay=effects_may_stay,
    )  # fmt: skip
    findings.raise_if_any(f"{document.name} does not validate")
    said = said_of_operations(document, folder=folder, tasks=tasks or TaskRegistry())
    own = [
        Loaded(
            plan=with_digest(item.plan),
            operations=said.get(item.plan.workflow, ""),
            document=document.text,
            warnings=findings.warnings_in(item.pointer),
        )
        for item in read if item.at.document is document
    ]  # fmt: skip
    others = (item for item in read if item.at.document is not document)
    return [*own, *(_of_another(item, tasks or TaskRegistry(), findings) for item in others)]


def _of_another(item: ReadWorkflow, tasks: TaskRegistry, findings: Findings) -> Loaded:
    """A workflow that is published with those of the document which begins its runs."""
    document = item.at.document
    said = said_of_operations(document, folder=item.folder, tasks=tasks)
    return Loaded(
        plan=with_digest(item.plan), operations=said.get(item.plan.workflow, ""),
        document=document.text, path=item.folder / document.name,
        warnings=tuple(
            text for text in findings.warnings_in(item.pointer)
            if text.startswith(document.name)
        ),
    )  # fmt: skip


def load_path(
    path: Path, *, tasks: TaskRegistry | None = None, effects_may_stay: bool = False
) -> list[Loaded]:
    """The workflows of a document, of a Python module, or of a folder of either.

    All or nothing. Raises InvalidDefinition with every problem of every file, or NotFound.
    """
    registry = tasks or TaskRegistry()
    if not path.is_dir():
        return _load_file(path, registry, effects_may_stay)
    loaded: dict[str, Loaded] = {}
    problems: list[Problem] = []
    for file in _files(path):
        try:
            problems += _merge(loaded, file, _load_file(file, registry, effects_may_stay))
        except RefusedError as error:
            problems += error.problems
    if problems:
        raise InvalidDefinition(f"{path} does not validate", problems=problems)
    if not loaded:
        wanted = f"files {', '.join(PATTERNS)}, or Python modules with a Workflow"
        problem = Problem(place=str(path), found="no workflow", wanted=wanted)
        raise NotFound(f"there is nothing to publish in {path}", problems=[problem])
    return list(loaded.values())


def _merge(loaded: dict[str, Loaded], file: Path, more: list[Loaded]) -> list[Problem]:
    """Add a file's workflows; one that a second module merely imports counts once."""
    problems = []
    for item in more:
        name = item.plan.workflow
        if loaded.setdefault(name, item).plan.digest != item.plan.digest:
            wanted = "one workflow of that name in the folder"
            problems.append(
                Problem(place=str(file), found=f"another workflow {name}", wanted=wanted)
            )
    return problems


def _files(folder: Path) -> list[Path]:
    """Documents first; of a package its inner modules too."""
    documents = sorted({file for pattern in PATTERNS for file in folder.glob(pattern)})
    is_package = (folder / "__init__.py").exists()
    modules = folder.rglob("*.py") if is_package else folder.glob("*.py")
    return [*documents, *sorted(modules)]


def _load_file(path: Path, tasks: TaskRegistry, effects_may_stay: bool) -> list[Loaded]:
    if path.suffix == ".py":
        return load_module(path, tasks=tasks)
    return load_document(path, tasks=tasks, effects_may_stay=effects_may_stay)


def load_module(path: Path, *, tasks: TaskRegistry) -> list[Loaded]:
    """The workflows of a Python file. Raises NotFound, InvalidSetting when it does not import."""
    text = read_text(path, limits=WORKFLOWS, wanted="a Python module")
    module = _module_of(path, tasks)
    found: list[Workflow] = []
    for value in vars(module).values():
        if isinstance(value, Workflow):
            found += (each for each in (*begun_by(value), value) if each not in found)
    loaded = [
        Loaded(plan=plan, document=text, warnings=warnings)
        for plan, warnings in (plan_and_warnings(item, tasks=tasks) for item in found)
    ]
    written = _document_of(module, path)
    return loaded if written is None else [
        *loaded, *(load_read(written, folder=path.parent, tasks=tasks))
    ]  # fmt: skip


def export_module(path: Path, *, tasks: TaskRegistry) -> str:
    """The workflows over APIs of a Python file as one Arazzo document, validated.

    Raises InvalidDefinition, or NotFound when there are none.
    """
    read_text(path, limits=WORKFLOWS, wanted="a Python module")
    written = _document_of(_module_of(path, tasks), path)
    if written is None:
        problem = Problem(
            place=str(path), found="no ApiWorkflow", wanted="workflows whose steps are operations"
        )
        raise NotFound("there is nothing to export", problems=[problem])
    load_read(written, folder=path.parent, tasks=tasks)
    return written.text


def _document_of(module: ModuleType, path: Path) -> Document | None:
    """The document that a module's workflows over APIs stand for."""
    found = [value for value in vars(module).values() if isinstance(value, ApiWorkflow)]
    if not found:
        return None
    text = as_yaml(as_document(found, title=path.stem))
    return parse_document(text, name=f"{path.name} exported")  # its lines are not the module's


def _module_of(path: Path, tasks: TaskRegistry) -> ModuleType:
    """The module that the registry has imported from this file, or a new one."""
    for module in tasks.modules:
        origin = getattr(module, "__file__", None)
        if origin is not None and Path(origin).resolve() == path.resolve():
            return module
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        problem = Problem(place=str(path), found="another kind of file", wanted="a Python module")
        raise InvalidSetting(f"{path} cannot be imported", problems=[problem])
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever somebody's module raises
        raise import_failure(path.stem, error) from error
    return module
