"""What a dry run is asked for, and tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """How far a dry run goes."""

    DRY_RUN = "dry_run"  # nothing is sent
    READS = "dry_run_reads"  # what only reads is asked, where the deployment lets it
    SIMULATE = "simulate"  # played to its end, with answers that are made up or recorded


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulation:
    """How a run is played."""

    fail_at: str | None = None  # the step that is refused
    recorded: str | None = None  # a run that has ended, whose answers are taken


@dataclass(frozen=True, kw_only=True, slots=True)
class DryRun:
    """What a run would do. `plan`: plain JSON, as `service.planning` tells it."""

    workflow: str
    version: int
    meaning: str
    plan: Mapping[str, Any]

    @property
    def status(self) -> str:
        """`planned`, or `simulated`."""
        return "simulated" if "ends" in self.plan else "planned"
