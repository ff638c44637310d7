"""What operators see and change of APIs while workers run.

A change goes to the database and to its record in one transaction; every worker takes it over
within a few seconds. Files are read, and written only with a text that somebody was shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.impact import apis_of
from orchestrator.core.plan import CHILD, LOCAL, WAITING
from orchestrator.errors import Conflict, InvalidInput, NotFound, Problem
from orchestrator.ports import (
    HOLD,
    ApiChange,
    ApiChangeKind,
    ApiFiles,
    ApiOverride,
    ApiSetting,
    NewApiChange,
    Store,
)
from orchestrator.ports.gate_view import ApiState, GateView
from orchestrator.service.writing import replace_text

MOST_TRIES = 5
MOST_CHANGES = 50
PYTHON_FUNCTIONS = "tasks"

Settings = dict[str, ApiSetting]


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiFieldView:
    """One field as it holds now."""

    name: str
    value: Any
    origin: str  # "default", a file and line, a variable of the environment; "override"
    change: ApiChange | None  # who overrides it, when and why


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiView:
    """One API with all that is known of its configuration."""

    api: str
    version: int  # of its latest change; 0: there was none
    held: ApiChange | None  # who holds it
    fields: tuple[ApiFieldView, ...]
    changes: tuple[ApiChange, ...]  # newest first
    problems: tuple[Problem, ...]  # of the files; the last valid content of them holds

    def value(self, name: str) -> Any:
        """What holds of a field; None when it is set nowhere."""
        return next((each.value for each in self.fields if each.name == name), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiOverview:
    """All APIs that have a file, a change, or a published workflow that calls them."""

    apis: tuple[ApiView, ...]
    problems: tuple[Problem, ...]


class Apis:
    """Overrides of API configurations, and holds. `read_files` reads the folder anew; it blocks."""

    def __init__(self, store: Store, read_files: Callable[[], ApiFiles], gate: GateView) -> None:
        self._store, self._read_files, self._gate = store, read_files, gate
        self._published = 0  # versions, when `_called` was worked out
        self._called: frozenset[str] = frozenset()

    async def overview(self) -> ApiOverview:
        """Every API, by name."""
        files = await asyncio.to_thread(self._read_files)
        overrides = {each.api: each for each in await self._store.api_overrides()}
        names = await self._names(files, overrides)
        views = [await self._view(name, files, overrides.get(name)) for name in names]
        return ApiOverview(apis=tuple(views), problems=tuple(files.problems()))

    async def states(self) -> dict[str, ApiState]:
        """How each of them stands at the gate now, by name. Raises Unavailable."""
        files = await asyncio.to_thread(self._read_files)
        overrides = [each.api for each in await self._store.api_overrides()]
        names = await self._names(files, overrides)
        found = await self._gate.states(names)
        return {name: found[name] for name in names}

    async def in_force(self, *fields: str) -> dict[str, dict[str, Any]]:
        """These fields of each API as they hold, by its name; HOLD among them: whether it is held.

        Asks less of the database than `overview`, which tells where all comes from.
        """
        files = await asyncio.to_thread(self._read_files)
        overrides = {each.api: each.settings for each in await self._store.api_overrides()}
        return {
            api: _effective(files, api, overrides.get(api, {}), fields)
            for api in await self._names(files, overrides)
        }

    async def show(self, api: str) -> ApiView:
        """One. Raises NotFound that names the others."""
        files, override = await self._find(api)
        return await self._view(api, files, override)

    async def set(self, api: str, values: Mapping[str, Any], *, by: str, reason: str) -> ApiView:
        """Override fields. Raises InvalidSetting when they are not as a file would need them."""
        if not values:
            raise _invalid("set", "no field", "one or more such as rate=50/second")

        def change(settings: Settings, number: int) -> Settings:
            new = {name: ApiSetting(value=value, change=number) for name, value in values.items()}
            return {**settings, **new}

        return await self._change(api, ApiChangeKind.SET, change, by=by, reason=reason)

    async def reset(self, api: str, fields: Sequence[str], *, by: str, reason: str) -> ApiView:
        """Take overrides back: those of the fields, or all. A hold stays. Raises Conflict."""

        def change(settings: Settings, _: int) -> Settings:
            overridden = {*settings} - {HOLD}
            if not overridden or not overridden.issuperset(fields):
                listed = ", ".join(sorted(overridden)) or "nothing"
                problem = Problem(
                    place=f"API {api}", found=f"overridden: {listed}",
                    wanted=f"an override of {', '.join(fields) or 'something'}",
                )  # fmt: skip
                raise Conflict("there is nothing to reset", problems=[problem])
            gone = set(fields) or overridden
            return {name: each for name, each in settings.items() if name not in gone}

        return await self._change(api, ApiChangeKind.RESET, change, by=by, reason=reason)

    async def hold(self, api: str, *, by: str, reason: str) -> ApiView:
        """Let nothing leave for the API. Raises Conflict when it is held already."""

        def change(settings: Settings, number: int) -> Settings:
            if HOLD in settings:
                raise _hold_conflict(api, "held already", "an API that is not held")
            return {**settings, HOLD: ApiSetting(value=True, change=number)}

        return await self._change(api, ApiChangeKind.HOLD, change, by=by, reason=reason)

    async def release(self, api: str, *, by: str, reason: str) -> ApiView:
        """Undo a hold. Raises Conflict when there is none."""

        def change(settings: Settings, _: int) -> Settings:
            if HOLD not in settings:
                raise _hold_conflict(api, "not held", "an API that is held")
            return {name: each for name, each in settings.items() if name != HOLD}

        return await self._change(api, ApiChangeKind.RELEASE, change, by=by, reason=reason)

    async def file_of(self, api: str) -> tuple[Path, str]:
        """Its file and what stands in it; where it would be, and "", when there is none."""
        files = await asyncio.to_thread(self._read_files)
        return files.file_of(api)

    async def write_file(self, path: Path, text: str) -> None:
        """All of a file anew; workers take it over. Raises InvalidSetting, and changes nothing."""
        files = await asyncio.to_thread(self._read_files)
        files.check_file(path, text)
        await asyncio.to_thread(replace_text, path, text)

    # --- one change -------------------------------------------------------------------------------

    async def _change(
        self,
        api: str,
        kind: ApiChangeKind,
        change: Callable[[Settings, int], Settings],
        *,
        by: str,
        reason: str,
    ) -> ApiView:
        """Change what is there; once more when somebody else was faster."""
        if not reason.strip():
            raise _invalid("--reason", "nothing", "why, for the record")
        for last in (False,) * (MOST_TRIES - 1) + (True,):
            files, override = await self._find(api)
            version = 0 if override is None else override.version
            before = {} if override is None else dict(override.settings)
            after = change(dict(before), version + 1)
            if kind in (ApiChangeKind.SET, ApiChangeKind.RESET):
                files.check(api, _values(after))
            new = NewApiChange(
                api=api, expected_version=version, kind=kind, by=by, reason=reason.strip(),
                settings=after, **_differences(files, api, before, after),
            )  # fmt: skip
            try:
                made = await self._store.change_api(new)
            except Conflict:
                if last:
                    raise
                continue
            return await self._view(api, files, made)
        raise AssertionError("the last try returns or raises")

    async def _find(self, api: str) -> tuple[ApiFiles, ApiOverride | None]:
        files = await asyncio.to_thread(self._read_files)
        overrides = {each.api: each for each in await self._store.api_overrides()}
        names = await self._names(files, overrides)
        if api not in names:
            others = ", ".join(names) or "none is known: no file, no published workflow"
            problem = Problem(place="API", found=api, wanted=f"one of {others}")
            raise NotFound(f"no such API: {api}", problems=[problem, *files.problems()])
        return files, overrides.get(api)

    async def _names(self, files: ApiFiles, overrides: Iterable[str]) -> list[str]:
        known = {*files.names(), *overrides, *await self._called_by_workflows()}
        return sorted(known - {PYTHON_FUNCTIONS, LOCAL, WAITING, CHILD})

    async def _called_by_workflows(self) -> frozenset[str]:
        """By the latest version of each; plans are read again once there is another version.

        Counted first: what is published meanwhile is a change for the next question.
        """
        published = await self._store.changes_published()
        if published != self._published:
            latest = await self._store.workflows()
            self._called = frozenset[str]().union(*(apis_of(each.plan) for each in latest))
            self._published = published
        return self._called

    async def _view(self, api: str, files: ApiFiles, override: ApiOverride | None) -> ApiView:
        settings = {} if override is None else override.settings
        version = 0 if override is None else override.version
        oldest = min([version, *(each.change for each in settings.values())])
        most = max(MOST_CHANGES, version - oldest + 1)  # all that a setting stems from
        changes = await self._store.api_changes(api, limit=most) if version else []
        by_version = {change.version: change for change in changes}

        def made(name: str) -> ApiChange | None:
            return by_version.get(settings[name].change) if name in settings else None

        fields = files.fields(api, _values(settings))
        return ApiView(
            api=api, version=version, held=made(HOLD),
            changes=tuple(changes[:MOST_CHANGES]), problems=tuple(files.problems()),
            fields=tuple(
                ApiFieldView(
                    name=field.name, value=field.value, origin=field.origin,
                    change=made(field.name),
                )
                for field in fields
            ),
        )  # fmt: skip


def _values(settings: Mapping[str, ApiSetting]) -> dict[str, Any]:
    return {name: each.value for name, each in settings.items() if name != HOLD}


def _differences(
    files: ApiFiles, api: str, before: Settings, after: Settings
) -> dict[str, dict[str, Any]]:
    """What held and what holds of the fields that the change is about."""
    names = {*before, *after}
    touched = [name for name in sorted(names) if before.get(name) != after.get(name)]
    return {
        "before": _effective(files, api, before, touched),
        "after": _effective(files, api, after, touched),
    }


def _effective(
    files: ApiFiles, api: str, settings: Mapping[str, ApiSetting], names: Sequence[str]
) -> dict[str, Any]:
    known = {field.name: field.value for field in files.fields(api, _values(settings))}
    return {name: name in settings if name == HOLD else known.get(name) for name in names}


def _invalid(place: str, found: str, wanted: str) -> InvalidInput:
    problem = Problem(place=place, found=found, wanted=wanted)
    return InvalidInput("the change is not complete", problems=[problem])


def _hold_conflict(api: str, found: str, wanted: str) -> Conflict:
    return Conflict(
        "the API has moved on",
        problems=[Problem(place=f"API {api}", found=found, wanted=wanted)],
    )
