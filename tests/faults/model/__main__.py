"""`python -m tests.faults.model`: the exhaustive exploration, and what came of it.

Without arguments it takes all of FULL, two plans at a time. A budget is three numbers: misfortunes,
cancels and an operator's acts of one run; as many budgets, as many runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.faults.model import coupling
from tests.faults.model.exploring import Broken, Explored, Explorer, Runs, TooMany
from tests.faults.model.plans import PLANS
from tests.faults.model.together import Alone, NotAlone, Together
from tests.faults.model.values import Budget, first

MOST_STATES = 2_000_000
"""Of one exploration, in which a state takes about 1 kB."""
ALL = Budget(misfortunes=1, cancels=1, acts=1)
FULL: tuple[tuple[str, tuple[Budget, ...]], ...] = (("mixed", (ALL, ALL)), ("pivot", (ALL, ALL)))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One exploration."""

    plan: str
    budgets: tuple[Budget, ...]
    one_by_one: bool = False  # all states of the whole, and no product
    most: int = MOST_STATES


def explore(asked: Asked) -> tuple[bool, list[str]]:
    """Whether all is well, and what is to be told, in lines."""
    lines: list[str] = []
    try:
        well = (_each if asked.one_by_one else _product)(asked, lines.append)
    except Broken as broken:
        return False, [*lines, f"{asked.plan}: VIOLATED {broken.what}", *_indented(broken.way)]
    except (NotAlone, coupling.Coupled, TooMany) as error:
        return False, [*lines, f"{asked.plan}: {error}"]
    return well, lines


def _each(asked: Asked, tell: Callable[[str], None]) -> bool:
    explorer = Explorer(PLANS[asked.plan], asked.budgets, told=_told, most=asked.most)
    return _tell(asked.plan, asked.budgets, explorer, tell)


def _product(asked: Asked, tell: Callable[[str], None]) -> bool:
    """Each kind of run alone, and then all together."""
    plan = PLANS[asked.plan]
    runs, explored, well = Runs(plan), [], True
    for budget in dict.fromkeys(asked.budgets):
        explored.append(Explorer(plan, [budget], told=_told, runs=runs, most=asked.most))
        well &= _tell(asked.plan, [budget], explored[-1], tell)
    if len(asked.budgets) == 1:
        return well
    begun = time.monotonic()
    alone = Alone(runs, explored)
    met = Together(alone, [runs.number(first(plan, each)) for each in asked.budgets]).follow()
    plain = "" if met.plain_states is None else f" ({met.plain_states:,} but for names)"
    tell(
        f"{_title(asked.plan, asked.budgets)}: {met.states:,} states{plain}, {met.moves:,} moves, "
        f"by {met.ways} ways of the workers; {_since(begun)}"
    )
    begun = time.monotonic()
    pairs = coupling.look(plan, runs.states)
    tell(f"{asked.plan}: {pairs:,} pairs in one database are as each alone; {_since(begun)}")
    return well


def _tell(
    plan: str, budgets: Sequence[Budget], explorer: Explorer, tell: Callable[[str], None]
) -> bool:
    begun = time.monotonic()
    found: Explored = explorer.explore()
    tell(
        f"{_title(plan, budgets)}: {found.states:,} states, {found.moves:,} moves, "
        f"{found.run_states:,} states of a run; {found.settled:,} with all runs settled, "
        f"{found.stuck:,} from which no end can be reached; {_since(begun)}"
    )
    if found.stuck:
        tell("\n".join(["  no end after:", *_indented(found.way_to_stuck)]))
    return not found.stuck


def _since(begun: float) -> str:
    return f"{time.monotonic() - begun:.0f} s"


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {each}" for each in lines]


def _title(plan: str, budgets: Sequence[Budget]) -> str:
    each = " and ".join(f"{b.misfortunes}/{b.cancels}/{b.acts}" for b in budgets)
    return f"{plan}, {len(budgets)} run{'s' if len(budgets) > 1 else ''} ({each})"


def _told(seen: int, left: int) -> None:
    if sys.stderr.isatty():
        print(f"\r  {seen:,} states, {left:,} to go on from", end="\r", file=sys.stderr)


def _budget(text: str) -> Budget:
    return Budget(*map(int, text.split(",")))


def main() -> None:
    """Ends with 1 when something is violated, stuck, or not gone through to its end."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.model", description=__doc__)
    parser.add_argument("--plan", choices=sorted(PLANS))
    parser.add_argument(
        "--one-by-one",
        action="store_true",
        help="go through all states of the whole, as no product",
    )
    parser.add_argument("--most", type=int, default=MOST_STATES, help="states, and then it stops")
    parser.add_argument(
        "budgets", nargs="*", type=_budget, metavar="BUDGET", help="as in 1,1,0; one for each run"
    )
    chosen = parser.parse_args()
    wanted = FULL
    if chosen.plan is not None:
        wanted = ((chosen.plan, tuple(chosen.budgets) or (Budget(0, 0, 0),)),)
    asked = [
        Asked(plan=plan, budgets=budgets, one_by_one=chosen.one_by_one, most=chosen.most)
        for plan, budgets in wanted
    ]
    all_well = True
    with ProcessPoolExecutor(max_workers=2) as pool:
        for well, lines in pool.map(explore, asked):
            print(*lines, sep="\n", flush=True)
            all_well &= well
    sys.exit(not all_well)


if __name__ == "__main__":
    main()
