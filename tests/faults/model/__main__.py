"""`python -m tests.faults.model`: the exhaustive exploration, and what came of it.

Without arguments it takes all of FULL one after the other. A budget is three numbers: misfortunes,
cancels and an operator's acts of one run; as many budgets, as many runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.faults.model.exploring import Broken, Explorer
from tests.faults.model.plans import PLANS
from tests.faults.model.values import Budget

QUIET = Budget(misfortunes=0, cancels=0, acts=0)
FULL: tuple[tuple[str, tuple[Budget, ...]], ...] = (
    ("mixed", (Budget(1, 1, 1),)),
    ("pivot", (Budget(1, 1, 1),)),
    ("mixed", (QUIET, QUIET)),
    ("pivot", (QUIET, QUIET)),
)


def explore(plan: str, budgets: Sequence[Budget]) -> bool:
    """One exploration, told on standard output; whether all is well."""
    begun = time.monotonic()
    explorer = Explorer(PLANS[plan], budgets, told=_told)
    try:
        found = explorer.explore()
    except Broken as broken:
        print(f"{_title(plan, budgets)}: VIOLATED {broken.what}", *broken.way, sep="\n    ")
        return False
    print(
        f"{_title(plan, budgets)}: {found.states:,} states, {found.moves:,} moves, "
        f"{found.run_states:,} states of a run; {found.settled:,} with all runs settled, "
        f"{found.stuck:,} from which no end can be reached; {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    if found.stuck:
        print("  no end after:", *found.way_to_stuck, sep="\n    ")
    return not found.stuck


def _title(plan: str, budgets: Sequence[Budget]) -> str:
    each = " and ".join(f"{b.misfortunes}/{b.cancels}/{b.acts}" for b in budgets)
    return f"{plan}, {len(budgets)} run{'s' if len(budgets) > 1 else ''} ({each})"


def _told(seen: int, left: int) -> None:
    if sys.stderr.isatty():
        print(f"\r  {seen:,} states, {left:,} to go on from", end="\r", file=sys.stderr)


def _budget(text: str) -> Budget:
    return Budget(*map(int, text.split(",")))


def main() -> None:
    """Ends with 1 when something is violated or stuck."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.model", description=__doc__)
    parser.add_argument("--plan", choices=sorted(PLANS))
    parser.add_argument(
        "budgets", nargs="*", type=_budget, metavar="BUDGET", help="as in 1,1,0; one for each run"
    )
    chosen = parser.parse_args()
    if chosen.plan is None:
        well = [explore(plan, budgets) for plan, budgets in FULL]
    else:
        well = [explore(chosen.plan, chosen.budgets or (QUIET,))]
    sys.exit(not all(well))


if __name__ == "__main__":
    main()
