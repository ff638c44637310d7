"""How long the blast radius of an API takes to tell among many runs that are not final.

Fills a database with runs: most go straight forward and stand anywhere, some are on their way back.
Prints milliseconds of the whole use case: fresh, and for another API a moment later. `--json`
prints `blast_radius_ms` (the median of fresh ones on PostgreSQL) and `blast_radius_active_runs`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.embedded.postgres import create_database, throwaway_postgres
from orchestrator.service.impact import Impacts
from orchestrator.store import SqlStore, migrate, open_store
from tests.store.making import new_run

APIS = ("payments", "shop", "mail", "ledger", "crm", "files")
STEPS, WORKFLOWS, TENANTS = 6, 20, 50
CHUNK = 2000
PARKED = "published_at = NULL, wake_at = created_at"


def plan_of(rng: random.Random, name: str) -> Plan:
    def call(label: str) -> Call:
        return Call(label=label, api=rng.choice(APIS), effects=Effects.KEYED, template={})

    steps = tuple(
        PlanStep(
            id=f"s{at}", call=call(f"{name}.s{at}"),
            compensation=Compensation(call=call(f"{name}.u{at}")),
        )
        for at in range(STEPS)
    )  # fmt: skip
    return Plan(workflow=name, steps=steps, digest=name)


async def fill(store: SqlStore, runs: int, backward: float) -> None:
    rng = random.Random(1)
    versions = [
        (await store.publish(plan_of(rng, f"w{at}"), document="", by="bench"))[0]
        for at in range(WORKFLOWS)
    ]
    for begin in range(0, runs, CHUNK):
        await store.accept([
            new_run(
                rng.choice(versions), tenant=f"t{rng.randrange(TENANTS)}",
                inputs={"items": "x" * 300},
                deadline_seconds=rng.choice([None, 600.0, 86_400.0]),
            )
            for _ in range(min(CHUNK, runs - begin))
        ])  # fmt: skip
    # As workers would leave them: by the last characters of the id, which are random.
    spread = "(abs(unicode(substr(id, 36, 1))) * 7 + unicode(substr(id, 35, 1)))"
    share = f"({spread} % 100) < {backward * 100}"
    if not store._database.dialect.is_sqlite:
        spread = spread.replace("unicode", "ascii")
        share = share.replace("unicode", "ascii")
    goes_back = f"{share} AND ({spread} % {STEPS}) > 0"
    link = (
        "INSERT INTO run_steps (run_id, step, direction, status, attempts, doubt, sequence)"
        f" SELECT id, {{at}}, 'forward', 'landed', 1, false, {{at}} + 1 FROM runs"
        f" WHERE {goes_back} AND ({spread} % {STEPS}) >= {{at}}"
    )
    statements = [
        f"UPDATE runs SET status = 'running', step = {spread} % {STEPS} WHERE true",
        f"UPDATE runs SET status = 'parked', {PARKED} WHERE ({spread} % 5) = 1",
        *(link.format(at=at) for at in range(STEPS)),
        f"UPDATE runs SET status = 'compensating', direction = 'backward' WHERE {goes_back}",
    ]
    for statement in statements:
        await store._database.write(lambda tx, s=statement: tx.change(text(s)))
    if not store._database.dialect.is_sqlite:  # which autovacuum would have done by then
        async with store._database.direct.connect() as connection:
            await connection.execute(text("VACUUM ANALYZE runs"))
            await connection.execute(text("VACUUM ANALYZE run_steps"))


async def measure(store: SqlStore, times: int) -> dict[str, Any]:
    fresh, again = [], []
    for _ in range(times):
        impacts = Impacts(store, None)
        for taken in (fresh, again):
            begun = time.perf_counter()
            found = await impacts.of("payments")
            taken.append((time.perf_counter() - begun) * 1000)
    groups = await store.run_groups(deadline_within_seconds=3600.0)
    return {
        "active": found.active, "affected": found.total.affected, "groups": len(groups),
        "fresh_ms": round(statistics.median(fresh), 1), "fresh_best_ms": round(min(fresh), 1),
        "again_ms": round(statistics.median(again), 1),
    }  # fmt: skip


@contextmanager
def databases(which: str) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        if which != "postgres":
            found["sqlite"] = f"sqlite:///{Path(folder) / 'bench.db'}"
        if which == "sqlite":
            yield found
            return
        with throwaway_postgres() as server:
            yield {**found, "postgres": create_database(server, "impact")}


async def run(url: str, options: argparse.Namespace) -> dict[str, Any]:
    await migrate(url)
    store = open_store(url)
    try:
        await fill(store, options.runs, options.backward)
        return await measure(store, options.times)
    finally:
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="orchestrator bench impact", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="that are not final")
    parser.add_argument("--backward", type=float, default=0.02, help="part that goes back")
    parser.add_argument("--db", choices=["both", "postgres", "sqlite"], default="both")
    parser.add_argument("--times", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with databases(options.db) as urls:
        found = {name: asyncio.run(run(url, options)) for name, url in urls.items()}
    if options.json:
        named = found.get("postgres") or found["sqlite"]
        told = {"blast_radius_ms": named["fresh_ms"], "blast_radius_active_runs": named["active"]}
        print(json.dumps({**told, **found}))
        return
    for name, one in found.items():
        print(name, *(f"{key}={value}" for key, value in one.items()))


if __name__ == "__main__":
    main()
