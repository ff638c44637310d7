"""Whose requests wait in which process, in memory: `coordination/reserve.lua` line by line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.coordination.limits import MILLION
from orchestrator.ports import TenantWaiting

PRESENT = 2_000_000  # a process that asked within two seconds counts as waiting


@dataclass(kw_only=True, slots=True)
class _Process:
    waiting: int
    expires: int  # microseconds
    said: dict[str, int] = field(default_factory=dict)  # what waits, by tenant
    entitled: int = 0  # 0: it does not say whose requests wait in it
    credit: int = 0  # millionths of a start time
    given_then: int = 0


@dataclass(kw_only=True, slots=True)
class Turn:
    """One process's, when it reserves."""

    process: _Process
    given_to_all: int
    share: float
    processes: int  # that want this API, this one included
    elsewhere: int
    tenants_here: list[int]  # millionths
    was_wanted: bool

    def settle(self, usual: int) -> int:
        """Its credit, of at most twice the usual start times."""
        process, most = self.process, 2 * usual * MILLION
        since = self.given_to_all - process.given_then
        grown = process.credit + math.floor(self.share * since * MILLION)
        process.credit = max(min(grown, most), -most)
        return process.credit


@dataclass(kw_only=True, slots=True)
class Crowd:
    """Everybody that wants one API."""

    processes: dict[str, _Process] = field(default_factory=dict)
    given: int = 0  # start times so far
    expires: float = math.inf  # microseconds; nobody has asked for twice as long as anybody waits

    def forget(self, now: int) -> None:
        """If nobody has asked for long: who waited, and what anybody was given."""
        if self.expires <= now:
            self.processes.clear()
            self.given, self.expires = 0, math.inf

    def leave(self, name: str) -> None:
        """Nothing of a process waits any more."""
        self.processes.pop(name, None)

    def come(self, name: str, waiting: int, tenants: Sequence[TenantWaiting], now: int) -> Turn:
        """Learn what a process has waiting."""
        self.forget(now)
        self.expires = now + 2 * PRESENT
        for other in [other for other, each in self.processes.items() if each.expires <= now]:
            del self.processes[other]
        before = any(each.waiting for each in self.processes.values())
        own = self.processes.setdefault(name, _Process(waiting=0, expires=0, given_then=self.given))
        own.waiting, own.expires = waiting, now + PRESENT
        own.said = {each.tenant: each.waiting for each in tenants}
        here = [self._here(each) for each in tenants]
        weighed = zip(tenants, here, strict=True)
        own.entitled = sum(max(math.floor(each.weight * part), 1) for each, part in weighed)
        others = [each for each in self.processes.values() if each is not own and each.waiting]
        share = 1 / (len(others) + 1)
        if own.entitled and all(each.entitled for each in others):
            share = own.entitled / (own.entitled + sum(each.entitled for each in others))
        return Turn(
            process=own, given_to_all=self.given, share=share, processes=len(others) + 1,
            elsewhere=sum(each.waiting for each in others), tenants_here=here, was_wanted=before,
        )  # fmt: skip

    def weight(self, name: str) -> int:
        """What a process's tenants are entitled to; as one tenant, when nobody waits there."""
        process = self.processes.get(name)
        return process.entitled if process is not None and process.entitled else MILLION

    def served(self, turn: Turn, starts: int) -> None:
        """It was given so many; fewer than none, if it gave more back."""
        turn.process.credit -= starts * MILLION
        turn.process.given_then = turn.given_to_all
        self.given += starts

    def _here(self, own: TenantWaiting) -> int:
        """The part of a tenant's waiting, in millionths."""
        total = sum(each.said.get(own.tenant, 0) for each in self.processes.values())
        return math.floor(own.waiting * MILLION / max(total, own.waiting))
