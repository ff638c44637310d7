"""The workflows of a document, and of those that it names as sources of type `arazzo`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.definitions.arazzo_calls import Context
from orchestrator.definitions.arazzo_chain import Found
from orchestrator.definitions.arazzo_parts import identifier, resolved
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import WORKFLOWS, Document, read_document
from orchestrator.definitions.inputs import schema_problems
from orchestrator.definitions.sources import QUALIFIED, Sources
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import RefusedError

MAX_REFERENCES = 50
_ROOT = {"arazzo", "info", "sourceDescriptions", "workflows", "components", "$self", "$schema"}


class Library:
    """One document. Others are read when a workflow of theirs is called, each once."""

    def __init__(
        self, root: Cursor, *, folder: Path, tasks: TaskRegistry,
        known: dict[Path, Library | None] | None = None,
    ) -> None:  # fmt: skip
        root.only(_ROOT)
        _check_version(root)
        _check_self(root)
        self._root, self._folder, self._tasks = root, folder, tasks
        # Of all documents that lead to each other; this one is never read a second time.
        self._known = {} if known is None else known
        self._known[(folder / root.document.name).resolve()] = self
        self._components = root.get("components")
        self._sources = Sources.of(root, folder=folder, tasks=tasks)
        self.items = [item for item in root.items("workflows") if item.is_object()]
        if not self.items:
            root.bad("the field workflows, with at least one workflow", found="no workflow")
        _check_unique(self.items, "workflowId")

    @property
    def document(self) -> Document:
        """The one that it reads."""
        return self._root.document

    def documents(self) -> list[Document]:
        """This one and all that were read for it so far."""
        return [each.document for each in self._known.values() if each is not None]

    def of(self, document: Document) -> Library:
        """That of a document that was read for it."""
        read = (each for each in self._known.values() if each is not None)
        return next(each for each in read if each.document is document)

    @property
    def folder(self) -> Path:
        """In which its sources lie."""
        return self._folder

    def found(self, at: Cursor) -> Found:
        """One of its workflows."""
        items = [item for item in at.items("steps") if item.is_object()]
        _check_unique(items, "stepId")
        shared = (resolved(item, self._components) for item in at.items("parameters"))
        parameters = tuple(item for item in shared if item is not None and item.is_object())
        return Found(
            name=identifier(at, "workflowId"), at=at, schema=self._inputs(at), find=self._named,
            context=Context(self._sources, self._components, parameters),
        )  # fmt: skip

    def _named(self, item: Cursor) -> Found | None:
        """The workflow that a workflowId names, here or in a source; noted when there is none."""
        qualified = QUALIFIED.fullmatch(item.value) if isinstance(item.value, str) else None
        if qualified is None:
            return self.own(item, item.value, "this document")
        name, workflow = qualified.groups()
        other = self._other(item, name)
        if other is None:
            return None
        # `workflows.ID` is how some tools write it.
        return other.own(item, workflow.removeprefix("workflows."), name)

    def own(self, item: Cursor, wanted: Any, where: str) -> Found | None:
        """The workflow of that id in this document, called `where` in a message."""
        for one in self.items:
            if one.value.get("workflowId") == wanted:
                return self.found(one)
        known = ", ".join(str(one.value.get("workflowId")) for one in self.items)
        item.bad(f"a workflow of {where}: {known}")
        return None

    def _other(self, item: Cursor, name: str) -> Library | None:
        at = self._sources.workflows.get(name)
        if at is None:
            known = ", ".join(self._sources.workflows) or "there is none"
            item.bad(f"a source of type arazzo: {known}")
            return None
        path = (self._folder / str(at.value)).resolve()
        if path not in self._known:
            self._known[path] = self._read(at, path)
        return self._known[path]

    def _read(self, at: Cursor, path: Path) -> Library | None:
        try:
            document = read_document(path, limits=WORKFLOWS)
        except RefusedError as error:
            reasons = "; ".join(f"{p.place}: {p.found}" for p in error.problems)
            at.bad("a workflow document that can be read", found=f"{at.value}, but {reasons}")
            return None
        root = Cursor(document, at.findings, document.value)
        if not root.is_object():
            return None
        return Library(root, folder=path.parent, tasks=self._tasks, known=self._known)

    def _inputs(self, of: Cursor) -> Mapping[str, Any]:
        at = of.get("inputs")
        if at is None:
            return {}
        schema = _with_components(at.value, self._components)
        for path, found, wanted in schema_problems(schema):
            at.findings.add(at.document.place((*at.path, *path)), found, wanted)
        return schema if isinstance(schema, Mapping) else {}


def _check_version(root: Cursor) -> None:
    version = root.text("arazzo", required=True)
    if version is not None and not re.fullmatch(r"1\.[01]\.\d+(-.+)?", version):
        root.child("arazzo", version).bad("version 1.0.x or 1.1.x")


def _check_self(root: Cursor) -> None:
    own = root.text("$self")
    if own is not None and ("#" in own or any(letter.isspace() for letter in own)):
        root.child("$self", own).bad("a URI without a fragment")


def _check_unique(items: list[Cursor], name: str) -> None:
    seen: dict[Any, Cursor] = {}
    for item in items:
        value = item.value.get(name)
        if isinstance(value, str) and seen.setdefault(value, item) is not item:
            item.child(name, value).bad(f"a {name} that is not used at {seen[value].place}")


def _with_components(schema: Any, components: Cursor | None, depth: int = 0) -> Any:
    """The schema with `#/components/inputs/…` written in; other references stay as they are."""
    if isinstance(schema, list):
        return [_with_components(item, components, depth) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    reference = schema.get("$ref")
    prefix = "#/components/inputs/"
    if isinstance(reference, str) and reference.startswith(prefix) and depth < MAX_REFERENCES:
        inputs = None if components is None else components.get("inputs")
        found = None if inputs is None else inputs.get(reference.removeprefix(prefix))
        if found is not None:
            return _with_components(found.value, components, depth + 1)
    return {key: _with_components(value, components, depth) for key, value in schema.items()}
