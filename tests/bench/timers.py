"""`orchestrator bench timers`: how late sleeping runs wake, and that none wakes twice.

All runs have one step, which sleeps until a time of the run's own. The times are spread evenly over
a minute that begins when all should be asleep: a few that are placed first tell how long it takes.
Real workers, broker and database, all private. A sleep is `late` by the time from when it was to be
over to the commit that finds it over, in a worker's hands, both by the database's clock.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlalchemy import func, select, text
from sqlalchemy.engine import Connection

from orchestrator import Workflow
from orchestrator.core.states import RunStatus
from orchestrator.definitions.builder import plan_of
from orchestrator.service.submitting import Submission
from orchestrator.store import open_store
from orchestrator.store.tables import ANNOUNCED, SLEEPING, attempts, runs, waits
from tests.bench.engine import costs, ours, profiling
from tests.bench.engine.figures import percentile
from tests.bench.engine.ours import Beside, Crew
from tests.bench.engine.place import Place
from tests.bench.engine.profiling import Profile
from tests.bench.measured import Database, measured
from tests.faults.chaos.bystander import moment

WANTED_P99_SECONDS = 1.0
SLEEPER = Workflow("bench-sleeper", inputs={"at": str}).until("$inputs.at")
_SAMPLE, _FAR = 1000, timedelta(days=1)  # placed first, to see how long that takes
_BATCH = 2000  # accepted by one call
_MOST_PENDING = 10_000  # accepted and not asleep yet: more would only be refused
_SLACK, _SLACK_SECONDS = 1.25, 10.0  # of the time that placing all should take
_POLL_SECONDS = 0.5
_LOST_SECONDS = 300.0  # after the last time; whoever sleeps then is never woken


@dataclass(frozen=True, kw_only=True)
class Asleep:
    """All are placed."""

    seconds: float  # that it took
    first_id: str  # theirs are all ids from here
    first_due: datetime
    too_late: int  # how many were not asleep yet when the first time came


@dataclass(frozen=True, kw_only=True)
class Woken:
    """What became of one sleeper. UNIX seconds."""

    until: float
    closed: float  # 0: never
    settled: float  # 0: never
    succeeded: bool


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    timers: Annotated[int, typer.Option(min=2, help="Runs that sleep.")] = 100_000,
    database: Annotated[
        Database, typer.Option("--database", "--db", help="The database.")
    ] = Database.SQLITE,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")] = 2,
    spread: Annotated[
        float, typer.Option(min=1.0, help="Seconds over which their times are spread.")
    ] = 60.0,
    profile: Annotated[
        Path | None,
        typer.Option(help="py-spy beside one worker while they wake: as of `bench engine`."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How late sleeping runs wake, and that none wakes twice.

    The exit code is 1 when one woke twice, early or never, or was not asleep in time.
    """

    async def work(place: Place, console: Console) -> dict[str, Any]:
        beside = ours.undisturbed
        if profile is not None:
            profiling.program()  # refused before anything is measured
            beside = Profile(profile, place.folder).beside
        return await measure(place, spread, console, beside)

    measured("timers", timers, workers=workers, database=database, as_json=as_json, measure=work)


async def measure(
    place: Place, spread: float, console: Console, beside: Beside = ours.undisturbed
) -> dict[str, Any]:
    """Place all, wait for all, judge; `beside` is entered while they wake. Raises TimeoutError,
    RuntimeError.
    """
    await ours.prepare(place)
    await _publish(place)
    async with ours.workers(place) as crew:
        await crew.warm()
        load = os.getloadavg()[0]
        with ours.kept_open(place) as link:
            asleep = await _put_to_sleep(crew, link, spread, console)
            before = costs.cpu_seconds(crew.parts)
            last = asleep.first_due + timedelta(seconds=spread)
            with beside(crew):
                await _until_ended(link, asleep.first_id, last)
            spent = costs.difference(before, costs.cpu_seconds(crew.parts))
            woken, doubled = _read(link, asleep.first_id), _doubled(link, asleep.first_id)
        peak = costs.peak_bytes(crew.parts["workers"])
    found = judged(woken, wanted=place.wish.runs, doubled=doubled)
    found["kept"] = found["kept"] and not asleep.too_late
    return {
        **found, "workers": place.wish.workers, "spread_seconds": spread,
        "asleep_in_seconds": round(asleep.seconds, 1), "awake_too_late_to_sleep": asleep.too_late,
        "cpu_seconds": {part: round(seconds, 1) for part, seconds in spent.items()},
        "peak_memory_mib": round(max(peak) / 2**20), "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1), "settings": place.described(),
    }  # fmt: skip


def judged(woken: Sequence[Woken], *, wanted: int, doubled: int) -> dict[str, Any]:
    """The figures of all sleepers. Raises IndexError where none woke."""
    late = [each.closed - each.until for each in woken if each.closed]
    ended = [each.settled - each.until for each in woken if each.settled]
    closed = [each.closed for each in woken if each.closed]
    lost = wanted - sum(each.succeeded and each.closed > 0 for each in woken)
    early = sum(seconds < 0 for seconds in late)
    return {
        "timers": wanted, "late_p50_seconds": round(percentile(late, 0.5), 3),
        "late_p99_seconds": round(percentile(late, 0.99), 3),
        "late_max_seconds": round(max(late), 3),
        "ended_p99_seconds": round(percentile(ended, 0.99), 3),
        "duplicates": doubled, "early": early, "lost": lost,
        "woken_per_second": round(len(closed) / max(max(closed) - min(closed), 1e-9), 1),
        "wanted_late_p99_seconds": WANTED_P99_SECONDS,
        "reached": percentile(late, 0.99) <= WANTED_P99_SECONDS,
        "kept": doubled == early == lost == 0,
    }  # fmt: skip


# --- placing them ---------------------------------------------------------------------------------


async def _publish(place: Place) -> None:
    store = open_store(place.settings.database, pool_size=1)
    try:
        await store.publish(plan_of(SLEEPER), document="bench", by="bench")
    finally:
        await store.close()


async def _put_to_sleep(crew: Crew, link: Connection, spread: float, console: Console) -> Asleep:
    """All of them, with times from when that should be done, by the rate of a few before."""
    total = crew.place.wish.runs
    sample = min(_SAMPLE, total)
    began = time.monotonic()
    await _place(crew, link, [datetime.now(UTC) + _FAR] * sample)
    await _all_asleep(link, sample)
    rate = sample / (time.monotonic() - began)
    lead = _SLACK * total / rate + _SLACK_SECONDS
    first, gap = datetime.now(UTC) + timedelta(seconds=lead), timedelta(seconds=spread / total)
    console.print(f"{rate:.0f} fall asleep in a second; the first wakes in {lead:.0f} s")
    began = time.monotonic()
    first_id = await _place(crew, link, [first + gap * number for number in range(total)])
    await _all_asleep(link, sample + total, until=first)
    seconds, too_late = time.monotonic() - began, sample + total - _asleep(link)
    console.print(f"{total - too_late} of {total} asleep after {seconds:.1f} s")
    return Asleep(seconds=seconds, first_id=first_id, first_due=first, too_late=too_late)


async def _place(crew: Crew, link: Connection, times: Sequence[datetime]) -> str:
    """Accept runs that sleep until these; the lowest id."""
    ids: list[str] = []
    for start in range(0, len(times), _BATCH):
        await _while(lambda: _pending(link) > _MOST_PENDING)
        batch = [
            Submission(workflow=SLEEPER.name, inputs={"at": at.isoformat()}, actor="bench")
            for at in times[start : start + _BATCH]
        ]
        ids += [one.run_id for one in await crew.services.submitter.submit(batch)]
    return min(ids)


async def _all_asleep(link: Connection, wanted: int, until: datetime | None = None) -> None:
    """Or it is too late."""
    await _while(
        lambda: _asleep(link) < wanted and (until is None or datetime.now(UTC) < until),
    )  # fmt: skip


async def _while(holds: Callable[[], bool], quiet_seconds: float = ours.PATIENCE_SECONDS) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(quiet_seconds):
        while await asyncio.to_thread(holds):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(_POLL_SECONDS)


# --- reading the tables ---------------------------------------------------------------------------


def _pending(link: Connection) -> int:
    return _count(link, ANNOUNCED)


def _asleep(link: Connection) -> int:
    return _count(link, SLEEPING)


def _count(link: Connection, condition: str) -> int:
    counted = select(func.count()).select_from(runs).where(text(condition))
    return int(link.execute(counted).scalar_one())


async def _until_ended(link: Connection, first_id: str, last: datetime) -> None:
    """Until all have, or for a while after the last time; who has not then is lost."""
    open_one = select(runs.c.id).where(runs.c.id >= first_id, runs.c.settled_at.is_(None)).limit(1)
    end = last + timedelta(seconds=_LOST_SECONDS)
    await _while(
        lambda: link.execute(open_one).first() is not None and datetime.now(UTC) < end,
        quiet_seconds=(end - datetime.now(UTC)).total_seconds() + 60.0,
    )


def _read(link: Connection, first_id: str) -> list[Woken]:
    columns = (waits.c.expires_at, waits.c.closed_at, runs.c.settled_at, runs.c.status)
    rows: Sequence[Any] = link.execute(
        select(*columns).join(runs, runs.c.id == waits.c.run_id).where(runs.c.id >= first_id)
    ).all()
    return [
        Woken(
            until=moment(until), closed=0.0 if closed is None else moment(closed),
            settled=0.0 if settled is None else moment(settled),
            succeeded=status == RunStatus.SUCCEEDED,
        )
        for until, closed, settled, status in rows
    ]  # fmt: skip


def _doubled(link: Connection, first_id: str) -> int:
    """How many woke more than once: each time is an attempt that is recorded."""
    woken = (
        select(attempts.c.run_id).where(attempts.c.run_id >= first_id)
        .group_by(attempts.c.run_id).having(func.count() > 1)
    )  # fmt: skip
    return int(link.execute(select(func.count()).select_from(woken.subquery())).scalar_one())


if __name__ == "__main__":
    app(prog_name="orchestrator bench timers")
