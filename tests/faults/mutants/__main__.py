"""`python -m tests.faults.mutants`: plants every fault in turn, and wants each of them caught.

First the controls: the same simulations without a fault, or with one that the design forgives, must
find nothing. Then each fault is hunted, seed after seed, until the judge names a promise that it
broke. Exit code 1 when a control finds anything or a fault escapes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.faults.mutants.hunting import RUNS, Hunt
from tests.faults.mutants.table import HARMLESS, MUTANTS, World
from tests.faults.mutants.tasks import Task, control_seeds, done

SEEDS = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the result; the exit code."""
    wanted = _parser().parse_args(arguments)
    unknown = sorted(set(wanted.only or ()) - MUTANTS.keys())
    if unknown:
        print(f"planted faults: found no {', '.join(unknown)}; wanted --list's", file=sys.stderr)
        return 2
    if wanted.list:
        known = [*MUTANTS.values(), *HARMLESS.values()]
        print("\n".join(f"{each.breaks:8}{each.name}: {each.what}" for each in known))
        return 0
    begun = time.perf_counter()
    controls, hunts = _all(wanted)
    seconds = time.perf_counter() - begun
    if wanted.json:
        print(json.dumps(as_json(controls, hunts, seconds)))
    else:
        print("\n".join(_lines(controls, hunts, seconds)))
    return int(not all_well(controls, hunts))


def all_well(controls: Sequence[Hunt], hunts: Sequence[Hunt]) -> bool:
    """Controls find nothing, faults are all caught."""
    clean = not any(found.broken or found.own_error for found in controls)
    return clean and all(found.caught for found in hunts)


def as_json(controls: Sequence[Hunt], hunts: Sequence[Hunt], seconds: float) -> dict[str, Any]:
    """The result for machines."""
    return {
        "planted": len(hunts), "caught": sum(found.caught for found in hunts),
        "control": {
            "violations": sum(sum(found.broken.values()) for found in controls),
            "runs": sum(found.runs for found in controls),
            "hunts": [found.to_json() for found in controls],
        },
        "mutants": [found.to_json() for found in hunts],
        "seconds": round(seconds, 1),
    }  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orchestrator bench mutants",
        description="Planted faults of the engine, each of which the judge has to catch.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--list", action="store_true", help="say what there is and end")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this fault; repeatable")
    parser.add_argument(
        "--seeds", type=int, default=SEEDS, help=f"most simulations for a fault (default {SEEDS})"
    )
    parser.add_argument(
        "--runs", type=int, default=RUNS, help=f"runs in a simulation (default {RUNS})"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first one (default 1)")
    return parser


def _all(wanted: argparse.Namespace) -> tuple[list[Hunt], list[Hunt]]:
    """Controls and hunts, each in order, in several processes; progress on standard error."""
    faults = [MUTANTS[name] for name in wanted.only or MUTANTS]
    worlds = dict.fromkeys(fault.world for fault in faults)
    forgiven = [] if wanted.only else list(HARMLESS.values())
    shared = {"runs": wanted.runs, "first": wanted.seed}

    def control(name: str, world: World) -> Task:
        return Task(name=name, world=world, seeds=control_seeds(world), **shared)

    tasks = [control("", world) for world in worlds]
    tasks += [control(each.name, each.world) for each in forgiven]
    controls = len(tasks)
    tasks += [
        Task(name=each.name, world=each.world, seeds=wanted.seeds, **shared) for each in faults
    ]
    found = list(_progress(done(tasks, wanted.jobs), len(tasks)))
    return found[:controls], found[controls:]


def _progress(hunts: Iterator[Hunt], wanted: int) -> Iterator[Hunt]:
    shown = sys.stderr.isatty()
    for number, found in enumerate(hunts, 1):
        if shown:
            print(f"\r\x1b[K{number}/{wanted} {found.name}", end="", file=sys.stderr, flush=True)
        yield found
    if shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _lines(controls: Sequence[Hunt], hunts: Sequence[Hunt], seconds: float) -> Iterator[str]:
    for found in controls:
        verdict = "clean" if not found.broken else f"BROKEN by {found.broken}: {found.detail}"
        yield f"{found.name}, {found.runs} runs: {verdict}"
    width = max((len(found.name) for found in hunts), default=0)
    for found in hunts:
        verdict = found.caught_by if found.caught else f"ESCAPED {found.own_error}".rstrip()
        yield (
            f"{found.breaks:4}{found.name:{width}}  {verdict:28} seed {found.seed}, "
            f"{found.runs} runs, {found.seconds:.1f} s"
        )
    caught = sum(found.caught for found in hunts)
    yield f"{caught} of {len(hunts)} planted faults caught in {seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
