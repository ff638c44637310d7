"""Limits of parts of an API: the `rules` of its configuration, and which of them a call is under.

A rule is about the calls of some operations or tenants, or about each tenant or each credential
apart; every rule that a call is under holds for it, beside the limits of the API as a whole. What a
rule counts together is a *scope*: all calls of "POST /charges", or those of one tenant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.health import HealthRules
from orchestrator.engine.auth import Auth
from orchestrator.ports import Rate, Visit

DEFAULT_CREDENTIAL = "default"
_OPERATION = re.compile(r"(?:(?P<method>[A-Z]+|\*) )?(?P<path>/\S*)")
_WILD = re.compile(r"\*|\{[^{}/]+\}")


class Per(StrEnum):
    """What each has the limits of a rule for itself."""

    TENANT = "tenant"
    CREDENTIAL = "credential"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Limits of some of an API's calls."""

    name: str
    operation: str | None = None  # "POST /charges/{id}", "/search/*"; None: all
    tenant: str | None = None  # its name, where `*` stands for any text; None: all
    per: Per | None = None  # None: all together
    rates: tuple[Rate, ...] = ()  # all hold at once
    concurrency: int | None = None  # in flight over all workers; None: unlimited
    waiting: int | None = None  # in one process; None: as many as there is room for
    health: HealthRules | None = None  # of a breaker of its own; None: that of the API counts


@dataclass(frozen=True, slots=True)
class Scope:
    """What a rule counts together."""

    rule: Rule
    of: str = ""  # the tenant or the credential, if the rule is per one of them

    @property
    def key(self) -> str:
        """Names it among all scopes of its API, whatever its limits are."""
        return f"{self.rule.name}:{self.of}" if self.rule.per else self.rule.name


def operation_pattern(text: str) -> re.Pattern[str]:
    """What matches a visit's operation: `*` stands for any text, `{name}` for one part of a path.

    Raises ValueError that says what is wanted.
    """
    match = _OPERATION.fullmatch(text)
    if match is None:
        raise ValueError('a method and a path, or a path: "POST /charges/{id}", "/search/*"')
    path = match["path"]
    parts = [re.escape(part) for part in _WILD.split(path)]
    wild = [".*" if found == "*" else "[^/]+" for found in _WILD.findall(path)]
    joined = "".join(f"{part}{gap}" for part, gap in zip(parts, [*wild, ""], strict=True))
    method = match["method"] or "*"
    return re.compile(f"{'[^ ]+' if method == '*' else method} {joined}")


def checked_operation(text: str) -> str:
    """The text itself. Raises ValueError that says what is wanted."""
    operation_pattern(text)
    return text


class ScopeFinder:
    """Which scopes of an API a visit belongs to. Without I/O and without a secret."""

    def __init__(self, rules: Sequence[Rule], auth: Auth | None) -> None:
        self._rules = [(rule, _is_about(rule)) for rule in rules]
        self._credentials = _credentials(auth)

    def scopes_of(self, visit: Visit) -> tuple[Scope, ...]:
        """In the order of the rules."""
        return tuple(
            Scope(rule, self._part(rule.per, visit))
            for rule, is_about in self._rules
            if is_about(visit)
        )

    def _part(self, per: Per | None, visit: Visit) -> str:
        if per is None:
            return ""
        if per is Per.TENANT:
            return visit.tenant
        return self._credentials.get(visit.tenant, DEFAULT_CREDENTIAL)


def _is_about(rule: Rule) -> Callable[[Visit], bool]:
    """Whether a rule is about a visit."""
    operation = None if rule.operation is None else operation_pattern(rule.operation)
    tenant = None if rule.tenant is None else re.compile(_wild(rule.tenant))

    def is_about(visit: Visit) -> bool:
        if operation is not None and not operation.fullmatch(visit.operation):
            return False
        return tenant is None or tenant.fullmatch(visit.tenant) is not None

    return is_about


def _wild(text: str) -> str:
    return ".*".join(map(re.escape, text.split("*")))


def _credentials(auth: Auth | None) -> dict[str, str]:
    """A name for the credential of each tenant with one of its own; who has the same, shares it."""
    if auth is None:
        return {}
    known = [] if auth.default is None else [(DEFAULT_CREDENTIAL, auth.default)]
    names: dict[str, str] = {}
    for tenant, form in auth.tenants.items():
        same = next((name for name, other in known if other == form), None)
        names[tenant] = same or f"{Per.TENANT} {tenant}"
        known.append((names[tenant], form))
    return names
