"""Whether the stories of runs tell of exactly the calls that a server has seen.

Plays the demo with its workers behind a recording proxy, has each run explained, and compares.
Prints counts; `--json` one object. Exit code 1 if a call is missing in the stories, or invented.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.core.calls import CallMade
from orchestrator.ports import RunFilter
from orchestrator.wiring_services import open_services
from tests.faults.limited_demo import LimitedDemo, limited_demo

Call = tuple[str, str, str, int | None]
"""Method, target, digest of the body, status."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Both sides of the comparison, and what is on one of them alone."""

    runs: int
    compensated: int  # of the runs: with undos in their stories
    seen: int  # requests that the server has seen
    told: int  # requests that the stories tell of
    missing: int  # seen, and in no story
    invented: int  # told, and never seen
    explain_milliseconds: float  # for one run


async def compare(runs: int, folder: Path) -> Compared:
    """Play so many runs in an empty folder."""
    with limited_demo(folder, limits={}, delay_seconds=0.0) as demo:
        await demo.play(runs)
        told, compensated, seconds = await _stories(demo)
        demo.proxy.end()
        seen = Counter[Call](demo.proxy.calls())
    return Compared(
        runs=runs, compensated=compensated, seen=seen.total(), told=told.total(),
        missing=(seen - told).total(), invented=(told - seen).total(),
        explain_milliseconds=round(seconds * 1000 / runs, 2),
    )  # fmt: skip


async def _stories(demo: LimitedDemo) -> tuple[Counter[Call], int, float]:
    told, compensated = Counter[Call](), 0
    async with open_services(demo.settings) as services:
        runs = await services.runs.list(RunFilter(limit=None))
        begun = time.monotonic()
        for run in runs:
            found = (await services.explaining.explain(run.id)).told
            told += Counter(requests(found.calls))
            compensated += run.status == "compensated"
        return told, compensated, time.monotonic() - begun


def requests(calls: Iterable[CallMade]) -> Iterable[Call]:
    """Of what has left for the outside; whose answer is not known has status None."""
    for call in calls:
        if call.is_outside:
            parts = urlsplit(call.url)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            times = 1 if call.sent is None else call.sent
            yield from [(call.method, target, call.asked, call.status)] * times


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="orchestrator bench explain", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(compare(given.runs, Path(folder)))
    if given.json:
        print(json.dumps(asdict(found)))
    else:
        for name, value in asdict(found).items():
            print(f"{name.replace('_', ' '):22}{value:,}")
    sys.exit(1 if found.missing or found.invented else 0)


if __name__ == "__main__":
    main()
