"""`orchestrator bench observability`: what being seen costs, and how fast questions are answered.

The load `noop` of `bench engine` three ways, in turn: *blind* (no audit, no metrics, no logs but
errors), *seen* (all of it, as a deployment has it), and *traced* (seen, with traces of one run in a
hundred going to a receiver). Then the audit of all these runs is verified, and the blast radius of
an API told among many active runs. Everything is private and ended again; progress goes to
standard error.

    overhead_ratio          CPU of a step (workers, broker, database) seen over blind, less 1
    trace_overhead_ratio    the same, traced over seen
    …_by_speed              blind speed over seen, less 1: what is noticed when all cores are busy
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console

from orchestrator.embedded.postgres import create_database
from orchestrator.engine.signing import TrustedKeys
from orchestrator.service.auditing import Auditing
from orchestrator.store import open_store
from orchestrator.telemetry.logging import configure_logging
from tests.bench import impact
from tests.bench.engine import cores, figures, ours
from tests.bench.engine.figures import Round
from tests.bench.engine.place import Place, Wish, set_up
from tests.bench.engine.printing import Printer
from tests.faults.chaos.stage import new_folder, remove
from tests.otlp import Receiver, receiving

BLIND = "tests.bench.observability.blind"
METRICS_PORT = 19464
RATIO = 0.01
WAYS = ("blind", "seen", "traced")
TRACES_SECONDS = 20.0


def ways(place: Place, receiver: Receiver) -> Mapping[str, Place]:
    """The same servers, and workers that are seen or not."""
    seen = place.with_wish(settings={"metrics_port": METRICS_PORT, "log_level": "INFO"})
    traced = {"otlp_endpoint": receiver.address, "trace_ratio": RATIO}
    return {
        "blind": place.with_wish(settings={"log_level": "ERROR"}).with_modules(BLIND),
        "seen": seen,
        "traced": seen.with_wish(settings=traced),
    }


def overhead(
    more: Sequence[Round], less: Sequence[Round], figure: Callable[[Round], float]
) -> float:
    """By which part `more` is above `less`: the median of what each pair shows."""
    pairs = zip(more, less, strict=True)
    return round(median(figure(a) / figure(b) - 1 for a, b in pairs), 4)


def cpu_of_a_step(made: Round) -> float:
    """Without this process, which submits, and receives the traces."""
    spent = sum(seconds for part, seconds in made.cpu_seconds.items() if part != "bench")
    return spent / made.runs / made.steps


def seconds_of_a_run(made: Round) -> float:
    return 1 / made.runs_per_second


def overheads(rounds: Mapping[str, Sequence[Round]]) -> dict[str, float]:
    blind, seen, traced = (rounds[way] for way in WAYS)
    return {
        "overhead_ratio": overhead(seen, blind, cpu_of_a_step),
        "trace_overhead_ratio": overhead(traced, seen, cpu_of_a_step),
        "overhead_ratio_by_speed": overhead(seen, blind, seconds_of_a_run),
        "trace_overhead_ratio_by_speed": overhead(traced, seen, seconds_of_a_run),
    }


async def verified(url: str) -> dict[str, float]:
    """How fast the audit of all these runs is verified; it has to be whole."""
    store = open_store(url)
    try:
        begun = time.perf_counter()
        found = await Auditing(store).verify(TrustedKeys([]))
        seconds = time.perf_counter() - begun
    finally:
        await store.close()
    if not found.whole:
        raise RuntimeError(f"the audit is broken: {found.breaches[:3]}")
    return {
        "audit_verify_records_per_second": round(found.records / seconds),
        "audit_verified_records": found.records,
    }


def radius(server: str, runs: int) -> dict[str, float]:
    """Among so many active runs, on the same server."""
    options = argparse.Namespace(runs=runs, backward=0.02, times=11)
    found = asyncio.run(impact.run(create_database(server, "radius"), options))
    return {"blast_radius_ms": found["fresh_ms"], "blast_radius_active_runs": found["active"]}


def traces(receiver: Receiver) -> dict[str, int]:
    """What came in; the last may be a moment late."""
    until = time.monotonic() + TRACES_SECONDS
    while not receiver.spans and time.monotonic() < until:
        time.sleep(0.1)
    return {"traces": len(receiver.traces()), "spans": len(receiver.spans)}


def measure(options: argparse.Namespace, printer: Printer) -> dict[str, Any]:
    cores.open_many_files()
    folder, wish = new_folder(), Wish(runs=options.runs, workers=options.workers)
    printer.say(f"{wish.runs} runs of {wish.steps} steps, {options.pairs} times each way; {folder}")
    with receiving() as receiver, set_up(wish, folder) as place:
        asyncio.run(ours.prepare(place))
        for _ in range(options.pairs):
            for way, one in ways(place, receiver).items():
                printer.add(way, asyncio.run(ours.round_of(one)))
        assert place.postgres is not None, "that is what was wished for"
        found = {
            **overheads(printer.rounds),
            **asyncio.run(verified(place.settings.database)),
            **radius(place.postgres.url, options.active),
            **traces(receiver),
        }
    remove(folder)
    each = {way: figures.medians(printer.rounds[way]) for way in WAYS}
    machine = {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}
    return {**found, **each, "machine": machine}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="orchestrator bench observability", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--runs", type=int, default=2000, help="of each round")
    parser.add_argument("--pairs", type=int, default=5, help="rounds of each way")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--active", type=int, default=100_000, help="runs for the blast radius")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    configure_logging(level="ERROR")
    found = measure(options, Printer(Console(stderr=True, highlight=False)))
    sys.stdout.write(json.dumps(found, indent=None if options.json else 1) + "\n")


if __name__ == "__main__":
    main()
