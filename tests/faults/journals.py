"""Journals of runs, kept for good: what a release has decided, every later one decides likewise.

    python -m tests.faults.journals      # keeps those of this release, and what is new in it

`tests/data/journals/<release>/` has `plans.json` (texts as they are stored, by digest) and
`runs.jsonl`, one run a line: its plan, deadline, whole journal, and how the run stood after it. The
runs are those of simulations (faults, people, waits, jumps), and walks through all that can
happen at all, deadlines and distrust among it. Only runs are kept that show something new.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.joining import ids_in, joined
from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.core.saga import Saga, current
from orchestrator.errors import IllegalTransition
from orchestrator.wiring import version
from tests.faults.jumping import SHAPES as JUMPING
from tests.faults.jumping import simulate_jumps
from tests.faults.simulation.run import Result, simulate
from tests.faults.workload import EVERY, Shape

KEPT = Path(__file__).parents[1] / "data" / "journals"
SEEDS, RUNS = range(1, 3), 60
WALKS, LONGEST_WALK = 2000, 50
MOVED_WALKS, MOVES = 100, 0.2
DEADLINES, USUAL, JUMPS = 0.3, 0.75, 0.2  # parts of the walks, of their events, of answers
_NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One run as it was."""

    plan: Plan
    entries: tuple[Mapping[str, Any], ...]
    deadline_at: datetime | None
    ends: Mapping[str, Any]  # `as_told` of the saga after the last entry


def as_told(saga: Saga) -> dict[str, Any]:
    """How a run stands, as plain JSON; its plan is told elsewhere."""
    told = {each.name: getattr(saga, each.name) for each in fields(saga) if each.name != "plan"}
    told["path"] = asdict(saga.path)
    told["steps"] = [asdict(step) for step in saga.steps]
    plain: dict[str, Any] = json.loads(json.dumps(told, default=str))
    return plain


def differences(recorded: Recorded) -> Iterator[str]:
    """Where this program decides otherwise than it was decided then; nothing when nowhere.

    What a later release tells beside is no difference.
    """
    try:
        saga = journal.replay(
            recorded.plan, recorded.entries, deadline_at=recorded.deadline_at,
            plans=_moved_to(recorded),
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - whatever a program that decides otherwise meets
        yield f"{type(error).__name__}: {error}"
        return
    yield from _apart(as_told(saga), recorded.ends, "")


def _moved_to(recorded: Recorded) -> dict[str, Plan]:
    """The plans by which a run went on: its own, joined to itself as often as it was moved."""
    ids = [each["to"] for each in recorded.entries if each["event"] == "Migrated"]
    return {each: _joined(recorded.plan, len(ids_in(each)) - 1) for each in ids}


def _joined(plan: Plan, moves: int) -> Plan:
    both: Plan = plan
    for number in range(2, moves + 2):
        both = joined(plan, number, both, 1)
    return both


def _apart(found: Any, wanted: Any, place: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            yield from _apart(found.get(name), value, f"{place}/{name}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from _apart(one, other, f"{place}/{number}")
    elif found != wanted:
        yield f"in the end {place} is {found!r}; wanted {wanted!r} as it was"


# --- keeping --------------------------------------------------------------------------------------


def releases() -> list[str]:
    """Whose journals are kept."""
    return sorted(path.name for path in KEPT.glob("*") if path.is_dir())


def read(release: str, folder: Path = KEPT) -> list[Recorded]:
    """The journals of a release."""
    texts = json.loads((folder / release / "plans.json").read_text("utf-8"))
    plans = {digest: plan_from_json(json.dumps(text)) for digest, text in texts.items()}
    lines = (folder / release / "runs.jsonl").read_text("utf-8").splitlines()
    return [_read(json.loads(line), plans) for line in lines]


def _read(told: Mapping[str, Any], plans: Mapping[str, Plan]) -> Recorded:
    deadline = told.get("deadline_at")
    return Recorded(
        plan=plans[told["plan"]], entries=tuple(told["entries"]), ends=told["ends"],
        deadline_at=None if deadline is None else datetime.fromisoformat(deadline),
    )  # fmt: skip


def keep(release: str, runs: Iterable[Recorded], folder: Path = KEPT) -> int:
    """Add those that show something new to what is kept, which stays as it is; how many."""
    place = folder / release
    place.mkdir(parents=True, exist_ok=True)
    lines, texts = place / "runs.jsonl", place / "plans.json"
    before = read(release, folder) if lines.exists() else []
    chosen = list(_new_ones(runs, before))
    plans = {run.plan.digest: json.loads(plan_to_json(run.plan)) for run in (*before, *chosen)}
    with lines.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(_line(run), separators=(",", ":")) + "\n" for run in chosen)
    texts.write_text(json.dumps(plans, indent=1, sort_keys=True) + "\n", "utf-8")
    return len(chosen)


def _new_ones(runs: Iterable[Recorded], before: Iterable[Recorded]) -> Iterator[Recorded]:
    """Each plan with each of its ends, and each two events that follow each other."""
    seen = {shown for run in before for shown in _shown(run)}
    for run in runs:
        shown = _shown(run)
        if not shown <= seen:
            seen |= shown
            yield run


def _shown(run: Recorded) -> set[tuple[str, str]]:
    told = [each["event"] + ": " + _what(each) for each in run.entries]
    return {(run.plan.digest, run.ends["status"]), *pairwise(told)}


def _what(entry: Mapping[str, Any]) -> str:
    """What was commanded, without numbers and times."""
    told: str = entry.get("then", "")
    return " ".join(word for word in told.split() if not word[0].isdigit())


def _line(run: Recorded) -> dict[str, Any]:
    deadline = {} if run.deadline_at is None else {"deadline_at": run.deadline_at.isoformat()}
    entries = [{name: told for name, told in each.items() if told != ""} for each in run.entries]
    return {"plan": run.plan.digest, **deadline, "entries": entries, "ends": run.ends}


# --- recording ------------------------------------------------------------------------------------


def recorded() -> Iterator[Recorded]:
    """All that this program can show."""
    for seed in SEEDS:
        yield from _replayed(partial(simulate, seed, runs=RUNS, people=True))
        yield from _replayed(partial(simulate_jumps, seed, runs=RUNS))
    shapes: tuple[Shape, ...] = (*EVERY, *JUMPING)
    for number in range(WALKS):
        chance = random.Random(f"walk {number}")
        yield walk(chance.choice(shapes).plan, chance)
    yield from moved(shapes)


def moved(shapes: Sequence[Shape]) -> Iterator[Recorded]:
    """Walks of runs that are moved, to the same plan: what that is does not matter here."""
    for number in range(MOVED_WALKS):
        chance = random.Random(f"moved walk {number}")
        yield walk(chance.choice(shapes).plan, chance, moves=MOVES)


def _replayed(simulation: Callable[..., Result]) -> list[Recorded]:
    """The runs of a simulation: its judge replays each of them."""
    found: list[Recorded] = []
    replay = journal.replay

    def noted(plan: Plan, entries: Iterable[Mapping[str, Any]], **deadline: Any) -> Saga:
        whole = tuple(entries)
        saga = replay(plan, whole, **deadline)
        found.append(Recorded(plan=plan, entries=whole, ends=as_told(saga), **deadline))
        return saga

    @contextmanager
    def listening() -> Iterator[None]:
        with patch.object(journal, "replay", noted):
            yield

    result = simulation(sabotage=listening())
    if result.violations:
        raise SystemExit(f"nothing is kept of a release that breaks promises:\n{result.report()}")
    return found


def walk(plan: Plan, chance: random.Random, *, moves: float = 0.0) -> Recorded:
    """A run to which anything happens that is possible, in any order."""
    deadline = _NOW + timedelta(seconds=20) if chance.random() < DEADLINES else None
    saga, now, entries = Saga.new(plan, deadline_at=deadline), _NOW, []
    for _ in range(LONGEST_WALK):
        event = (
            _a_move(plan, saga, chance)
            if moves and chance.random() < moves
            else _any_event(chance, now, 0 if moves else len(plan.steps))
        )
        try:
            decision = decide(saga, event, now)
        except IllegalTransition:
            continue
        entries.append(journal.entry(event, now, decision.command))
        saga, now = decision.saga, now + timedelta(seconds=chance.choice((0.0, 0.25, 1.0, 5.0)))
    return Recorded(plan=plan, entries=tuple(entries), deadline_at=deadline, ends=as_told(saga))


def _a_move(plan: Plan, saga: Saga, chance: random.Random) -> e.Event:
    """To some step; where the run stands in its own numbers, perhaps waiting on as before."""
    count = len(saga.plan.steps) // len(plan.steps)
    step, at = chance.randrange(len(plan.steps)), current(saga)
    keeps = at is not None and saga.path.steps[at[0]] == step and chance.random() < 0.5
    to = "+".join([plan.digest] * (count + 1))
    return e.Migrated(to=to, step=step, keeps=keeps, plan=_joined(plan, count))


def _any_event(chance: random.Random, now: datetime, steps: int) -> e.Event:
    """Mostly one of those that bring a run forward, else it would never get far.

    Without `steps` no author wants a jump: what is retried has been visited, also of a moved run.
    """
    usual = chance.random() < USUAL
    kind = chance.choice(_USUAL if usual else _ANY)
    given = {each.name: _VALUES[each.name](chance, now) for each in fields(kind)}
    if usual:
        given.pop("accepted", None)
    if "moves" in given and steps and chance.random() < JUMPS:
        given["moves"] = _moves(chance, steps)
    return kind(**given)


_ANY = [kind for kind in journal.EVENTS.values() if kind is not e.Migrated]
_USUAL = (e.Resumed, e.Began, e.Began, e.Landed, e.Landed, e.NotLanded)
_VALUES: dict[str, Callable[[random.Random, datetime], Any]] = {
    "accepted": lambda chance, _: chance.random() < 0.7,
    "claims": lambda chance, _: chance.randint(3, 9),
    "jitter": lambda chance, _: round(chance.random(), 3),
    "landed": lambda chance, _: chance.random() < 0.5,
    "mode": lambda chance, _: chance.choice(list(e.CancelMode)),
    "most_attempts": lambda chance, _: chance.choice((None, 1, 3)),
    "moves": lambda _, __: (),
    "reason": lambda chance, _: chance.choice(("busy", "no", "timeout")),
    "retry_after_seconds": lambda chance, _: chance.choice((None, 1.5)),
    "retryable": lambda chance, _: chance.random() < 0.5,
    "settles_doubt": lambda chance, _: chance.random() < 0.5,
    "until": lambda chance, now: now + timedelta(seconds=chance.choice((0.5, 3.0))),
}


def _moves(chance: random.Random, steps: int) -> tuple[e.Move, ...]:
    """On to some step, to the end, or a retry, which leads to where the run has been."""
    after = chance.choice((None, 0.5))
    if chance.random() < 0.5:
        return (e.Move(to=chance.choice((None, *range(steps))), after_seconds=after),)
    via = chance.choice((None, None, (0, 0)))
    return (e.Move(to=0, limit=chance.choice((0, 2)), via=via, after_seconds=after),)


def main() -> int:
    """Keep the journals of this release."""
    count = keep(version(), recorded())
    sys.stdout.write(f"{count} more runs of {version()} in {KEPT / version()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
