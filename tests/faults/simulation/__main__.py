"""Simulate many runs: `python -m tests.faults.simulation --runs 20000 [--seed 1] [--json]`.

The runs are spread over batches, each a simulation of its own with a seed of its own (`--seed`,
`--seed` + 1, …), and the batches over processes. Ends with 1 when a promise was broken, and then
prints the seed, the story of a run of it and the command that shows it again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from tests.faults.simulation.run import Result, simulate

BATCH = 100
MOST_STORIES = 3
PEOPLE_EVERY_NTH = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    wanted = _parser().parse_args(arguments)
    begun = time.perf_counter()
    results = list(
        _simulated(
            wanted.seed, wanted.runs, wanted.batch, jobs=wanted.jobs, quiet=wanted.json,
            how={"store": wanted.store, "people": wanted.people},
        )
    )  # fmt: skip
    failed = [result for result in results if result.violations]
    summary = summed(results, seconds=time.perf_counter() - begun)
    if wanted.json:
        print(json.dumps(summary, indent=2))
    else:
        _tell(summary)
    for result in failed[:MOST_STORIES]:
        told = simulate(
            result.seed, runs=result.runs, store=result.store, people=result.people,
            with_story=True,
        )  # fmt: skip
        print(told.report(), file=sys.stderr)
    return 1 if failed else 0


def summed(results: Sequence[Result], *, seconds: float) -> dict[str, Any]:
    """All batches as one, as plain data."""
    endings: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for result in results:
        endings.update(result.endings)
        broken.update(violation.invariant for violation in result.violations)
    return {
        "runs": sum(result.runs for result in results),
        "batches": len(results),
        **dict(sorted(endings.items())),
        "violations": broken.total(),
        "broken": dict(sorted(broken.items())),
        "failing": [
            {"seed": result.seed, "broken": list(result.broken), "replay": result.command}
            for result in results
            if result.violations
        ],
        "unresolvable": sum(result.unresolvable for result in results),
        "deaths": sum(result.deaths for result in results),
        "freezes": sum(result.freezes for result in results),
        "crashes": sum(result.crashes for result in results),
        "requests": sum(result.requests for result in results),
        "cancels": sum(result.cancels for result in results),
        "acts": sum(result.acts for result in results),
        "virtual_seconds": round(sum(result.virtual_seconds for result in results), 1),
        "cpu_seconds": round(sum(result.cpu_seconds for result in results), 1),
        "seconds": round(seconds, 1),
    }


def _simulated(
    seed: int, runs: int, batch: int, *, jobs: int, quiet: bool, how: dict[str, Any]
) -> Iterator[Result]:
    """One result for each batch, in order of their seeds."""
    sizes = [min(batch, runs - start) for start in range(0, runs, batch)]
    work = partial(_one, how=how)
    tasks = list(enumerate(sizes, seed))
    if jobs == 1 or len(tasks) == 1:
        yield from _shown(map(work, tasks), len(tasks), quiet=quiet)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from _shown(pool.map(work, tasks), len(tasks), quiet=quiet)


def _one(task: tuple[int, int], *, how: dict[str, Any]) -> Result:
    seed, runs = task
    people = how["people"] == "all" or (how["people"] == "some" and seed % PEOPLE_EVERY_NTH == 0)
    return simulate(seed, runs=runs, **{**how, "people": people})


def _shown(results: Iterable[Result], total: int, *, quiet: bool) -> Iterator[Result]:
    for done, result in enumerate(results, 1):
        if not quiet and sys.stderr.isatty():
            print(f"\r{done} of {total} batches", end="", file=sys.stderr, flush=True)
        yield result
    if not quiet and sys.stderr.isatty():
        print(file=sys.stderr)


def _tell(summary: dict[str, Any]) -> None:
    for name, value in summary.items():
        if name != "failing":
            print(f"{name:16} {value}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simulation")
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first batch")
    parser.add_argument("--batch", type=int, default=BATCH, help="runs in one simulation")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--store", choices=("memory", "sqlite"), default="memory")
    parser.add_argument(
        "--people", choices=("some", "all", "none"), default="some",
        help="which batches have cancels and operators; some: every fourth",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
