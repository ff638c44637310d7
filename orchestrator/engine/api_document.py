"""The fields of a file in `config/apis/`, their bounds, and what is said of wrong ones.

Here is the document alone; `apis.py` reads it and makes an `ApiConfig` of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from orchestrator.core.health import HealthRules
from orchestrator.engine.api_rules import checked_operation
from orchestrator.engine.auth import (
    AuthFile,
    BasicFile,
    FormFile,
    HeaderName,
    HeaderText,
    NamedFile,
    OAuth2File,
    Place,
    SchemeFile,
    SchemeOAuth2File,
    Strict,
    TlsFile,
)
from orchestrator.engine.base_url import checked_base_url
from orchestrator.engine.rates import checked_rates
from orchestrator.engine.yaml_lines import Lines
from orchestrator.errors import Problem

Seconds = Annotated[float, Field(gt=0, le=3600)]
Weight = Annotated[float, Field(gt=0, le=1000)]


class TimeoutsFile(Strict):
    """How long a call may take, in seconds."""

    connect: Seconds = 5.0
    read: Seconds = 30.0
    total: Seconds = 60.0


Share = Annotated[float, Field(gt=0, le=1)]


class BreakerFile(Strict):
    """When an API is left alone, and how it is taken up again."""

    failure_rate: Share = 0.5
    slow_seconds: Seconds | None = None
    slow_rate: Share = 0.8
    calls: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    open_seconds: Seconds = 5.0
    longest_open_seconds: Seconds = 30.0
    probes: Annotated[int, Field(ge=1, le=1000)] = 3
    ramp_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0

    def rules(self, longest_pause_seconds: float) -> HealthRules:
        """As the core wants them."""
        return HealthRules(**self.model_dump(), longest_pause_seconds=longest_pause_seconds)


Slots = Annotated[int, Field(ge=1, le=1_000_000)]
RuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class RetriesFile(Strict):
    """How many of the calls may be retries."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.2
    per_second: Annotated[float, Field(gt=0, le=1_000_000)] = 10.0


def _off(value: object) -> object:
    return None if value is False else value  # `off` in YAML


def _on_or_off(value: object) -> object:
    return {} if value is True else _off(value)


class RuleFile(Strict):
    """Limits of some of an API's calls."""

    operation: Annotated[str, AfterValidator(checked_operation)] | None = None
    tenant: Annotated[str, Field(min_length=1)] | None = None
    per: Literal["tenant", "credential"] | None = None
    rate: Annotated[str, AfterValidator(checked_rates)] | None = None
    concurrency: Slots | None = None
    waiting: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    breaker: Annotated[BreakerFile | None, BeforeValidator(_on_or_off)] = None

    @model_validator(mode="after")
    def _says_what_is_limited(self) -> Self:
        if self.operation is None and self.tenant is None and self.per is None:
            raise ValueError("operation, tenant or per; for all calls together there is no rule")
        limits = (self.rate, self.concurrency, self.waiting, self.breaker)
        if all(limit is None for limit in limits):
            raise ValueError("at least one of rate, concurrency, waiting, breaker")
        return self


class ApiDocument(Strict):
    """One file; see `apis.py` for what it looks like."""

    api: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    base_url: Annotated[str, AfterValidator(checked_base_url)] | None = None
    rate: Annotated[str, AfterValidator(checked_rates)] | None = None
    concurrency: Slots | None = None
    rate_headroom_seconds: Annotated[float, Field(ge=0.01, le=1)] = 0.04
    connections: Annotated[int, Field(ge=1, le=100_000)] = 100
    timeouts: TimeoutsFile = TimeoutsFile()
    keep_alive_seconds: Annotated[float, Field(ge=0, le=3600)] = 10.0
    headers: dict[HeaderName, HeaderText] = Field(default_factory=dict)
    traceparent: bool = False
    auth: AuthFile | None = None
    tls: TlsFile | None = None
    max_response_bytes: Annotated[int, Field(ge=1)] = 4 * 1024 * 1024
    allow_private_addresses: bool = False
    weights: dict[str, Weight] = Field(default_factory=dict)
    rules: dict[RuleName, Annotated[RuleFile | None, BeforeValidator(_off)]] = Field(
        default_factory=dict
    )
    breaker: Annotated[BreakerFile | None, BeforeValidator(_off)] = BreakerFile()
    retries: RetriesFile = RetriesFile()
    longest_pause_seconds: Seconds = 600.0


# --- fields by name -------------------------------------------------------------------------------

ANY_TENANT, ANY_RULE = "TENANT", "RULE"
"""Stand for the keys of mappings."""
ONLY_IN_FILES = frozenset({"api", "auth", "tls", "headers", "base_url", "allow_private_addresses"})
"""What cannot be overridden at run time: where requests go, and with whose credentials."""


def path_of(field: str) -> tuple[str, ...]:
    """The keys that lead to a field: "timeouts.read" -> ("timeouts", "read").

    Below a mapping of plain values, such as weights, the rest is one key: names of tenants may have
    dots. Names of rules have none.
    """
    model: type[BaseModel] | None = ApiDocument
    path: list[str] = []
    rest = field
    while rest and model is not None:
        head, _, rest = rest.partition(".")
        path.append(head)
        known = model.model_fields.get(head)
        annotation = None if known is None else known.annotation
        model = _model_in(annotation)
        if rest and model is not None and _is_mapping(annotation):
            key, _, rest = rest.partition(".")
            path.append(key)
    return (*path, rest) if rest or not path else tuple(path)


def field_names() -> list[str]:
    """All fields that can be overridden, as `set` takes them."""
    return [
        name
        for field, info in ApiDocument.model_fields.items()
        if field not in ONLY_IN_FILES
        for name in _names_under(field, info.annotation)
    ]


def default_of(field: str) -> Any:
    """The value of a field that is set nowhere; None for one key of a mapping."""
    at: Any = ApiDocument()
    for key in path_of(field):
        at = at.get(key) if isinstance(at, Mapping) else getattr(at, key, None)
    return at


def api_schema() -> dict[str, Any]:
    """The JSON schema of a file, for editors."""
    schema = ApiDocument.model_json_schema()
    address = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": address, **schema, "title": "How an API may be used"}


def is_settable(field: str) -> bool:
    """Whether a field, known or not, could be overridden: no group, and not only in files."""
    path = path_of(field)
    if path[0] in ONLY_IN_FILES:
        return False
    known = ApiDocument.model_fields.get(path[0])
    if known is None or len(path) > 1:
        return True  # a name that is not known is refused by the model, which lists the others
    return not (_is_mapping(known.annotation) or _model_in(known.annotation))


def not_at_run_time(field: str) -> Problem:
    """Why a field cannot be overridden."""
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
    if model is None:
        return [f"{field}.{ANY_TENANT}"] if _is_mapping(annotation) else [field]
    below = f"{field}.{ANY_RULE}" if _is_mapping(annotation) else field
    return [f"{below}.{name}" for name in model.model_fields]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or may be; of a mapping that of its values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    choices = get_args(annotation)[_is_mapping(annotation) :]
    return next((model for each in choices if (model := _model_in(each))), None)


def _is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict


def merged(data: Any, overrides: Mapping[str, Any]) -> Any:
    """The document with other values; what is no mapping is left for the model to refuse."""
    if not isinstance(data, dict):
        return data
    merged = deepcopy(data)
    paths = {path_of(name): value for name, value in overrides.items()}
    for (*groups, last), value in sorted(paths.items(), key=lambda item: len(item[0])):
        at = merged
        for group in groups:
            if not isinstance(at.get(group), dict):
                at[group] = {}  # not there, or nothing that a key could be put into
            at = at[group]
        at[last] = value
    return merged


# --- what is wrong --------------------------------------------------------------------------------


def problem_of_file(path: Path, lines: Lines, item: Any) -> Problem:
    """A validation error with the line of its field, or of the nearest one around it."""
    loc = tuple(part for part in item["loc"] if part != "[key]")
    line = next(lines[loc[:size]] for size in range(len(loc), -1, -1) if loc[:size] in lines)
    return _described(f"{path}:{line}: {'.'.join(map(str, loc)) or 'document'}", loc, item)


def problem_of_override(name: str, loc: tuple[Any, ...], item: Any) -> Problem:
    """A validation error that stems from an override."""
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
        (): ApiDocument, ("timeouts",): TimeoutsFile, ("tls",): TlsFile, ("auth",): AuthFile,
        ("form",): FormFile, ("form", "basic"): BasicFile, ("form", "oauth2"): OAuth2File,
        **{("form", place): NamedFile for place in Place},
        ("scheme",): SchemeFile, ("scheme", "basic"): BasicFile,
        ("scheme", "oauth2"): SchemeOAuth2File,
        ("breaker",): BreakerFile, ("retries",): RetriesFile, ("rules",): RuleFile,
    }  # fmt: skip
    if parent[:2] == ("auth", "tenants") and len(parent) > 2:
        parent = ("form", *parent[3:])
    elif len(parent) > 1 and parent[0] == "auth":
        parent = ("form", *parent[1:])
    elif parent[:1] == ("rules",):
        parent = ("breaker",) if parent[2:] == ("breaker",) else ("rules",)
    if parent[:2] == ("form", "schemes"):
        parent = ("scheme", *parent[3:])
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
