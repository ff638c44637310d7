"""The folder of API configurations, read again and again while workers run.

What is broken or missing changes nothing: the last good content of a file holds until there is
another. A share that is away, or a file that an editor has half written, must not lift a limit; so
the deletion of a file counts when workers start anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from orchestrator.engine.api_document import ANY_RULE, ANY_TENANT, default_of, field_names, path_of
from orchestrator.engine.apis import (
    ApiConfig,
    ApiFile,
    api_paths,
    base_url_override,
    base_url_variable,
    read_api,
    second_of_its_name,
)
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import ApiField, ApiOverride


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """A file that is there and cannot be read."""

    why: str


Contents = Mapping[Path, bytes | Unreadable]


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """What keeps a new content, or an override, from being taken over."""

    of: str  # a path, or "the overrides of <api>"
    digest: str  # of the content; the same again is the same trouble again
    problems: tuple[Problem, ...]


class ApiFolder:
    """The last good content of every file, and what is wrong with the latest ones.

    Implements ports.ApiFiles for the faces.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, ApiFile] = {}  # by API
        self._contents: Contents = {}
        self._broken: dict[Path, Broken] = {}
        self._good: dict[str, tuple[ApiFile, Mapping[str, Any], ApiConfig]] = {}
        self._refused: dict[str, Broken] = {}  # overrides, by API

    def read(self) -> Contents:
        """All files as they are now. Blocks.

        Modification times are not asked: copies and network shares keep or delay them, and the
        files are small.
        """
        found: dict[Path, bytes | Unreadable] = {}
        for path in api_paths(self._folder):
            try:
                found[path] = path.read_bytes()
            except FileNotFoundError:  # deleted in between
                continue
            except OSError as error:
                found[path] = Unreadable(why=error.strerror or type(error).__name__)
        return found

    def differs(self, contents: Contents) -> bool:
        """Whether this is not what was taken last."""
        return contents != self._contents

    def take(self, contents: Contents) -> None:
        """Turn to these contents as far as they are valid."""
        self._contents = contents
        self._broken = {}
        files: dict[str, ApiFile] = {}
        for path, content in contents.items():
            try:
                file = _parsed(path, content, files)
            except InvalidSetting as error:
                self._broken[path] = _broken(str(path), repr(content), error.problems)
            else:
                files[file.name] = file
        self._files = {**self._files, **files}

    def require_valid(self) -> None:
        """Raises InvalidSetting that names all that is wrong: nobody begins with half of it."""
        problems = self.problems()
        if problems:
            raise InvalidSetting("the API configuration is not valid", problems=problems)

    def configs(self, overrides: Mapping[str, ApiOverride]) -> dict[str, ApiConfig]:
        """What holds of each API that has a file or an override.

        Overrides that do not go with their file leave things as they were; a hold always counts.
        """
        self._refused = {}
        return {
            name: self._config(name, overrides.get(name))
            for name in sorted({*self._files, *overrides})
        }

    def broken(self) -> list[Broken]:
        """What was not taken over."""
        return [*self._broken.values(), *self._refused.values()]

    def missing(self) -> list[Path]:
        """Files that were there before and still count."""
        paths = [file.path for file in self._files.values() if file.path is not None]
        return [path for path in paths if path not in self._contents]

    # --- for people -------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All APIs with a file."""
        return sorted(self._files)

    def problems(self) -> list[Problem]:
        """All that is wrong with the files now."""
        return [problem for each in self._broken.values() for problem in each.problems]

    def check(self, api: str, overrides: Mapping[str, Any]) -> None:
        """See ports.ApiFiles."""
        self._file(api).config(overrides)

    def fields(self, api: str, overrides: Mapping[str, Any]) -> list[ApiField]:
        """See ports.ApiFiles."""
        file = self._file(api)
        return [_base_url(file), *_only_named(file), *_settable(file, overrides)]

    def file_of(self, api: str) -> tuple[Path, str]:
        """See ports.ApiFiles."""
        known = self._files.get(api)
        if known is None or known.path is None:
            return self._folder / f"{api}.yaml", ""
        content = self._contents.get(known.path, b"")
        return known.path, content.decode("utf-8") if isinstance(content, bytes) else ""

    def check_file(self, path: Path, text: str) -> None:
        """See ports.ApiFiles."""
        read_api(path, text.encode())

    def open_connections(self) -> int:
        """See ports.ApiFiles."""
        return sum(self._file(name).config().connections for name in self._files)

    # --- what holds -------------------------------------------------------------------------------

    def _file(self, name: str) -> ApiFile:
        return self._files.get(name) or ApiFile(name=name)

    def _config(self, name: str, override: ApiOverride | None) -> ApiConfig:
        """The latest that is valid; a hold counts whatever else is wrong."""
        file = self._file(name)
        fields = {} if override is None else override.values()
        known = self._good.get(name)
        if known is not None and known[:2] == (file, fields):
            config = known[2]
        else:
            try:
                config = file.config(fields)
                self._good[name] = (file, fields, config)
            except InvalidSetting as error:
                content = f"{file.path} {fields}"
                self._refused[name] = _broken(f"overrides of {name}", content, error.problems)
                config = file.config() if known is None else known[2]
        return replace(config, held=override is not None and override.held)


def _parsed(path: Path, content: bytes | Unreadable, others: Mapping[str, ApiFile]) -> ApiFile:
    """Raises InvalidSetting."""
    if isinstance(content, Unreadable):
        problem = Problem(place=f"{path}:1: document", found=content.why, wanted="a readable file")
        raise InvalidSetting("the API configuration is not valid", problems=[problem])
    file = read_api(path, content)
    if file.name in others:
        twice = second_of_its_name(path, file.name)
        raise InvalidSetting("the API configuration is not valid", problems=[twice])
    return file


def _broken(of: str, content: str, problems: Sequence[Problem]) -> Broken:
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Broken(of=of, digest=digest, problems=tuple(problems))


# --- where a value comes from ---------------------------------------------------------------------


def _base_url(file: ApiFile) -> ApiField:
    override = base_url_override(file.name)
    if override:
        return ApiField(name="base_url", value=override, origin=base_url_variable(file.name))
    found = file.data.get("base_url")
    origin = file.place(("base_url",)) if found else "the API's document"
    return ApiField(name="base_url", value=found, origin=origin)


def _only_named(file: ApiFile) -> Iterator[ApiField]:
    """What may be nobody's business to read is only said to be there."""
    for name in ("auth", "tls", "headers"):
        if name in file.data:
            yield ApiField(name=name, value="set", origin=file.place((name,)))
    private = file.data.get("allow_private_addresses", False)
    origin = file.place(("allow_private_addresses",))
    yield ApiField(name="allow_private_addresses", value=private, origin=origin)


def _settable(file: ApiFile, overrides: Mapping[str, Any]) -> Iterator[ApiField]:
    for name in _settable_names(file, overrides):
        if name in overrides:
            yield ApiField(name=name, value=overrides[name], origin="override")
        else:
            path = path_of(name)
            value = file.value(path)
            yield ApiField(
                name=name, value=default_of(name) if value is None else value,
                origin=file.place(path),
            )  # fmt: skip


def _settable_names(file: ApiFile, overrides: Mapping[str, Any]) -> Iterator[str]:
    """All fields that have one value, set or not; of mappings those that are set."""
    for group, patterns in groupby(field_names(), key=lambda name: name.partition(".")[0]):
        keys = [pattern.removeprefix(group).removeprefix(".") for pattern in patterns]
        if not keys[0].startswith((ANY_TENANT, ANY_RULE)):
            yield from (f"{group}.{key}" if key else group for key in keys)
            continue
        said = {f"{group}.{key}" for key in file.data.get(group, {})}
        overridden = {name for name in overrides if name.startswith(f"{group}.")}
        if keys[0] == ANY_TENANT:
            yield from sorted(said | overridden)
            continue
        fields = [key.removeprefix(f"{ANY_RULE}.") for key in keys]
        rules = said | {".".join(path_of(name)[:2]) for name in overridden}
        for rule in sorted(rules):
            yield from _rule_names(rule, fields, file, overrides)


def _rule_names(
    rule: str, fields: Sequence[str], file: ApiFile, overrides: Mapping[str, Any]
) -> Iterator[str]:
    """What is said of one rule, as a whole or by field."""
    names = [f"{rule}.{field}" for field in fields]
    if rule in overrides:
        yield rule
        yield from (name for name in names if name in overrides)
    else:
        for name in names:
            if name in overrides or file.value(path_of(name)) is not None:
                yield name
