"""What looking costs the database that does the work, with and without a read replica.

Lists of runs (a page of the newest, one of a status, and the counts) are read without a pause by
`--readers` at once while runs are accepted as fast as one process can. Rounds that read from the
primary and from a streaming replica of it take turns on the same tables. For each kind: lists a
second, runs accepted a second, and processor time of the primary server for each 1,000 lists, with
what accepting alone costs taken off (measured in rounds without readers).

`--json` prints them, with `looks_ratio` (lists a second with the replica, divided by those
without), `accepts_ratio` (the same of runs accepted) and `primary_cpu_ratio`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg

from orchestrator.core.states import RunStatus
from orchestrator.embedded.postgres import create_database, throwaway_postgres
from orchestrator.ports import RunFilter, WorkflowVersion
from orchestrator.ports.looking import looked
from orchestrator.store import Looks, SqlStore, migrate, open_store
from tests.standby import standby_of
from tests.store.making import new_run, published

CHUNK = 1000
ACCEPTED_AT_ONCE = 50
PAGE = 51
KINDS = ("alone", "primary", "replica")


@dataclass(kw_only=True)
class Round:
    """What was done in one."""

    seconds: float
    lists: int
    accepted: int
    cpu_seconds: float  # of the primary server


class Server:
    """The processor time of a server and its sessions, as far as they are still there."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as link:
            row = link.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
            parent = psutil.Process(row[0]).parent()
        assert parent is not None
        self._parent = parent

    def cpu(self) -> dict[int, float]:
        """Seconds by process."""
        found = {}
        for each in [self._parent, *self._parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                found[each.pid] = times.user + times.system
        return found


async def _read(looks: Looks | None, store: SqlStore, until: float) -> int:
    """Lists that were read. Raises RuntimeError when the replica was left out for some."""
    done = elsewhere = 0
    wanted = (RunFilter(limit=PAGE), RunFilter(status=frozenset({RunStatus.PENDING}), limit=PAGE))

    async def page() -> None:
        await store.runs(wanted[done % len(wanted)])
        await store.count_by_status()

    while time.monotonic() < until:
        if looks is None:
            await page()
        else:
            look = looks.begin("bench")
            await looked(looks, look, page)
            elsewhere += look.age_seconds is None
        done += 1
    if elsewhere:
        raise RuntimeError(f"{elsewhere} of {done} lists were read from the primary")
    return done


async def _accept(store: SqlStore, version: WorkflowVersion, until: float) -> int:
    done = 0
    while time.monotonic() < until:
        await store.accept([new_run(version) for _ in range(ACCEPTED_AT_ONCE)])
        done += ACCEPTED_AT_ONCE
    return done


class Bench:
    """The stores of one process that shows and of one that accepts, on one loop."""

    def __init__(self, url: str, read_url: str, server: Server, readers: int) -> None:
        self.store, self._readers, self._server = open_store(url), readers, server
        self.replica = self.store.replica(read_url, max_lag_seconds=3600.0)
        self._shown, self._looks = self.store.looked_at(self.replica), Looks(self.replica)

    async def fill(self, runs: int) -> WorkflowVersion:
        version = await published(self.store)
        for _ in range(0, runs, CHUNK):
            await self.store.accept([new_run(version) for _ in range(CHUNK)])
        return version

    async def round(self, kind: str, version: WorkflowVersion, seconds: float) -> Round:
        readers = 0 if kind == "alone" else self._readers
        looks, store = (self._looks, self._shown) if kind == "replica" else (None, self.store)
        before, began = self._server.cpu(), time.monotonic()
        accepted, *lists = await asyncio.gather(
            _accept(self.store, version, began + seconds),
            *(_read(looks, store, began + seconds) for _ in range(readers)),
        )
        after = self._server.cpu()
        spent = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
        return Round(
            seconds=time.monotonic() - began, lists=sum(lists), accepted=accepted,
            cpu_seconds=spent,
        )  # fmt: skip

    async def warm_up(self) -> None:
        """Until the replica is known to be good."""
        while await self.replica.age_seconds(since=0.0) is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        await self.replica.close()
        await self.store.close()


def told(rounds: dict[str, Sequence[Round]]) -> dict[str, Any]:
    """Medians of each kind of round, and the ratios."""
    a_run = statistics.median(each.cpu_seconds / each.accepted for each in rounds["alone"])
    found: dict[str, Any] = {}
    for kind in KINDS[1:]:
        some = rounds[kind]
        found[kind] = {
            "lists_per_second": round(statistics.median(e.lists / e.seconds for e in some), 1),
            "accepted_per_second": round(
                statistics.median(e.accepted / e.seconds for e in some), 1
            ),
            "primary_cpu_ms_per_list": round(
                1000 * statistics.median(
                    (e.cpu_seconds - a_run * e.accepted) / e.lists for e in some
                ), 3,
            ),
        }  # fmt: skip
    primary, replica = found["primary"], found["replica"]
    return {
        "looks_ratio": round(replica["lists_per_second"] / primary["lists_per_second"], 2),
        "accepts_ratio": round(
            replica["accepted_per_second"] / primary["accepted_per_second"], 2
        ),
        "primary_cpu_ratio": round(
            replica["primary_cpu_ms_per_list"] / primary["primary_cpu_ms_per_list"], 3
        ),
        "accepted_alone_per_second": round(
            statistics.median(e.accepted / e.seconds for e in rounds["alone"]), 1
        ),
        **found,
    }  # fmt: skip


async def run(url: str, read_url: str, options: argparse.Namespace) -> dict[str, Any]:
    await migrate(url)
    bench = Bench(url, read_url, Server(url), options.readers)
    try:
        version = await bench.fill(options.runs)
        rounds: dict[str, list[Round]] = {kind: [] for kind in KINDS}
        await bench.warm_up()
        for _ in range(options.rounds):
            for kind in KINDS:
                rounds[kind].append(await bench.round(kind, version, options.seconds))
        return told(dict(rounds))
    finally:
        await bench.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="orchestrator bench reads", description=__doc__)
    parser.add_argument("--runs", type=int, default=50_000, help="that are there before")
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with throwaway_postgres() as server, standby_of(server) as standby:
        url = create_database(server, "reads")
        standby.catch_up()
        found = asyncio.run(run(url, standby.of(url), options))
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(name, value)


if __name__ == "__main__":
    main()
