"""How each API may be used: one file for each in `config/apis/`, read into a frozen `ApiConfig`.

    api: inventory                     # default: the file's name
    base_url: https://inventory.example/v1
    rate: 200/second; 5000/hour        # notation of the `limits` library; all windows hold at once
    concurrency: 20                    # requests in flight, counted over all workers
    rate_headroom_seconds: 0.04        # how much requests may be delayed on their way
    timeouts: {connect: 2, read: 10, total: 20}
    headers: {X-Client: checkout}
    auth: {bearer: env:INVENTORY_TOKEN}   # see auth.py for all forms
    tls: {cert: /etc/us.pem, key: /etc/us.key, ca: /etc/them.pem}
    weights: {acme: 3}                 # of tenants that wait for it; 1 for all others
    breaker: {failure_rate: 0.5, slow_seconds: 5, slow_rate: 0.8, calls: 20, open_seconds: 5,
              longest_open_seconds: 30, probes: 3, ramp_seconds: 10}    # or off
    retries: {share: 0.2, per_second: 10}   # of its calls may be retries, and so many anyway
    longest_pause_seconds: 600         # that it may ask for (Retry-After and the like)

Secrets are references (`env:NAME`, `file:/path`, `command:…`), read when they are needed, never
kept here.
`ORCHESTRATOR_API_<NAME>_BASE_URL` overrides a base URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import limits
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from orchestrator.core.health import HealthRules
from orchestrator.definitions.sources import TASKS_API
from orchestrator.engine.auth import (
    Auth,
    AuthFile,
    BasicFile,
    FormFile,
    HeaderName,
    HeaderText,
    NamedFile,
    OAuth2File,
    Place,
    Strict,
    Tls,
    TlsFile,
)
from orchestrator.engine.base_url import checked_base_url, shown_base_url
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import Rate

DEFAULT_HEALTH = HealthRules()
Lines = Mapping[tuple[Any, ...], int]
"""The line of each field of a document; of () the first."""
NO_CONNECTIONS_NEEDED = 1_000_000_000
"""Python functions need none; plain ones wait for a thread."""


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
    tls: Tls | None = None  # None: the system's authorities, and no certificate of ours
    max_response_bytes: int = 4 * 1024 * 1024
    allow_private_addresses: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)  # by tenant; 1 for all others
    health: HealthRules | None = DEFAULT_HEALTH  # None: it is always taken to be well
    breaker: bool = True  # False: failed and slow calls do not close it
    retry_share: float = 0.2  # of the calls of late may be retries,
    retries_a_second: float = 10.0  # and so many anyway
    held: bool = False  # by an operator: nothing leaves, compensations neither

    @property
    def limited(self) -> bool:
        """Whether workers have to agree on anything before a request leaves."""
        return bool(self.rates) or self.concurrency is not None


def config_of(apis: Mapping[str, ApiConfig], name: str) -> ApiConfig:
    """The configuration of an API; one without a file has the defaults."""
    if name == TASKS_API:
        return ApiConfig(name=name, connections=NO_CONNECTIONS_NEEDED, health=None)
    found = apis.get(name)
    return found or ApiConfig(name=name, base_url=base_url_override(name))


def load_apis(folder: Path) -> Mapping[str, ApiConfig]:
    """All `*.yaml` and `*.yml` of the folder, by API name; a missing folder is an empty one.

    Raises InvalidSetting that names file, line, field, found and wanted of everything wrong.
    """
    apis: dict[str, ApiConfig] = {}
    problems: list[Problem] = []
    for path in api_paths(folder):
        try:
            config = read_api(path).config()
        except InvalidSetting as error:
            problems += error.problems
            continue
        if config.name in apis:
            problems.append(second_of_its_name(path, config.name))
        apis[config.name] = config
    if problems:
        raise InvalidSetting(_INVALID, problems=problems)
    return apis


def api_paths(folder: Path) -> list[Path]:
    """The files of a folder that say how an API may be used, by name."""
    return sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])


def base_url_override(name: str) -> str | None:
    """What the environment says about an API's base URL."""
    variable = base_url_variable(name)
    found = os.environ.get(variable)
    if not found:
        return None
    try:
        return checked_base_url(found)
    except ValueError as error:
        problem = Problem(place=variable, found=shown_base_url(found), wanted=str(error))
        raise InvalidSetting("the environment is not valid", problems=[problem]) from None


def base_url_variable(name: str) -> str:
    """The variable of the environment that overrides an API's base URL."""
    return f"ORCHESTRATOR_API_{re.sub('[^A-Z0-9]', '_', name.upper())}_BASE_URL"


# --- one file -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiFile:
    """One file as it was read: what it says and where. Without a path: no file, all defaults."""

    name: str  # of the API
    path: Path | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    lines: Lines = field(default_factory=dict)

    def config(self, overrides: Mapping[str, Any] | None = None) -> ApiConfig:
        """What holds; `overrides` go before the file, by field ("rate", "weights.acme").

        Raises InvalidSetting that names the file and line, or the override, of all that is wrong.
        """
        overrides = overrides or {}
        problems = [_not_at_run_time(name) for name in overrides if not _is_settable(name)]
        if problems:
            raise InvalidSetting(_INVALID, problems=problems)
        try:
            file = _File.model_validate(_merged(self.data, overrides))
        except ValidationError as error:
            problems = [self._problem_of(overrides, item) for item in error.errors()]
            raise InvalidSetting(_INVALID, problems=problems) from None
        if problems := list(_secrets_in_the_clear(self.path, self.lines, file)):
            raise InvalidSetting(_INVALID, problems=problems)
        config = file.config(default_name=self.name)
        url = base_url_override(config.name)
        return replace(config, base_url=url) if url else config

    def value(self, path: tuple[str, ...]) -> Any:
        """What it says at these keys; None: nothing."""
        at: Any = self.data
        for key in path:
            at = at.get(key) if isinstance(at, Mapping) else None
        return at

    def place(self, path: tuple[str, ...]) -> str:
        """Where it says that: file and line, or "default"."""
        line = self.lines.get(path)
        return "default" if line is None else f"{self.path}:{line}"

    def _problem_of(self, overrides: Mapping[str, Any], item: Any) -> Problem:
        loc = tuple(part for part in item["loc"] if part != "[key]")
        for name in overrides:
            size = min(len(loc), len(path := path_of(name)))
            if size and loc[:size] == path[:size]:
                return _of_override(name, loc, item)
        return _problem_of(self.path or Path("no file"), self.lines or {(): 1}, item)


def read_api(path: Path, content: bytes | None = None) -> ApiFile:
    """One file, its content given or read. Raises InvalidSetting when it is not YAML as wanted."""
    data, lines = _read_yaml(path, content)
    named = data.get("api") if isinstance(data, dict) else None
    file = ApiFile(name=named or path.stem, path=path, data=data, lines=lines)
    file.config()
    return file


def second_of_its_name(path: Path, name: str) -> Problem:
    """Two files say how the same API may be used."""
    return _problem(path, 1, "api", name, "a name no other file has")


# --- fields by name -------------------------------------------------------------------------------

_INVALID = "the API configuration is not valid"
ANY_TENANT = "TENANT"
"""Stands for the key of a mapping."""
ONLY_IN_FILES = frozenset({"api", "auth", "tls", "headers", "base_url", "allow_private_addresses"})
"""What cannot be overridden at run time: where requests go, and with whose credentials."""


def path_of(field: str) -> tuple[str, ...]:
    """The keys that lead to a field: "timeouts.read" -> ("timeouts", "read").

    Below a mapping, such as weights, the rest is one key: names of tenants may have dots.
    """
    model: type[BaseModel] | None = _File
    path: list[str] = []
    rest = field
    while rest and model is not None:
        head, _, rest = rest.partition(".")
        path.append(head)
        known = model.model_fields.get(head)
        model = _model_in(known.annotation) if known is not None else None
    return (*path, rest) if rest or not path else tuple(path)


def field_names() -> list[str]:
    """All fields that can be overridden, as `set` takes them."""
    return [
        name
        for field, info in _File.model_fields.items()
        if field not in ONLY_IN_FILES
        for name in _names_under(field, info.annotation)
    ]


def default_of(field: str) -> Any:
    """The value of a field that is set nowhere; None for one key of a mapping."""
    at: Any = _File()
    for key in path_of(field):
        at = at.get(key) if isinstance(at, Mapping) else getattr(at, key, None)
    return at


def api_schema() -> dict[str, Any]:
    """The JSON schema of a file, for editors."""
    schema = _File.model_json_schema()
    address = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": address, **schema, "title": "How an API may be used"}


def _is_settable(field: str) -> bool:
    path = path_of(field)
    if path[0] in ONLY_IN_FILES:
        return False
    known = _File.model_fields.get(path[0])
    if known is None or len(path) > 1:
        return True  # a name that is not known is refused by the model, which lists the others
    return not (_is_mapping(known.annotation) or _model_in(known.annotation))


def _not_at_run_time(field: str) -> Problem:
    head = path_of(field)[0]
    if head in ONLY_IN_FILES:
        wanted = f"a change of the file: {head} cannot be overridden at run time"
        return Problem(place=f"set {field}", found="an override", wanted=wanted)
    names = [name for name in field_names() if name.startswith(f"{head}.")]
    return Problem(
        place=f"set {field}", found="several fields", wanted=f"one of {', '.join(names)}"
    )


def _names_under(field: str, annotation: Any) -> list[str]:
    model = _model_in(annotation)
    if model is not None:
        return [f"{field}.{name}" for name in model.model_fields]
    return [f"{field}.{ANY_TENANT}"] if _is_mapping(annotation) else [field]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or may be."""
    choices = get_args(annotation) or (annotation,)
    models = (each for each in choices if isinstance(each, type) and issubclass(each, BaseModel))
    return next(models, None)


def _is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict


def _merged(data: Any, overrides: Mapping[str, Any]) -> Any:
    """The document with other values; what is no mapping is left for the model to refuse."""
    if not isinstance(data, dict):
        return data
    merged = deepcopy(data)
    for name, value in overrides.items():
        *groups, last = path_of(name)
        at = merged
        for group in groups:
            if not isinstance(at.get(group), dict):
                at[group] = {}  # not there, or nothing that a key could be put into
            at = at[group]
        at[last] = value
    return merged


def _secrets_in_the_clear(path: Path | None, lines: Lines, file: _File) -> Iterator[Problem]:
    """Token endpoints to which a client's secret would travel unencrypted, not on this machine."""
    if path is None or file.auth is None or file.allow_private_addresses:
        return
    forms: dict[tuple[str, ...], FormFile] = {("auth",): file.auth}
    forms |= {("auth", "tenants", tenant): form for tenant, form in file.auth.tenants.items()}
    for at, form in forms.items():
        if form.oauth2 is not None and form.oauth2.token_url.startswith("http:"):
            loc = (*at, "oauth2", "token_url")
            wanted = "https; http only beside allow_private_addresses: true"
            yield _problem(path, lines[loc], ".".join(loc), repr(form.oauth2.token_url), wanted)


def _rates(text: str) -> str:
    try:
        limits.parse_many(text)
    except ValueError:
        raise ValueError('rates such as "200/second; 5000/hour"') from None
    return text


Seconds = Annotated[float, Field(gt=0, le=3600)]
Weight = Annotated[float, Field(gt=0, le=1000)]


class _Timeouts(Strict):
    connect: Seconds = 5.0
    read: Seconds = 30.0
    total: Seconds = 60.0


Share = Annotated[float, Field(gt=0, le=1)]


class _Breaker(Strict):
    failure_rate: Share = 0.5
    slow_seconds: Seconds | None = None
    slow_rate: Share = 0.8
    calls: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    open_seconds: Seconds = 5.0
    longest_open_seconds: Seconds = 30.0
    probes: Annotated[int, Field(ge=1, le=1000)] = 3
    ramp_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0

    def rules(self, longest_pause_seconds: float) -> HealthRules:
        return HealthRules(**self.model_dump(), longest_pause_seconds=longest_pause_seconds)


class _Retries(Strict):
    share: Annotated[float, Field(ge=0, le=1)] = 0.2
    per_second: Annotated[float, Field(gt=0, le=1_000_000)] = 10.0


def _off(value: object) -> object:
    return None if value is False else value  # `off` in YAML


class _File(Strict):
    api: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    base_url: Annotated[str, AfterValidator(checked_base_url)] | None = None
    rate: Annotated[str, AfterValidator(_rates)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    rate_headroom_seconds: Annotated[float, Field(ge=0.01, le=1)] = 0.04
    connections: Annotated[int, Field(ge=1, le=100_000)] = 100
    timeouts: _Timeouts = _Timeouts()
    keep_alive_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    headers: dict[HeaderName, HeaderText] = Field(default_factory=dict)
    auth: AuthFile | None = None
    tls: TlsFile | None = None
    max_response_bytes: Annotated[int, Field(ge=1)] = 4 * 1024 * 1024
    allow_private_addresses: bool = False
    weights: dict[str, Weight] = Field(default_factory=dict)
    breaker: Annotated[_Breaker | None, BeforeValidator(_off)] = _Breaker()
    retries: _Retries = _Retries()
    longest_pause_seconds: Seconds = 600.0

    def config(self, *, default_name: str) -> ApiConfig:
        return ApiConfig(
            name=self.api or default_name, base_url=self.base_url, rates=parse_rates(self.rate),
            concurrency=self.concurrency, headroom_seconds=self.rate_headroom_seconds,
            connections=self.connections,
            connect_seconds=self.timeouts.connect, read_seconds=self.timeouts.read,
            total_seconds=self.timeouts.total, keep_alive_seconds=self.keep_alive_seconds,
            headers=tuple(self.headers.items()), auth=self.auth.auth() if self.auth else None,
            tls=self.tls.tls() if self.tls else None,
            max_response_bytes=self.max_response_bytes,
            allow_private_addresses=self.allow_private_addresses, weights=self.weights,
            health=(self.breaker or _Breaker()).rules(self.longest_pause_seconds),
            breaker=self.breaker is not None, retry_share=self.retries.share,
            retries_a_second=self.retries.per_second,
        )  # fmt: skip


def parse_rates(text: str | None) -> tuple[Rate, ...]:
    """Rates in the notation of `limits`. Raises ValueError."""
    found = limits.parse_many(text) if text else []
    return tuple(Rate(amount=item.amount, seconds=float(item.get_expiry())) for item in found)


# --- YAML with lines ------------------------------------------------------------------------------


def _read_yaml(path: Path, content: bytes | None) -> tuple[Any, Lines]:
    """The document and the line of each of its fields."""
    try:
        text = (path.read_bytes() if content is None else content).decode("utf-8")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines = dict[tuple[Any, ...], int]({(): 1})
        _note_lines(path, node, (), lines)
        return ({} if node is None else loader.construct_document(node)), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        found = error.problem or "a syntax error"
        raise _invalid(path, line, "document", found, "YAML") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _invalid(path, 1, "document", str(error), "YAML in UTF-8") from None


def _note_lines(
    path: Path, node: yaml.Node | None, at: tuple[Any, ...], lines: dict[tuple[Any, ...], int]
) -> None:
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
    return _described(f"{path}:{line}: {'.'.join(map(str, loc)) or 'document'}", loc, item)


def _of_override(name: str, loc: tuple[Any, ...], item: Any) -> Problem:
    if item["type"] == "extra_forbidden" and len(loc) == 1:
        known = ", ".join(field_names())
        return Problem(place=f"set {name}", found="an unknown field", wanted=f"one of {known}")
    return _described(f"set {name}", loc, item)


def _described(place: str, loc: tuple[Any, ...], item: Any) -> Problem:
    """A validation error as what was found there and what is wanted."""
    if item["type"] == "extra_forbidden":
        known = ", ".join(_known_fields(loc[:-1]))
        return Problem(place=place, found="an unknown field", wanted=f"one of {known}")
    wanted = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return Problem(place=place, found=_shown(item, loc), wanted=wanted)


def _known_fields(parent: tuple[Any, ...]) -> list[str]:
    models: dict[tuple[Any, ...], type[BaseModel]] = {
        (): _File, ("timeouts",): _Timeouts, ("tls",): TlsFile, ("auth",): AuthFile,
        ("form",): FormFile, ("form", "basic"): BasicFile, ("form", "oauth2"): OAuth2File,
        **{("form", place): NamedFile for place in Place},
        ("breaker",): _Breaker, ("retries",): _Retries,
    }  # fmt: skip
    if parent[:2] == ("auth", "tenants") and len(parent) > 2:
        parent = ("form", *parent[3:])
    elif len(parent) > 1 and parent[0] == "auth":
        parent = ("form", *parent[1:])
    return list(models[parent].model_fields)


_HARMLESS = frozenset({"token_url", "client_auth", "grant"})


def _shown(item: Any, loc: tuple[Any, ...]) -> str:
    """What was found, unless it may be a secret that somebody wrote where none belongs."""
    value = item.get("input")
    if item["type"] == "missing":
        return "nothing"
    if (loc[:1] == ("auth",) and loc[-1] not in _HARMLESS) or loc[:1] == ("headers",):
        return "something else"
    if loc[-1:] in (("base_url",), ("token_url",)) and "@" in str(value):
        return "something else"
    return repr(value)[:100]


def _problem(path: Path, line: int, field: str, found: str, wanted: str) -> Problem:
    return Problem(place=f"{path}:{line}: {field}", found=found, wanted=wanted)


def _invalid(path: Path, line: int, field: str, found: str, wanted: str) -> InvalidSetting:
    problem = _problem(path, line, field, found, wanted)
    return InvalidSetting(_INVALID, problems=[problem])
