"""The same work with few and with many finished runs in the tables: two databases of one server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.embedded.postgres import create_database
from tests.bench.engine import explaining, ours
from tests.bench.engine.figures import Round, beside
from tests.bench.engine.filling import Filled, fill
from tests.bench.engine.place import Place
from tests.bench.engine.printing import Printer

TEMPLATE_RUNS = 200
EXPLAINED_RUNS = 200
_ROOM = 2.0  # times what the rows take: their WAL comes to the disk, too
_BYTES_OF_A_RUN, _BYTES_OF_DETAILS = (
    1400,
    11_000,
)  # as seen; only to refuse a disk that is too small


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Finished runs in each database, and what is made of them."""

    few: int = 10_000
    many: int = 2_000_000
    details: int = 200_000  # the newest so many have their steps, attempts and audit as well
    explain: bool = False


def measure(place: Place, amounts: Amounts, pairs: int, printer: Printer) -> dict[str, Any]:
    """Both are filled, then measured in turn. Raises RuntimeError when the disk is too small."""
    _check_room(place.folder, amounts)
    asyncio.run(ours.round_of(place.with_wish(runs=TEMPLATE_RUNS)))
    places, filled = {}, {}
    for name, runs in (("few", amounts.few), ("many", amounts.many)):
        places[name], filled[name] = _database(place, name, runs, amounts.details)
        printer.say(f"{name}: {filled[name].figures()}")
    for _ in range(pairs):
        printer.add("few", asyncio.run(ours.round_of(places["few"])))
        printer.add("ours", asyncio.run(ours.round_of(places["many"])))
    found = report(printer.rounds, filled)
    if amounts.explain:
        found["statements"] = _explained(places, printer)
    return found


def report(rounds: Mapping[str, list[Round]], filled: Mapping[str, Filled]) -> dict[str, Any]:
    """`ours` is with many; `ratio` its speed over that with few."""
    few = filled["few"].runs
    found = beside("history", rounds, "few", f"ours with {few} finished runs")
    return {**found, "history": {name: one.figures() for name, one in filled.items()}}


def _database(place: Place, name: str, runs: int, details: int) -> tuple[Place, Filled]:
    """A copy of the one that the template runs were made in, filled up to so many."""
    assert place.postgres is not None
    url = create_database(f"{place.postgres.url}?", name, template="postgres").rstrip("?")
    more = max(runs - TEMPLATE_RUNS - ours.WARM_RUNS, 1)
    return place.on_database(url), fill(url, runs=more, details=details)


def _check_room(folder: Path, amounts: Amounts) -> None:
    details = min(amounts.details, amounts.many)
    wanted = _ROOM * (_BYTES_OF_A_RUN * amounts.many + _BYTES_OF_DETAILS * details)
    free = shutil.disk_usage(folder).free
    if free < wanted:
        found = f"{folder} has {free / 2**30:.1f} GiB; {wanted / 2**30:.1f} are wanted"
        raise RuntimeError(f"{found}: choose fewer runs (--many) or fewer with details (--details)")


def _explained(places: Mapping[str, Place], printer: Printer) -> list[dict[str, Any]]:
    """One more round in each database, with every plan written down."""
    plans = {}
    for name, place in places.items():
        assert place.postgres is not None
        with explaining.plans_of(
            place.settings.database, place.folder / "logs" / "postgres.log"
        ) as found:
            small = place.with_wish(runs=EXPLAINED_RUNS)
            asyncio.run(ours.round_of(small))
        plans[name] = found
    made = explaining.beside(plans["few"], plans["many"])
    for one in made:
        printer.say(explaining.line(one))
    return made
