"""What a durable engine looks like to this bench."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from orchestrator.embedded.process import Child
from tests.bench.engine.place import ROOT, Place
from tests.bench.kills.judging import Ending
from tests.bench.kills.work import LEDGER_VARIABLE
from tests.faults.ledger.running import LedgerProcess


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What there is before the engine: a broker and a PostgreSQL for who wants them, the ledger."""

    place: Place
    ledger: LedgerProcess
    workers: int

    @property
    def env(self) -> dict[str, str]:
        """What the workers of a peer need: this source tree, and where the ledger is."""
        return {"PYTHONPATH": str(ROOT), LEDGER_VARIABLE: self.ledger.address}


@dataclass(frozen=True, kw_only=True)
class Mortal:
    """A process that is killed, and started again as any supervisor would."""

    child: Child
    signal: signal.Signals = signal.SIGKILL


class Crew(Protocol):
    """An engine that is up."""

    workers: Sequence[Mortal]
    servers: Sequence[Mortal]

    async def submit(self, run: str) -> None:
        """Begin a run of this name; again is the same run. Raises while a server is away."""

    async def endings(self, runs: Sequence[str]) -> Mapping[str, Ending]:
        """What the engine says of each; those that it knows nothing of are left out. Raises while
        a server is away."""


class Engine(Protocol):
    """One that packages can bring."""

    system: str
    promise: str
    """What its documents promise of a step whose worker is killed, in our words."""
    set_up: str
    """How it is set up, where that matters here."""

    def missing(self) -> str:
        """What is to be installed, and how; empty when it is all there."""

    def version(self) -> str:
        """Of what is installed."""

    def prepare(self) -> None:
        """Bring what no Python package brings. Raises Unavailable."""

    def crew(self, stage: Stage) -> AbstractAsyncContextManager[Crew]:
        """All of it up; ended on leaving. Raises Unavailable, TimeoutError."""
