"""What was asked for on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorldName(StrEnum):
    """The outside world that the runs change."""

    KINTO = "kinto"  # a server of records: six of them for each checkout
    STRIPE = "stripe"  # a payment API's look-alike: two charges for each run (needs Node)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """One demo."""

    runs: int
    concurrency: int  # runs in the hands of all workers at once; parked ones come on top
    seed: int
    workers: int
    max_inline_steps: int | None = None  # None: as the settings say
    keep: bool = False
    world: WorldName = WorldName.KINTO
