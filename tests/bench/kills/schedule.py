"""When what is killed: the same for a seed each time, and for every engine."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

FIRST_SECONDS = (4.0, 6.0)
GAP_SECONDS = (6.0, 9.0)
"""Between two kills: most engines have gone on by then."""
WORKERS_IN_A_ROW = 2


class Part(StrEnum):
    """What is killed."""

    WORKER = "worker"
    SERVER = "server"


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One kill. `at` in seconds from the begin of the load."""

    at: float
    part: Part
    turn: int  # which one of them: modulo how many an engine has


def schedule(seed: int, kills: int) -> tuple[Planned, ...]:
    """So many: twice a worker, then a server, and so on; which one goes by turns."""
    chance = random.Random(f"kills {seed}")
    return tuple(_planned(chance, kills))


def _planned(chance: random.Random, kills: int) -> Iterator[Planned]:
    at, counted = chance.uniform(*FIRST_SECONDS), {Part.WORKER: 0, Part.SERVER: 0}
    first = chance.randrange(2)
    for number in range(kills):
        is_worker = number % (WORKERS_IN_A_ROW + 1) < WORKERS_IN_A_ROW
        part = Part.WORKER if is_worker else Part.SERVER
        yield Planned(at=round(at, 2), part=part, turn=first + counted[part])
        counted[part] += 1
        at += chance.uniform(*GAP_SECONDS)
