"""`orchestrator bench map`: one map over many items, beside the same number of single runs.

Both do the same for each: an effect, and a step that refuses some of them, so that these undo their
effect. Then a smaller map, none of which fails, is turned back by the step behind it, so that all
of it is undone, as many at once as ran. Real workers, broker and database, all private. What is
left is read off the functions' own ledger, not off the tables.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlalchemy import select
from sqlalchemy.engine import Connection

from orchestrator.core.states import RunStatus
from orchestrator.definitions.builder import plan_of
from orchestrator.service.submitting import Submission
from orchestrator.store import migrate, open_store
from orchestrator.store.tables import maps, runs
from tests.bench.engine import costs, ours
from tests.bench.engine.ours import Crew
from tests.bench.engine.place import Place
from tests.bench.map_steps import ITEM, MODULE, mapped
from tests.bench.measured import Database, measured
from tests.faults.chaos.bystander import moment

WANTED_RATIO = 0.8
_BATCH = 2000  # runs accepted by one call
_WARM_ITEMS = 300
_UNDONE_SHARE = 10  # the map that is undone has this part of the items
_POLL_SECONDS = 0.2
_MOST_SECONDS = 3600.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Phase(StrEnum):
    """What is measured, and the name of its ledger."""

    WARM = "warm"
    RUNS = "runs"
    MAP = "map"
    UNDONE = "undone"


@app.command()
def main(
    *,
    items: Annotated[int, typer.Option(min=100, help="Items of the map.")] = 100_000,
    failing: Annotated[float, typer.Option(min=0.0, max=0.5, help="Share that fails.")] = 0.01,
    parallel: Annotated[
        int, typer.Option(min=1, max=1000, help="Most items that run at once.")
    ] = 1000,  # what two workers hold at once: as the runs by themselves have it
    database: Annotated[
        Database, typer.Option("--database", "--db", help="The database.")
    ] = Database.SQLITE,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """One map over many items, beside the same number of single runs.

    The exit code is 1 when an effect was left or done twice, or a count was wrong.
    """
    measured(
        "map", items, workers=workers, database=database, as_json=as_json,
        measure=lambda place, console: measure(
            place.with_modules(MODULE), failing, parallel, console
        ),
    )  # fmt: skip


async def measure(place: Place, failing: float, parallel: int, console: Console) -> dict[str, Any]:
    """Warm up, single runs, the map, and one that is undone. Raises TimeoutError, RuntimeError."""
    items, every = place.wish.runs, round(1 / failing) if failing else 0
    await _publish(place, parallel)
    async with ours.workers(place) as crew:
        with ours.kept_open(place) as link:
            await _mapped(crew, link, Phase.WARM, _WARM_ITEMS, every)
            load, used = os.getloadavg()[0], [costs.cpu_seconds(crew.parts)]
            alone = await _singly(crew, link, items, every)
            used.append(costs.cpu_seconds(crew.parts))
            console.print(f"{items / alone:,.0f} single runs a second")
            early: list[int] = []
            seconds, counts = await _mapped(crew, link, Phase.MAP, items, every, early=early)
            grown = max(after - first for first, after in zip(early, _resident(crew), strict=True))
            used.append(costs.cpu_seconds(crew.parts))
            console.print(f"{items / seconds:,.0f} items a second: {counts}")
            fewer = items // _UNDONE_SHARE
            undoing, undone = await _mapped(crew, link, Phase.UNDONE, fewer, 0, refused=True)
        peak = costs.peak_bytes(crew.parts["workers"])
    failed = len(range(0, items, every)) if every else 0
    left = _left(place, Phase.MAP, items, every) + _left(place, Phase.UNDONE, fewer, 1)
    exact = counts == {"succeeded": items - failed, "failed": failed}
    return {
        "items": items, "failed": failed, "parallel": parallel, "workers": place.wish.workers,
        "items_per_second": round(items / seconds, 1),
        "runs_per_second": round(items / alone, 1), "ratio": round(alone / seconds, 3),
        "wanted_ratio": WANTED_RATIO, "reached": alone / seconds >= WANTED_RATIO,
        "rss_growth_mib": round(grown / 2**20, 1), "peak_memory_mib": round(max(peak) / 2**20),
        "cpu_ms_a_run": _milliseconds(used[0], used[1], items),
        "cpu_ms_an_item": _milliseconds(used[1], used[2], items),
        "undone": fewer, "undone_per_second": round(2 * fewer / undoing, 1),
        "effects_left": left,
        "kept": exact and not left and undone == {"succeeded": fewer, "failed": 0},
        "load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1),
        "settings": place.described(),
    }  # fmt: skip


async def _publish(place: Place, parallel: int) -> None:
    await migrate(place.settings.session_database)
    store = open_store(place.settings.session_database, pool_size=1)
    try:
        for workflow in (ITEM, mapped(parallel, "50%")):
            await store.publish(plan_of(workflow), document="bench", by="bench")
    finally:
        await store.close()


async def _singly(crew: Crew, link: Connection, items: int, every: int) -> float:
    """Seconds for as many runs of the item's workflow, submitted in batches."""
    ledger, ids = str(_ledger(crew.place, Phase.RUNS)), list[str]()
    began = time.time()
    for start in range(0, items, _BATCH):
        wanted = [
            Submission(
                workflow=ITEM.name, inputs={"number": n, "ledger": ledger, "every": every},
                actor="bench",
            )
            for n in range(start, min(start + _BATCH, items))
        ]  # fmt: skip
        ids += [one.run_id for one in await crew.services.submitter.submit(wanted)]
    unsettled = (
        select(runs.c.id)
        .where(runs.c.id >= min(ids), runs.c.id <= max(ids), runs.c.settled_at.is_(None)).limit(1)
    )  # fmt: skip
    await _until(lambda: link.execute(unsettled).first() is None)
    last = select(runs.c.settled_at).where(runs.c.id >= min(ids), runs.c.id <= max(ids))
    return max(moment(row[0]) for row in link.execute(last)) - began


async def _mapped(
    crew: Crew, link: Connection, phase: Phase, items: int, every: int, *, refused: bool = False,
    early: list[int] | None = None,
) -> tuple[float, dict[str, int]]:  # fmt: skip
    """(seconds, counts) of one map, from its submission to the end of its run.

    `early` gets the memory of workers when a fifth of the items has begun: so many run as may.
    """
    inputs = {
        "items": items, "ledger": str(_ledger(crew.place, phase)), "every": every,
        "refused": refused,
    }  # fmt: skip
    began = time.time()
    wanted = Submission(workflow="bench-map", inputs=inputs, actor="bench")
    (accepted,) = await crew.services.submitter.submit([wanted])
    if early is not None:
        some = select(maps.c.next).where(maps.c.run_id == accepted.run_id)
        await _until(lambda: (link.execute(some).scalar() or 0) >= items // 5)
        early += _resident(crew)
    settled = select(runs.c.settled_at, runs.c.status).where(runs.c.id == accepted.run_id)
    await _until(lambda: link.execute(settled).one()[0] is not None)
    ended, status = link.execute(settled).one()
    if status != (RunStatus.COMPENSATED if refused else RunStatus.SUCCEEDED):
        raise RuntimeError(f"the map's run ended {status}")
    (row,) = link.execute(
        select(maps.c.succeeded, maps.c.failed)
        .where(maps.c.run_id == accepted.run_id, maps.c.undoes.is_(None))
    )  # fmt: skip
    return moment(ended) - began, {"succeeded": row[0], "failed": row[1]}


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_MOST_SECONDS):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(_POLL_SECONDS)


def _milliseconds(
    before: Mapping[str, float], after: Mapping[str, float], number: int
) -> dict[str, float]:
    """Of CPU for each, by part."""
    spent = costs.difference(before, after)
    return {part: round(1000 * seconds / number, 2) for part, seconds in spent.items()}


def _resident(crew: Crew) -> list[int]:
    return [costs.resident_bytes(pid) for pid in crew.parts["workers"]]


def _ledger(place: Place, phase: Phase) -> Path:
    return place.folder / f"{phase}.ledger"


def _left(place: Place, phase: Phase, items: int, every: int) -> int:
    """Items whose effects are not as they should be.

    One that was refused (one in `every`; 0: none) has none left, any other exactly one.
    """
    return sum(1 for _ in wrong(_ledger(place, phase).read_text().splitlines(), items, every))


def wrong(lines: Sequence[str], items: int, every: int) -> Iterator[int]:
    """Numbers whose lines are not what they should be; see `_left`."""
    seen = Counter(lines)
    for number in range(items):
        undone = bool(every) and number % every == 0
        if (seen[f"do {number}"], seen[f"undo {number}"]) != (1, int(undone)):
            yield number


if __name__ == "__main__":
    app(prog_name="orchestrator bench map")
