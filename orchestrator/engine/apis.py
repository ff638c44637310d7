"""How each API may be used: one file for each in `config/apis/`, read into a frozen `ApiConfig`.

    api: inventory                     # default: the file's name
    base_url: https://inventory.example/v1
    rate: 200/second; 5000/hour        # notation of the `limits` library; all windows hold at once
    concurrency: 20                    # requests in flight, counted over all workers
    rate_headroom_seconds: 0.04        # how much requests may be delayed on their way
    timeouts: {connect: 2, read: 10, total: 20}
    headers: {X-Client: checkout}
    auth: {bearer: env:INVENTORY_TOKEN}
    weights: {acme: 3}                 # of tenants that wait for it; 1 for all others

Secrets are references (`env:NAME`, `file:/path`), read when a request leaves, never kept here.
`ORCHESTRATOR_API_<NAME>_BASE_URL` overrides a base URL.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import limits
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.definitions.sources import TASKS_API
from orchestrator.engine.base_url import checked_base_url, shown_base_url
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import Rate

NO_CONNECTIONS_NEEDED = 1_000_000_000
"""Python functions need none; plain ones wait for a thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """Where a secret is found. Its text is never part of this value."""

    reference: str  # "env:NAME" or "file:/path"

    def read(self) -> str:
        """The secret's text. Raises InvalidSetting when there is none."""
        kind, _, where = self.reference.partition(":")
        try:
            text = os.environ[where] if kind == "env" else Path(where).read_text("utf-8").strip()
        except (KeyError, OSError, UnicodeDecodeError) as error:
            raise self._missing(type(error).__name__) from None
        if not text:
            raise self._missing("nothing")
        return text

    def _missing(self, found: str) -> InvalidSetting:
        problem = Problem(place=self.reference, found=found, wanted="a secret")
        return InvalidSetting(f"credential {self.reference} cannot be read", problems=[problem])


@dataclass(frozen=True, kw_only=True, slots=True)
class Auth:
    """One header that carries credentials: basic, bearer, or a header of the API's own."""

    header: str = "Authorization"
    secret: Secret
    scheme: str = ""  # "Bearer", "Basic" or nothing
    user: str = ""  # of "Basic"

    def value(self) -> str:
        """The header's value, secret included. Raises InvalidSetting when it cannot be read."""
        secret = self.secret.read()
        if self.scheme == "Basic":
            secret = base64.b64encode(f"{self.user}:{secret}".encode()).decode()
        return f"{self.scheme} {secret}".strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiConfig:
    """How one API may be used. Durations in seconds, sizes in bytes."""

    name: str
    base_url: str | None = None  # None: the one of the API's document
    rates: tuple[Rate, ...] = ()  # all hold at once; none: as fast as it goes
    concurrency: int | None = None  # in flight over all workers; None: unlimited
    headroom_seconds: float = 0.04  # by which requests may be delayed without breaking a rate
    connections: int = 100  # open connections, and so calls in flight, of one process
    connect_seconds: float = 5.0
    read_seconds: float = 30.0  # between two parts of an answer
    total_seconds: float = 60.0  # from start to the answer's last byte
    keep_alive_seconds: float = 10.0  # idle time; below the server's own, so that we close first
    headers: tuple[tuple[str, str], ...] = ()  # added unless the request has them
    auth: Auth | None = None
    max_response_bytes: int = 4 * 1024 * 1024
    allow_private_addresses: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)  # by tenant; 1 for all others

    @property
    def limited(self) -> bool:
        """Whether workers have to agree on anything before a request leaves."""
        return bool(self.rates) or self.concurrency is not None


def config_of(apis: Mapping[str, ApiConfig], name: str) -> ApiConfig:
    """The configuration of an API; one without a file has the defaults."""
    if name == TASKS_API:
        return ApiConfig(name=name, connections=NO_CONNECTIONS_NEEDED)
    found = apis.get(name)
    return found or ApiConfig(name=name, base_url=base_url_override(name))


def load_apis(folder: Path) -> Mapping[str, ApiConfig]:
    """All `*.yaml` and `*.yml` of the folder, by API name; a missing folder is an empty one.

    Raises InvalidSetting that names file, line, field, found and wanted of everything wrong.
    """
    apis: dict[str, ApiConfig] = {}
    problems: list[Problem] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            config = _load(path)
        except InvalidSetting as error:
            problems += error.problems
            continue
        if config.name in apis:
            problems.append(_problem(path, 1, "api", config.name, "a name no other file has"))
        apis[config.name] = config
    if problems:
        raise InvalidSetting("the API configuration is not valid", problems=problems)
    return apis


def base_url_override(name: str) -> str | None:
    """What the environment says about an API's base URL."""
    variable = f"ORCHESTRATOR_API_{re.sub('[^A-Z0-9]', '_', name.upper())}_BASE_URL"
    found = os.environ.get(variable)
    if not found:
        return None
    try:
        return checked_base_url(found)
    except ValueError as error:
        problem = Problem(place=variable, found=shown_base_url(found), wanted=str(error))
        raise InvalidSetting("the environment is not valid", problems=[problem]) from None


# --- one file -------------------------------------------------------------------------------------


def _load(path: Path) -> ApiConfig:
    data, lines = _read_yaml(path)
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        problems = [_problem_of(path, lines, item) for item in error.errors()]
        raise InvalidSetting("the API configuration is not valid", problems=problems) from None
    config = file.config(default_name=path.stem)
    override = base_url_override(config.name)
    return replace(config, base_url=override) if override else config


def _reference(text: str) -> str:
    if not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+", text):
        raise ValueError("a reference, env:NAME or file:/path, never the secret itself")
    return text


def _rates(text: str) -> str:
    try:
        limits.parse_many(text)
    except ValueError:
        raise ValueError('rates such as "200/second; 5000/hour"') from None
    return text


def _header(text: str) -> str:
    if any(char in text for char in "\r\n\0"):
        raise ValueError("one line of text")
    return text


Seconds = Annotated[float, Field(gt=0, le=3600)]
Weight = Annotated[float, Field(gt=0, le=1000)]
Reference = Annotated[str, AfterValidator(_reference)]
HeaderText = Annotated[str, AfterValidator(_header)]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Timeouts(_Strict):
    connect: Seconds = 5.0
    read: Seconds = 30.0
    total: Seconds = 60.0


class _Basic(_Strict):
    user: HeaderText
    password: Reference


class _HeaderAuth(_Strict):
    name: HeaderName
    value: Reference


class _Auth(_Strict):
    basic: _Basic | None = None
    bearer: Reference | None = None
    header: _HeaderAuth | None = None

    @model_validator(mode="after")
    def _one(self) -> _Auth:
        if len(self.model_fields_set) != 1:
            raise ValueError("one of basic, bearer, header")
        return self

    def auth(self) -> Auth:
        if self.basic is not None:
            secret = Secret(reference=self.basic.password)
            return Auth(scheme="Basic", user=self.basic.user, secret=secret)
        if self.header is not None:
            return Auth(header=self.header.name, secret=Secret(reference=self.header.value))
        assert self.bearer is not None, "_one has looked"
        return Auth(scheme="Bearer", secret=Secret(reference=self.bearer))


class _File(_Strict):
    api: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    base_url: Annotated[str, AfterValidator(checked_base_url)] | None = None
    rate: Annotated[str, AfterValidator(_rates)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    rate_headroom_seconds: Annotated[float, Field(ge=0.01, le=1)] = 0.04
    connections: Annotated[int, Field(ge=1, le=100_000)] = 100
    timeouts: _Timeouts = _Timeouts()
    keep_alive_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    headers: dict[HeaderName, HeaderText] = {}
    auth: _Auth | None = None
    max_response_bytes: Annotated[int, Field(ge=1)] = 4 * 1024 * 1024
    allow_private_addresses: bool = False
    weights: dict[str, Weight] = {}

    def config(self, *, default_name: str) -> ApiConfig:
        return ApiConfig(
            name=self.api or default_name, base_url=self.base_url, rates=parse_rates(self.rate),
            concurrency=self.concurrency, headroom_seconds=self.rate_headroom_seconds,
            connections=self.connections,
            connect_seconds=self.timeouts.connect, read_seconds=self.timeouts.read,
            total_seconds=self.timeouts.total, keep_alive_seconds=self.keep_alive_seconds,
            headers=tuple(self.headers.items()), auth=self.auth.auth() if self.auth else None,
            max_response_bytes=self.max_response_bytes,
            allow_private_addresses=self.allow_private_addresses, weights=self.weights,
        )  # fmt: skip


def parse_rates(text: str | None) -> tuple[Rate, ...]:
    """Rates in the notation of `limits`. Raises ValueError."""
    found = limits.parse_many(text) if text else []
    return tuple(Rate(amount=item.amount, seconds=float(item.get_expiry())) for item in found)


# --- YAML with lines ------------------------------------------------------------------------------

Lines = dict[tuple[Any, ...], int]


def _read_yaml(path: Path) -> tuple[Any, Lines]:
    """The document and the line of each of its fields."""
    try:
        text = path.read_text("utf-8")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines: Lines = {(): 1}
        _note_lines(path, node, (), lines)
        return ({} if node is None else loader.construct_document(node)), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        found = error.problem or "a syntax error"
        raise _invalid(path, line, "document", found, "YAML") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _invalid(path, 1, "document", str(error), "YAML in UTF-8") from None


def _note_lines(path: Path, node: yaml.Node | None, at: tuple[Any, ...], lines: Lines) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        field = (*at, key.value)
        line = key.start_mark.line + 1
        if field in lines:
            raise _invalid(path, line, str(key.value), "a second one", "each field once")
        lines[field] = line
        _note_lines(path, value, field, lines)


def _problem_of(path: Path, lines: Lines, item: Any) -> Problem:
    """A validation error with the line of its field, or of the nearest one around it."""
    loc = tuple(part for part in item["loc"] if part != "[key]")
    line = next(lines[loc[:size]] for size in range(len(loc), -1, -1) if loc[:size] in lines)
    field = ".".join(str(part) for part in loc) or "document"
    if item["type"] == "extra_forbidden":
        known = ", ".join(_known_fields(loc[:-1]))
        return _problem(path, line, field, "an unknown field", f"one of {known}")
    wanted = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return _problem(path, line, field, _shown(loc, item.get("input")), wanted)


def _known_fields(parent: tuple[Any, ...]) -> list[str]:
    models: dict[tuple[Any, ...], type[BaseModel]] = {
        (): _File, ("timeouts",): _Timeouts, ("auth",): _Auth,
        ("auth", "basic"): _Basic, ("auth", "header"): _HeaderAuth,
    }  # fmt: skip
    return list(models[parent].model_fields)


def _shown(loc: tuple[Any, ...], value: Any) -> str:
    """What was found, unless it may be a secret that somebody wrote where none belongs."""
    secret = loc[:1] in (("auth",), ("headers",)) or (loc == ("base_url",) and "@" in str(value))
    return "something else" if secret else repr(value)[:100]


def _problem(path: Path, line: int, field: str, found: str, wanted: str) -> Problem:
    return Problem(place=f"{path}:{line}: {field}", found=found, wanted=wanted)


def _invalid(path: Path, line: int, field: str, found: str, wanted: str) -> InvalidSetting:
    problem = _problem(path, line, field, found, wanted)
    return InvalidSetting("the API configuration is not valid", problems=[problem])
