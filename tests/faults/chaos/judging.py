"""The verdict over a stage whose workers have ended, in the words of `bench chaos --json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orchestrator.settings import Settings
from tests.faults.chaos.broker import Broker
from tests.faults.chaos.rabbit import RabbitBroker
from tests.faults.chaos.stage import CANARY
from tests.faults.checker.invariants import Verdict, check
from tests.faults.checker.report import as_json, as_text
from tests.faults.checker.tables import read_tables
from tests.faults.ledger.running import LedgerProcess
from tests.faults.workload import RunSeed

ENDINGS = ("succeeded", "compensated", "escalated")
ZEROS = (
    "lost", "orphaned_effects", "duplicate_effects", "unkeyed_repeats",
    "out_of_order_compensations", "unexpected_endings", "needless_escalations", "audit_gaps",
)  # fmt: skip
"""The promised ones, in their order; the judge's other counts follow."""


class Evidence(Protocol):
    """What is judged: a stage on one machine, or on several hosts."""

    @property
    def ledger(self) -> LedgerProcess:
        """What came to the API."""

    @property
    def broker(self) -> Broker | RabbitBroker:
        """What was told to the broker."""

    @property
    def settings(self) -> Settings:
        """Where the tables are."""

    @property
    def logs(self) -> Path:
        """One file for each process."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is said of one stage."""

    verdict: Verdict = field(repr=False)

    @property
    def clean(self) -> bool:
        """Whether every zero is a zero."""
        return not self.verdict.violations

    def counts(self) -> Mapping[str, Any]:
        """Endings and breaches."""
        found = self.verdict.counts()
        endings = {name: self.verdict.endings.get(name, 0) for name in ENDINGS}
        return endings | {name: found.pop(name) for name in ZEROS} | found

    def report(self) -> Mapping[str, Any]:
        """All of it, as JSON."""
        return as_json(self.verdict)

    def story(self) -> str:
        """What was broken, and the stories of the first runs concerned."""
        return as_text(self.verdict)


def judge(stage: Evidence, seeds: Sequence[RunSeed], acknowledged: Mapping[str, str]) -> Judgement:
    """Hold ledger, tables and all text against the seeds. The database is up, workers are not."""
    verdict = check(
        seeds,
        stage.ledger.records(),
        read_tables(stage.settings.database),
        acknowledged=acknowledged.keys(),
        canaries=[CANARY],
        files=_texts(stage),
    )
    return Judgement(verdict=verdict)


def _texts(stage: Evidence) -> Iterator[Path]:
    """What anybody may read: logs of workers and servers, all that was told to the broker."""
    yield from sorted(stage.logs.glob("*.log"))
    yield from stage.broker.dumps()
