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
    rules:                             # limits of parts of it, by name; all that apply hold at once
      charges: {operation: POST /charges, rate: 20/second}
      search: {operation: /search/*, rate: 5/second; 100/minute, concurrency: 4}
      each-tenant: {per: tenant, rate: 10/second, concurrency: 8, waiting: 500}
      guests: {tenant: guest-*, rate: 3/second}
      each-key: {per: credential, rate: 100/second}
      reports: {operation: /reports/*, breaker: {slow_seconds: 20}}   # or on: ill by itself
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.core.health import HealthRules
from orchestrator.definitions.sources import TASKS_API
from orchestrator.engine.api_document import (
    ApiDocument,
    BreakerFile,
    RuleFile,
    is_settable,
    merged,
    not_at_run_time,
    path_of,
    problem_of_file,
    problem_of_override,
)
from orchestrator.engine.api_rules import Per, Rule
from orchestrator.engine.auth import Auth, FormFile, OAuth2File, Tls
from orchestrator.engine.base_url import checked_base_url, shown_base_url
from orchestrator.engine.rates import parse_rates
from orchestrator.engine.yaml_lines import INVALID, Lines, problem_at, read_yaml
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import Rate

DEFAULT_HEALTH = HealthRules()
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
    traceparent: bool = False  # whether it is told which trace a call belongs to
    auth: Auth | None = None
    tls: Tls | None = None  # None: the system's authorities, and no certificate of ours
    max_response_bytes: int = 4 * 1024 * 1024
    allow_private_addresses: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)  # by tenant; 1 for all others
    rules: tuple[Rule, ...] = ()
    health: HealthRules | None = DEFAULT_HEALTH  # None: it is always taken to be well
    breaker: bool = True  # False: failed and slow calls do not close it
    retry_share: float = 0.2  # of the calls of late may be retries,
    retries_a_second: float = 10.0  # and so many anyway
    held: bool = False  # by an operator: nothing leaves, compensations neither

    @property
    def limited(self) -> bool:
        """Whether workers have to agree on anything before a request leaves."""
        shared = any(rule.rates or rule.concurrency is not None for rule in self.rules)
        return shared or bool(self.rates) or self.concurrency is not None


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
        raise InvalidSetting(INVALID, problems=problems)
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
        problems = [not_at_run_time(name) for name in overrides if not is_settable(name)]
        if problems:
            raise InvalidSetting(INVALID, problems=problems)
        try:
            file = ApiDocument.model_validate(merged(self.data, overrides))
        except ValidationError as error:
            problems = [self._problem_of(overrides, item) for item in error.errors()]
            raise InvalidSetting(INVALID, problems=problems) from None
        if problems := list(_secrets_in_the_clear(self.path, self.lines, file)):
            raise InvalidSetting(INVALID, problems=problems)
        config = _config(file, default_name=self.name)
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
                return problem_of_override(name, loc, item)
        return problem_of_file(self.path or Path("no file"), self.lines or {(): 1}, item)


def read_api(path: Path, content: bytes | None = None) -> ApiFile:
    """One file, its content given or read. Raises InvalidSetting when it is not YAML as wanted."""
    data, lines = read_yaml(path, content)
    named = data.get("api") if isinstance(data, dict) else None
    file = ApiFile(name=named or path.stem, path=path, data=data, lines=lines)
    file.config()
    return file


def second_of_its_name(path: Path, name: str) -> Problem:
    """Two files say how the same API may be used."""
    return problem_at(path, 1, "api", name, "a name no other file has")


def _secrets_in_the_clear(path: Path | None, lines: Lines, file: ApiDocument) -> Iterator[Problem]:
    """Token endpoints to which a client's secret would travel unencrypted, not on this machine."""
    if path is None or file.auth is None or file.allow_private_addresses:
        return
    forms: dict[tuple[str, ...], FormFile] = {("auth",): file.auth}
    forms |= {("auth", "tenants", tenant): form for tenant, form in file.auth.tenants.items()}
    for at, form in forms.items():
        found: dict[tuple[str, ...], OAuth2File | None] = {at: form.oauth2}
        found |= {(*at, "schemes", key): one.oauth2 for key, one in (form.schemes or {}).items()}
        for below, oauth2 in found.items():
            if oauth2 is not None and oauth2.token_url.startswith("http:"):
                loc = (*below, "oauth2", "token_url")
                wanted = "https; http only beside allow_private_addresses: true"
                yield problem_at(path, lines[loc], ".".join(loc), repr(oauth2.token_url), wanted)


def _config(file: ApiDocument, *, default_name: str) -> ApiConfig:
    return ApiConfig(
        name=file.api or default_name, base_url=file.base_url, rates=parse_rates(file.rate),
        concurrency=file.concurrency, headroom_seconds=file.rate_headroom_seconds,
        connections=file.connections,
        connect_seconds=file.timeouts.connect, read_seconds=file.timeouts.read,
        traceparent=file.traceparent, total_seconds=file.timeouts.total,
        keep_alive_seconds=file.keep_alive_seconds,
        headers=tuple(file.headers.items()), auth=file.auth.auth() if file.auth else None,
        tls=file.tls.tls() if file.tls else None,
        max_response_bytes=file.max_response_bytes,
        allow_private_addresses=file.allow_private_addresses, weights=file.weights,
        rules=tuple(
            _rule(name, rule, file.longest_pause_seconds)
            for name, rule in file.rules.items() if rule is not None
        ),
        health=(file.breaker or BreakerFile()).rules(file.longest_pause_seconds),
        breaker=file.breaker is not None, retry_share=file.retries.share,
        retries_a_second=file.retries.per_second,
    )  # fmt: skip


def _rule(name: str, file: RuleFile, longest_pause_seconds: float) -> Rule:
    return Rule(
        name=name, operation=file.operation, tenant=file.tenant,
        per=Per(file.per) if file.per else None,
        rates=parse_rates(file.rate), concurrency=file.concurrency,
        waiting=file.waiting,
        health=file.breaker.rules(longest_pause_seconds) if file.breaker else None,
    )  # fmt: skip
