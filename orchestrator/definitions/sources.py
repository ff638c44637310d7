"""The `sourceDescriptions` of a workflow document, and the operations found in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.plan import WAITING
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.local_files import local_path
from orchestrator.definitions.openapi import OpenApiDocument, Operation
from orchestrator.definitions.tasks import Task, TaskRegistry
from orchestrator.definitions.waiting import OPERATIONS, WAITS_URL, Asking
from orchestrator.errors import RefusedError

TASKS_URL = "tasks:"
TASKS_API = "tasks"

_FEW = 12  # so many operations fit into a message
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
QUALIFIED = re.compile(r"\$sourceDescriptions\.([A-Za-z0-9_-]+)\.(.+)")
_SHORT = re.compile(r"([A-Za-z0-9_-]+)\.(.+)")
# As the specification has it, `{$sourceDescriptions.NAME.url}#/paths/~1PATH/METHOD`, and as
# documents in use have it: without braces, without `.url`, with the bare name.
_PATH = re.compile(
    r"\{?(?:\$sourceDescriptions\.)?([A-Za-z0-9_-]+?)(?:\.url)?\}?#/paths/(.+?)"
    r"(?:/(get|put|post|delete|options|head|patch|trace))?",
    re.IGNORECASE,
)
# As one generator writes it: `GET {NAME}./PATH`.
_METHOD_FIRST = re.compile(
    r"(get|put|post|delete|options|head|patch|trace) \{([A-Za-z0-9_-]+)\}\.?(/.*)", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a step calls: an operation of an API, a Python function, or somebody who answers."""

    api: str
    operation: Operation | None = None
    task: Task | None = None
    asking: Asking | None = None
    secrets: tuple[str, ...] = ()  # names of the operation's fields that its schemas call so

    @property
    def is_read(self) -> bool:
        """Whether it could be read; if not, that is noted."""
        return bool(self.operation or self.task or self.asking)


_Waits = Mapping[str, Asking]
_Source = OpenApiDocument | TaskRegistry | _Waits


@dataclass(slots=True)
class Sources:
    """Sources by name. One that cannot be read is noted once, and None."""

    _found: dict[str, _Source | None] = field(default_factory=dict)
    workflows: dict[str, Cursor] = field(default_factory=dict)
    """By name: the paths of other workflow documents, as they stand in this one."""

    @staticmethod
    def of(root: Cursor, *, folder: Path, tasks: TaskRegistry) -> Sources:
        """Read every source of a document."""
        sources = Sources()
        items = root.items("sourceDescriptions")
        if not items:
            root.bad("the field sourceDescriptions, with at least one source", found="no source")
        for item in items:
            sources._add(item, folder, tasks)
        return sources

    def _add(self, item: Cursor, folder: Path, tasks: TaskRegistry) -> None:
        if not item.is_object():
            return
        item.only({"name", "url", "type"})
        name, url = item.text("name", required=True), item.text("url", required=True)
        kind = item.choice("type", ("openapi", "arazzo", "asyncapi")) or "openapi"
        if name is None or url is None:
            return
        if not _NAME.fullmatch(name):
            item.child("name", name).bad("a name of letters, digits, - and _")
        if name in self._found or name in self.workflows:
            item.child("name", name).bad("a name that no other source has")
        if kind == "arazzo":
            path = local_path(item.child("url", url), folder)
            if path is not None:
                self.workflows[name] = item.child("url", path)
            return
        self._found[name] = None
        if kind != "openapi":
            item.child("type", kind).bad(
                "openapi or arazzo; AsyncAPI's messages are not sent or received"
            )
        elif url == TASKS_URL:
            self._found[name] = tasks
        elif url == WAITS_URL:
            self._found[name] = OPERATIONS
        else:
            self._found[name] = _read(item.child("url", url), folder)

    def document(self, name: str) -> OpenApiDocument | None:
        """The API's document of that name; None when it is none, or could not be read."""
        found = self._found.get(name)
        return found if isinstance(found, OpenApiDocument) else None

    # --- finding operations -----------------------------------------------------------------------

    def by_id(self, at: Cursor) -> Target | None:
        """The target of an `operationId`, plain or qualified; noted when there is none."""
        text = at.value
        if not isinstance(text, str):
            at.bad("an operationId")
            return None
        qualified = QUALIFIED.fullmatch(text)
        if qualified is not None:
            return self._in_source(at, qualified[1], qualified[2])
        if text.startswith("$"):
            at.bad("an operationId, or $sourceDescriptions.NAME.OPERATIONID")
            return None
        return self._anywhere(at, text)

    def by_path(self, at: Cursor) -> Target | None:
        """The target of an `operationPath`; noted when there is none."""
        parts = _parts(at.value) if isinstance(at.value, str) else None
        if parts is None:
            at.bad("'{$sourceDescriptions.NAME.url}#/paths/~1PATH/METHOD'")
            return None
        name, path, method = parts
        source = self._source(at, name)
        if not isinstance(source, OpenApiDocument):
            if source is not None:
                at.bad("an operationId: what is no API has no paths")
            return None
        operation = source.operation_by_pointer(path, method)
        if operation is None:
            at.bad(f"a path and method of {source.name}")
            return None
        return Target(api=name, operation=operation, secrets=source.secret_names(operation))

    def _source(self, at: Cursor, name: str) -> _Source | None:
        if name not in self._found:
            at.bad("a source of this document: " + ", ".join(sorted(self._found)))
        return self._found.get(name)

    def _in_source(self, at: Cursor, name: str, operation_id: str) -> Target | None:
        source = self._source(at, name)
        if source is None:
            return None
        target = self._lookup(at, name, source, operation_id)
        if target is None:
            at.bad(f"an operation of {name}{_similar(source, operation_id)}")
        return target

    def _anywhere(self, at: Cursor, operation_id: str) -> Target | None:
        known = {name: source for name, source in self._found.items() if source is not None}
        found = [
            target for name, source in known.items()
            if (target := self._lookup(at, name, source, operation_id)) is not None
        ]  # fmt: skip
        short = _SHORT.fullmatch(operation_id)
        if not found and short is not None and short[1] in known:  # `NAME.OPERATIONID`
            return self._in_source(at, short[1], short[2])
        if len(found) == 1:
            return found[0]
        if found:
            names = " and ".join(f"$sourceDescriptions.{t.api}.{operation_id}" for t in found)
            at.bad(f"one of {names}", found=f"{operation_id!r}, which several sources have")
        elif len(known) == len(self._found):
            hints = "".join(_similar(source, operation_id) for source in known.values())
            at.bad(f"an operation of {', '.join(known) or 'a source'}{hints}")
        return None

    def _lookup(self, at: Cursor, name: str, source: _Source, operation_id: str) -> Target | None:
        if isinstance(source, Mapping):
            asking = source.get(operation_id)
            return None if asking is None else Target(api=WAITING, asking=asking)
        if isinstance(source, TaskRegistry):
            found = source.operation(operation_id)
            return None if found is None else Target(api=TASKS_API, task=found)
        try:
            operation = source.operation(operation_id)
        except RefusedError as error:
            at.findings.problems += error.problems
            return Target(api=name)
        if operation is None:
            return None
        return Target(api=name, operation=operation, secrets=source.secret_names(operation))


def _parts(operation_path: str) -> tuple[str, str, str | None] | None:
    """Source, path and method of an `operationPath`."""
    found = _PATH.fullmatch(operation_path)
    if found is not None:
        return found[1], found[2], found[3]
    found = _METHOD_FIRST.fullmatch(operation_path)
    return None if found is None else (found[2], found[3], found[1])


def _read(at: Cursor, folder: Path) -> OpenApiDocument | None:
    url = local_path(at, folder)
    if url is None:
        return None
    try:
        return OpenApiDocument.read(folder / url)
    except RefusedError as error:
        reasons = "; ".join(f"{p.place}: {p.found}" for p in error.problems)
        at.bad("an OpenAPI document that can be read", found=f"{url}, but {reasons}")
        return None


def _similar(source: _Source, operation_id: str) -> str:
    """`; did you mean x?` where something is spelt nearly the same, else what there is."""
    import difflib  # noqa: PLC0415 - needed only for a message

    known = _operation_ids(source)
    close = [each for each in known if each.casefold() == operation_id.casefold()][:1]
    # Closer than by default: getOrder is no misspelt deleteOrder.
    close = close or difflib.get_close_matches(operation_id, known, n=1, cutoff=0.8)
    if close:
        return f"; did you mean {close[0]}?"
    return f": {', '.join(known)}" if len(known) <= _FEW else ""


def _operation_ids(source: _Source) -> list[str]:
    if isinstance(source, Mapping):
        return list(source)
    if isinstance(source, TaskRegistry):
        return [item.operation_id for item in source]
    return list(source.operation_ids())
