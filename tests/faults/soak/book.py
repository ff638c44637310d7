"""What a soak has done so far: a small JSON file, so that it goes on where it was interrupted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import InvalidInput, Problem
from tests.faults.chaos.judging import ENDINGS
from tests.faults.chaos.performing import Database, Result, Wish

VERSION = 1
DRAIN_SECONDS = 900.0
"""A machine that does other things as well takes its time for a part's backlog."""
DATABASES = (Database.POSTGRES, Database.SQLITE)
"""In turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One chaos run that ended healed, drained and judged. Times in seconds."""

    seed: int
    db: str
    runs: int  # acknowledged, each of which was judged
    window_seconds: float  # in which faults came and the runs were submitted
    drain_seconds: float  # from the last fault until every run had settled
    effects: int  # at the API
    faults: Mapping[str, int]  # by kind, those that could be done
    endings: Mapping[str, int]
    breaches: Mapping[str, int]  # by what the checker looks for; all of them zero in a clean part

    @property
    def clean(self) -> bool:
        """Whether every zero is a zero."""
        return not any(self.breaches.values())

    @property
    def runs_per_second(self) -> float:
        """Settled runs, from the first submission until the last one was."""
        return self.runs / (self.window_seconds + self.drain_seconds)


def part_of(result: Result) -> Part:
    """What is kept of a chaos run."""
    judged, told = dict(result.judgement.counts()), result.to_json()
    return Part(
        seed=result.wish.seed,
        db=result.wish.database,
        runs=told["runs"],
        window_seconds=result.wish.seconds,
        drain_seconds=told["drain_seconds"],
        effects=result.effects,
        faults=told["faults"],
        endings={name: judged.pop(name) for name in ENDINGS},
        breaches=judged,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Book:
    """All parts of one soak, in the order of their seeds."""

    first_seed: int
    parts: Sequence[Part] = field(default_factory=tuple)

    @property
    def runs(self) -> int:
        """Judged so far."""
        return sum(part.runs for part in self.parts)

    @property
    def next_seed(self) -> int:
        """Of the part that comes next; an interrupted one is played again from its begin."""
        return self.first_seed + len(self.parts)

    def total(self, counts: str) -> Counter[str]:
        """Of `faults`, `endings` or `breaches`, over all parts."""
        found: Counter[str] = Counter()
        for part in self.parts:
            found.update(getattr(part, counts))
        return found

    def wish(self, *, runs: int, part_runs: int, seconds: float) -> Wish:
        """The next part of a soak of so many runs; a last, smaller one takes less time."""
        these = min(part_runs, runs - self.runs)
        database = DATABASES[len(self.parts) % len(DATABASES)]
        return Wish(
            runs=these,
            seconds=round(max(1.0, seconds * these / part_runs), 1),
            seed=self.next_seed,
            database=database.value,
            drain_seconds=DRAIN_SECONDS,
        )

    def having(self, part: Part) -> Book:
        """With one part more. Raises ValueError when it is not the next one, or not clean."""
        if part.seed != self.next_seed or not part.clean:
            raise ValueError(f"{part} is not a clean part {self.next_seed}")
        return replace(self, parts=(*self.parts, part))

    def write(self, path: Path) -> None:
        """Whole or not at all, whatever ends this process."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        found = {"version": VERSION, "first_seed": self.first_seed}
        parts = [asdict(part) for part in self.parts]
        new.write_text(json.dumps(found | {"parts": parts}, indent=1) + "\n", "utf-8")
        new.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises FileNotFoundError; InvalidInput where it holds something else, naming what."""
        try:
            found = json.loads(path.read_text("utf-8"))
            parts = [Part(**part) for part in found["parts"]]
            book = cls(first_seed=found["first_seed"], parts=tuple(parts))
            _check(found, book)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = Problem(
                place=str(path), found=str(error), wanted="what a soak has written, or no such file"
            )
            raise InvalidInput("the soak cannot go on", problems=[problem]) from error
        return book


def _check(found: Mapping[str, Any], book: Book) -> None:
    """Raises ValueError: it is of another release, or a part is missing or not clean."""
    if found.get("version") != VERSION:
        raise ValueError(f"version {found.get('version')}")
    for number, part in enumerate(book.parts):
        if part.seed != book.first_seed + number:
            raise ValueError(f"part {number + 1} with seed {part.seed}")
        if not part.clean:
            raise ValueError(f"seed {part.seed} with breaches")
        if sum(part.endings.values()) != part.runs:
            raise ValueError(f"seed {part.seed} with {part.runs} runs and {dict(part.endings)}")
