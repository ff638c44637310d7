"""Workers join and are drained in the middle of the work: nothing may be lost or done twice."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from orchestrator.embedded.process import Child, stop_all
from orchestrator.embedded.workers import worker_spec
from orchestrator.store.tables import audit, run_steps, runs
from tests.bench.engine import ours
from tests.bench.engine.ours import Crew, Sent
from tests.bench.engine.place import Place

_TURNS = ((0.1, "join"), (0.3, "drain"), (0.5, "join"), (0.7, "drain"))
"""What happens when this share of the runs has settled."""
_END_SECONDS = 30.0
_POLL_SECONDS = 0.05


async def round_of(place: Place) -> dict[str, Any]:
    """One round; what became of its runs and calls. Raises TimeoutError, RuntimeError."""
    place.empty_broker()
    async with ours.workers(place) as crew:
        await crew.warm()
        before, began = _stub(place), crew.tables.now()
        sent = await crew.submit(place.wish.runs)
        joined = Joined(crew)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(joined.take_turns(sent))
                settled = both.create_task(crew.settle(sent))
        finally:
            await asyncio.to_thread(stop_all, joined.children)
        after = _stub(place)
        with ours.kept_open(place) as link:
            verdict = verdict_of(place, link, sent)
        seconds = max(ended for _, ended in settled.result()) - began
        return {
            "workers": place.wish.workers, "joined": joined.count("join"),
            "drained": joined.count("drain"), "turns": joined.taken, "runs": place.wish.runs,
            "runs_per_second": round(place.wish.runs / seconds, 3), **verdict,
            "calls": after["keys"] - before["keys"],
            "calls_repeated": after["repeated"] - before["repeated"],
            "calls_missing": place.wish.runs * place.wish.steps - after["keys"] + before["keys"],
        }  # fmt: skip


def kept(found: Mapping[str, Any]) -> bool:
    """Whether nothing was lost. A repeated call is harmless here, since all of them have keys."""
    return not any(found[name] for name in ("lost", "twice", "steps_missing", "calls_missing"))


class Joined:
    """The workers that come later, and those that are sent away."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self.children: list[Child] = []
        self._leaving = list(crew.supervisor.workers)
        self.taken: list[tuple[str, float]] = []  # with the share that had settled when it was done

    def count(self, turn: str) -> int:
        """How often that has happened."""
        return [done for done, _ in self.taken].count(turn)

    async def take_turns(self, sent: Sent) -> None:
        """Over the work: one joins, one of the first is drained, and so on."""
        count = len(sent.ids)
        with ours.kept_open(self._crew.place) as link:
            for share, turn in _TURNS:
                await _until_settled(link, sent, int(share * count))
                if turn == "join":
                    await self._join()
                elif self._leaving:
                    await self._drain(self._leaving.pop(0))
                self.taken.append((turn, round(_number(link, _settled(sent)) / count, 3)))

    async def _join(self) -> None:
        place = self._crew.place
        name = f"w{place.wish.workers + len(self.children) + 1}"
        child = Child(worker_spec(name, env=place.env), place.folder / "logs" / f"{name}.log")
        child.start()
        self.children.append(child)
        await ours.registered(self._crew.tables, {child.pid})

    async def _drain(self, child: Child) -> None:
        """SIGTERM is its warm shutdown."""
        child.signal(signal.SIGTERM)
        await asyncio.to_thread(child.stop, by=time.monotonic() + _END_SECONDS)
        if child.exit_code != 0:
            raise RuntimeError(f"{child.spec.name} ended with {child.exit_code}: {child.log_path}")


async def _until_settled(link: Connection, sent: Sent, wanted: int) -> None:
    async with asyncio.timeout(ours.PATIENCE_SECONDS):
        while await asyncio.to_thread(_number, link, _settled(sent)) < wanted:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(_POLL_SECONDS)


def verdict_of(place: Place, link: Connection, sent: Sent) -> dict[str, int]:
    """By the tables: `lost` runs did not succeed, `twice` says so more than once in its audit."""
    wish, theirs = place.wish, sent.rows
    ended = (
        select(audit.c.run_id)
        .where(audit.c.run_id.in_(select(runs.c.id).where(theirs)))
        .where(audit.c.kind.like("%run.succeeded"))  # with others of its write before it
        .group_by(audit.c.run_id)
    )
    once = _number(link, select(func.count()).select_from(ended.subquery()))
    more = ended.having(func.count() > 1).subquery()
    landed = (
        select(func.count())
        .where(run_steps.c.run_id.in_(select(runs.c.id).where(theirs)))
        .where(run_steps.c.direction == "forward", run_steps.c.status == "landed")
    )
    return {
        "lost": wish.runs - once,
        "twice": _number(link, select(func.count()).select_from(more)),
        "steps_missing": wish.runs * wish.steps - _number(link, landed),
    }


def _settled(sent: Sent) -> Any:
    return select(func.count()).where(sent.rows, runs.c.settled_at.is_not(None))


def _number(link: Connection, statement: Any) -> int:
    return int(link.execute(statement).scalar_one())


def _stub(place: Place) -> Mapping[str, Any]:
    assert place.stub is not None
    return place.stub.statistics()
