"""What the history of a workflow says about its settings, and the change that would follow.

A change is worked out in the text of the document, or of the API's file, and shown as a difference.
Accepting one writes that text, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from orchestrator.core.impact import apis_of
from orchestrator.core.insights import ApiLimits, Change, Documented, Insight, InsightKind
from orchestrator.core.learning import At, Known, Traffic, learned
from orchestrator.core.windows import Window
from orchestrator.definitions.amending import (
    amended_api,
    amended_document,
    amended_responses,
    unified,
)
from orchestrator.definitions.document import SOURCES, WORKFLOWS, parse_document, read_document
from orchestrator.definitions.drifting import Seen, documented_of
from orchestrator.definitions.editing import CannotEdit
from orchestrator.definitions.loading import PATTERNS, load_read
from orchestrator.definitions.needing import needs_of
from orchestrator.errors import (
    Conflict,
    InvalidDefinition,
    InvalidInput,
    NotFound,
    Problem,
    RefusedError,
)
from orchestrator.ports import WorkflowVersion
from orchestrator.ports.api_windows import ApiWindow, ApiWindowStore
from orchestrator.ports.history import HistoryStore
from orchestrator.service.api_health import quantiles
from orchestrator.service.apis import Apis, ApiView
from orchestrator.service.workflows import Workflows
from orchestrator.service.writing import replace_text

DAYS = 30.0
MOST_DAYS = 365.0
MOST_RUNS = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One insight, with the change that follows from it."""

    id: str  # by which it is accepted
    kind: InsightKind
    about: str
    said: str
    evidence: Mapping[str, float | int | str]
    runs: Sequence[str]  # some of those in which it was so
    change: Change | None
    diff: str  # unified; "" where there is none
    undone: str  # why there is no difference, although there is a change


@dataclass(frozen=True, kw_only=True, slots=True)
class InsightReport:
    """Of which runs it is told, and what was found."""

    workflow: str
    version: int
    since: datetime
    runs: int  # the newest ones, MOST_RUNS at most
    attempts: int
    insights: Sequence[Finding]


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceptedChange:
    """What was written, or set."""

    insight: str
    written: str  # the file; "" where an override was set in place of it
    published: int | None  # version of the workflow, where it was published at once


@dataclass(frozen=True, kw_only=True, slots=True)
class _Edit:
    """One file as it is and as it would be. `path` None: nobody knows where it is."""

    path: Path | None
    name: str
    before: str
    after: str


class _Store(HistoryStore, ApiWindowStore, Protocol):
    """What is needed of the database."""


class Insights:
    """Reads; writes only what is accepted. `documents`: a folder that is searched for them."""

    def __init__(self, store: _Store, apis: Apis, workflows: Workflows, documents: Path) -> None:
        self._store, self._apis, self._workflows = store, apis, workflows
        self._documents = documents

    async def of(
        self, workflow: str, version: int | None = None, *, days: float = DAYS,
        document: Path | None = None,
    ) -> InsightReport:  # fmt: skip
        """Of one version, the newest where none is named. Raises NotFound, InvalidInput.

        `document`: the workflow's file; else the one in the folder that was published.
        """
        if not 0 < days <= MOST_DAYS:
            wanted = f"more than 0, up to {MOST_DAYS:g}"
            problem = Problem(place="days", found=f"{days:g}", wanted=wanted)
            raise InvalidInput("the time is not a possible one", problems=[problem])
        found = await self._store.workflow(workflow, version)
        history = await self._store.history(found, days=days, most_runs=MOST_RUNS)
        known = await self._known(found, days, document)
        insights = await asyncio.to_thread(learned, found.plan, history.tried, known)
        return InsightReport(
            workflow=found.workflow, version=found.version, since=history.since,
            runs=history.runs, attempts=len(history.tried),
            insights=[await self._finding(found, each, document) for each in insights],
        )  # fmt: skip

    async def accept(
        self, workflow: str, insight: str, *, by: str, reason: str = "", diff: str | None = None,
        version: int | None = None, days: float = DAYS, document: Path | None = None,
        publish: bool = False,
    ) -> AcceptedChange:  # fmt: skip
        """Write the change of one insight; of a workflow it may be published at once.

        `diff`: what was shown to who accepts it. Raises NotFound when there is no such insight (any
        more), or no file; Conflict when nothing would be written, or something else than was shown;
        InvalidDefinition or InvalidSetting when the new text would not be valid.
        """
        report = await self.of(workflow, version, days=days, document=document)
        finding = _chosen(report, insight)
        change = finding.change
        if change is None or (diff is not None and diff != finding.diff):
            raise _nothing_to_write(finding, "a change that is the one that was shown")
        why = reason or f"insight {finding.id}: {finding.said}"
        if change.api and await self._is_overridden(change):
            await self._apis.set(change.api, {change.field: change.value}, by=by, reason=why)
            return AcceptedChange(insight=finding.id, written="", published=None)
        found = await self._store.workflow(workflow, version)
        try:
            edit = await self._edit(found, change, document)
        except CannotEdit as error:
            raise _nothing_to_write(finding, f"a change without this: {error}") from None
        if change.operation and edit.path is not None:
            await asyncio.to_thread(replace_text, edit.path, edit.after)
            return AcceptedChange(insight=finding.id, written=str(edit.path), published=None)
        if change.api:
            assert edit.path is not None, "an API's file has a place, written or not"
            await self._apis.write_file(edit.path, edit.after)
            return AcceptedChange(insight=finding.id, written=str(edit.path), published=None)
        return await self._accept_document(found, finding, edit, by=by, publish=publish)

    async def _accept_document(
        self, version: WorkflowVersion, finding: Finding, edit: _Edit, *, by: str, publish: bool
    ) -> AcceptedChange:
        if edit.path is None:
            wanted = f"a file in {self._documents} that says what was published, or its name"
            problem = Problem(place=f"document of {version.workflow}", found="no file",
                              wanted=wanted)  # fmt: skip
            raise NotFound("nobody knows where the document is", problems=[problem])
        path = edit.path
        [loaded] = await asyncio.to_thread(
            lambda: load_read(
                parse_document(edit.after, name=path.name), folder=path.parent,
                workflow_id=version.workflow, tasks=self._workflows.tasks, effects_may_stay=True,
            )
        )  # fmt: skip
        await asyncio.to_thread(replace_text, path, edit.after)
        made = await self._workflows.publish_loaded(loaded, by=by) if publish else None
        return AcceptedChange(
            insight=finding.id, written=str(path),
            published=None if made is None else made.version.version,
        )  # fmt: skip

    # --- what is known beside the attempts --------------------------------------------------------

    async def _known(self, version: WorkflowVersion, days: float, document: Path | None) -> Known:
        plan = version.plan
        views = {api: await self._view(api) for api in sorted(apis_of(plan))}
        windows = await self._windows(list(views), days)
        seen: dict[tuple[str, str], Window] = {}
        whole: dict[str, Window] = {}
        for each in windows:
            seen.setdefault((each.api, each.operation), Window()).merge(each.window)
            whole.setdefault(each.api, Window()).merge(each.window)
        return Known(
            apis={api: _limits(view) for api, view in views.items() if view is not None},
            needs=needs_of(plan), traffic={api: _traffic(each) for api, each in whole.items()},
            documented=await asyncio.to_thread(self._documented, version, document, seen),
        )  # fmt: skip

    async def _windows(self, apis: Sequence[str], days: float) -> list[ApiWindow]:
        seconds = days * 86_400
        found = [await self._store.api_windows(seconds=seconds, api=api) for api in apis]
        return [each for windows in found for each in windows]

    def _documented(
        self, version: WorkflowVersion, document: Path | None, seen: Seen
    ) -> Mapping[At, Documented]:
        """What the documents of the APIs say, where the workflow's own one is at hand."""
        path = document or self._published_file(version.document)
        if path is None:
            return {}
        read = read_document(path, limits=WORKFLOWS)
        return documented_of(
            read, folder=path.parent, tasks=self._workflows.tasks, plan=version.plan, seen=seen
        )  # fmt: skip

    # --- what would change ------------------------------------------------------------------------

    async def _finding(
        self, version: WorkflowVersion, insight: Insight, document: Path | None
    ) -> Finding:
        diff, undone = "", ""
        if insight.change is not None:
            try:
                edit = await self._edit(version, insight.change, document)
                diff = unified(edit.name, edit.before, edit.after)
            except CannotEdit as error:
                undone = str(error)
        return Finding(
            id=insight.id, kind=insight.kind, about=insight.about, said=insight.said,
            evidence=insight.evidence, runs=insight.runs, change=insight.change, diff=diff,
            undone=undone,
        )  # fmt: skip

    async def _edit(self, version: WorkflowVersion, change: Change, document: Path | None) -> _Edit:
        """Raises CannotEdit."""
        if change.operation:
            return await asyncio.to_thread(_edit_responses, change)
        if not change.api:
            return await asyncio.to_thread(self._edit_document, version, change, document)
        if await self._is_overridden(change):
            set_it = f"orchestrator apis set {change.api} {change.field}={change.value}"
            raise CannotEdit(f"an operator's override holds, not the file: {set_it}")
        path, before = await self._apis.file_of(change.api)
        return _Edit(
            path=path, name=_name(path), before=before, after=amended_api(before, change)
        )  # fmt: skip

    def _edit_document(
        self, version: WorkflowVersion, change: Change, document: Path | None
    ) -> _Edit:
        path = document or self._published_file(version.document)
        if path is not None:
            read = read_document(path, limits=WORKFLOWS)
        else:
            try:
                read = parse_document(version.document, name=f"{version.workflow}.arazzo.yaml")
            except InvalidDefinition:
                raise CannotEdit("it was not published from a workflow document") from None
        after = amended_document(read, version.workflow, change)
        name = read.name if path is None else _name(path)
        return _Edit(path=path, name=name, before=read.text, after=after)

    def _published_file(self, text: str) -> Path | None:
        """The file that says what was published."""
        for pattern in PATTERNS:
            for path in sorted(self._documents.glob(pattern)):
                try:
                    if read_document(path, limits=WORKFLOWS).text == text:
                        return path
                except RefusedError:  # another document, and its author's affair
                    continue
        return None

    async def _is_overridden(self, change: Change) -> bool:
        view = await self._view(change.api)
        fields = () if view is None else view.fields
        return any(each.name == change.field and each.change is not None for each in fields)

    async def _view(self, api: str) -> ApiView | None:
        """What holds now, overrides included; None for what is called and no API (waits)."""
        try:
            return await self._apis.show(api)
        except NotFound:
            return None


def _limits(view: ApiView) -> ApiLimits:
    slots = view.value("concurrency")
    return ApiLimits(
        total_seconds=float(view.value("timeouts.total")), rate=str(view.value("rate") or ""),
        concurrency=None if slots is None else int(slots),
    )  # fmt: skip


def _traffic(window: Window) -> Traffic:
    return Traffic(
        calls=window.calls, throttled=window.throttled, waited=sum(window.waited.values()),
        usual_wait_seconds=quantiles(window.waited).p50 or 0.0,
        usual_seconds=quantiles(window.seconds).p50 or 0.0,
    )  # fmt: skip


def _edit_responses(change: Change) -> _Edit:
    """Raises CannotEdit."""
    if not change.file:
        raise CannotEdit("nobody knows where the API's document is")
    path = Path(change.file)
    read = read_document(path, limits=SOURCES)
    after = amended_responses(read, change)
    return _Edit(path=path, name=_name(path), before=read.text, after=after)


def _name(path: Path) -> str:
    """As seen from here, as `git apply` wants it."""
    here = Path.cwd()
    found = path.absolute()
    return (found.relative_to(here) if found.is_relative_to(here) else Path(path.name)).as_posix()


def _chosen(report: InsightReport, insight: str) -> Finding:
    found = next((each for each in report.insights if each.id == insight), None)
    if found is None:
        listed = ", ".join(each.id for each in report.insights) or "there is none"
        problem = Problem(place="insight", found=insight, wanted=f"one of: {listed}")
        raise NotFound(f"no such insight: {insight}", problems=[problem])
    return found


def _nothing_to_write(finding: Finding, wanted: str) -> Conflict:
    found = finding.undone or ("no change" if finding.change is None else "another change")
    problem = Problem(place=finding.id, found=found, wanted=wanted)
    return Conflict("there is nothing that could be written", problems=[problem])
