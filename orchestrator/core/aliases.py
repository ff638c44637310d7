"""Names of versions that move: which version a run of `order`, or of `order@stable`, begins with.

Who names no version gets `stable` where there is one, else the latest; of these runs `canary` takes
its share. Which ones is told by their keys alone, so whoever asks again with the same key gets the
same version, and a larger share keeps all that had it before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import InvalidInput, NotFound, Problem

STABLE = "stable"
"""What runs get that name no version."""
CANARY = "canary"
"""What a share of these gets instead."""
LATEST = "latest"
"""The newest version, whatever aliases say; no alias can be called so."""

ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,49}")
_NUMBER = re.compile(r"v?[1-9][0-9]{0,8}")
_ALIAS_WANTED = "small letters, digits, - and _, a letter first, 50 at most; not v3, not latest"
_WANTED = "WORKFLOW, WORKFLOW@3, WORKFLOW@stable (or another of its aliases), WORKFLOW@latest"
_RANGE = 1 << 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What somebody asks for: a version, what an alias names, or (both empty) what is offered."""

    workflow: str
    version: int | None = None
    alias: str = ""

    def __str__(self) -> str:
        said = self.alias or ("" if self.version is None else str(self.version))
        return f"{self.workflow}@{said}" if said else self.workflow


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """What an alias names. `share`: of those who name no version, in percent; `canary` alone."""

    version: int
    workflow_id: str
    share: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Offered:
    """The versions of a workflow that can be asked for without a number."""

    workflow: str
    latest: Named
    aliases: Mapping[str, Named]


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A version, and the alias that led to it; empty: none did."""

    version: int
    workflow_id: str
    alias: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ways:
    """Where what was asked for may lead: one version, or another for a share of the runs."""

    workflow: str
    plain: Way
    canary: Way | None = None
    share: float = 0.0  # percent

    def of(self, tenant: str, key: str) -> Way:
        """Which one a run with this idempotency key goes."""
        if self.canary is None or not takes(self.workflow, tenant, key, self.share):
            return self.plain
        return self.canary


def asked(what: str, version: int | None = None) -> Asked:
    """What a text asks for, with a version that was said beside it.

    Raises InvalidInput for what names no version, and where both say one.
    """
    name, at, said = what.partition("@")
    if not at:
        return Asked(workflow=name, version=version)
    if version is not None:
        found = f"{what}, and version {version} beside it"
        raise _unclear(Problem(place="version", found=found, wanted="one of them"))
    if name and _NUMBER.fullmatch(said):
        return Asked(workflow=name, version=int(said.removeprefix("v")))
    if not (name and ALIAS.fullmatch(said)):
        raise _unclear(Problem(place="version", found=what, wanted=_WANTED))
    return Asked(workflow=name, alias=said)


def ways(wish: Asked, offered: Offered) -> Ways:
    """Where a wish without a number leads. Raises NotFound for an alias that is none."""
    canary = offered.aliases.get(CANARY)
    if wish.alias not in ("", STABLE):
        return Ways(workflow=offered.workflow, plain=_named(wish.alias, offered))
    is_stable = wish.alias or STABLE in offered.aliases
    plain = _named(STABLE if is_stable else LATEST, offered)
    if canary is None or not canary.share:
        return Ways(workflow=offered.workflow, plain=plain)
    return Ways(
        workflow=offered.workflow, plain=plain, share=canary.share, canary=_named(CANARY, offered)
    )


def takes(workflow: str, tenant: str, key: str, share: float) -> bool:
    """Whether a run with this key is among a share (percent) of the workflow's runs."""
    told = "\n".join((workflow, tenant, key)).encode("utf-8", "surrogatepass")
    place = int.from_bytes(hashlib.sha256(told).digest()[:8], "big")
    return place < share / 100 * _RANGE


def alias_problems(alias: str, share: float | None) -> list[Problem]:
    """What is wrong with an alias and its share, if anything is."""
    found = []
    if alias == LATEST or _NUMBER.fullmatch(alias) or not ALIAS.fullmatch(alias):
        found.append(Problem(place="alias", found=repr(alias[:60]), wanted=_ALIAS_WANTED))
    if share is not None and alias != CANARY:
        wanted = f"none: {CANARY} alone takes a share of the runs that name no version"
        found.append(Problem(place="share", found=f"{share:g} for {alias[:60]}", wanted=wanted))
    if share is not None and not 0 <= share <= 100:
        found.append(Problem(place="share", found=f"{share:g}", wanted="0 to 100 percent"))
    return found


def _named(alias: str, offered: Offered) -> Way:
    if alias == LATEST:
        latest = offered.latest
        return Way(version=latest.version, workflow_id=latest.workflow_id)
    found = offered.aliases.get(alias)
    if found is None:
        known = ", ".join(sorted([*offered.aliases, LATEST]))
        problem = Problem(
            place=f"alias of workflow {offered.workflow}", found=alias,
            wanted=f"one of {known}, or a version: 1 to {offered.latest.version}",
        )  # fmt: skip
        raise NotFound(f"there is no {offered.workflow}@{alias}", problems=[problem])
    return Way(version=found.version, workflow_id=found.workflow_id, alias=alias)


def _unclear(problem: Problem) -> InvalidInput:
    return InvalidInput("it is not clear which version is meant", problems=[problem])
