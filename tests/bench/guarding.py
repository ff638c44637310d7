"""What it costs to accept a run under policies of agents: `python -m tests.bench.guarding [RUNS]`.

One acceptance after the other, as for one agent; on SQLite in a file and on an embedded PostgreSQL.
`open` is the number of runs that the agent has under way, for each of which is asked whether it has
ended. Prints JSON: milliseconds at the median and at the 95th percentile.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.core.guarding import (
    EVERYBODY,
    MILLION,
    RUNS,
    Asking,
    Budget,
    Charge,
    Duplicates,
    Period,
    Policy,
    Rate,
    Threshold,
)
from orchestrator.embedded.postgres import create_database, throwaway_postgres
from orchestrator.ports import Agent, NewPolicyChange, NewRun, PolicyChangeKind
from orchestrator.store import SqlStore, migrate, open_store
from tests.store.making import new_run, published

BOT, ALL = Agent("acme", "bot"), Agent("acme", EVERYBODY)
EVERY_RULE = Policy(
    rates=(Rate(runs=1000, seconds=1),), duplicates=Duplicates(refuse=True, seconds=3600),
    budgets=(
        Budget(of=RUNS, most=10**9, per=Period.DAY),
        Budget(of="EUR", most=10**9 * MILLION, per=Period.MONTH),
    ),
    asking=Asking(above=(Threshold(of="EUR", most=1),)),
)  # fmt: skip
Accept = Callable[[NewRun], Awaitable[Any]]


async def measured(store: SqlStore, runs: int) -> dict[str, Any]:
    """Each way of accepting."""
    version = await published(store)

    def guarded(*under: Agent, amount: int = 1) -> Accept:
        async def accept(run: NewRun) -> Any:
            charge = Charge(
                run_id=run.id, workflow=run.workflow, intent=run.id, amount=amount, currency="EUR"
            )
            return await store.accept_guarded([run], [charge], {run.id: under})

        return accept

    async def timed(accept: Accept, count: int = runs) -> dict[str, float]:
        took = []
        for _ in range(count):
            run = new_run(version, tenant="acme", actor="bot")
            begun = time.perf_counter()
            await accept(run)
            took.append((time.perf_counter() - begun) * 1000)
        cuts = statistics.quantiles(took, n=20)
        return {"p50_ms": round(statistics.median(took), 2), "p95_ms": round(cuts[-1], 2)}

    told: dict[str, Any] = {}
    told["no policy"] = await timed(lambda run: store.accept([run]))
    await _set(store, BOT, Policy())
    told["without rules"] = await timed(guarded(BOT))
    await _set(store, ALL, EVERY_RULE)
    await _set(store, BOT, EVERY_RULE, version=1)
    told["every rule"] = await timed(guarded(BOT))
    told["every rule, tenant and agent"] = await timed(guarded(ALL, BOT))
    told["held for a person"] = await timed(guarded(BOT, amount=2))
    await _set(store, BOT, Policy(), version=2)
    many = [new_run(version, tenant="acme", actor="bot") for _ in range(5000)]
    for start in range(0, len(many), 500):
        part = many[start : start + 500]
        charges = [Charge(run_id=run.id, workflow="order", intent=run.id) for run in part]
        await store.accept_guarded(part, charges, {run.id: [BOT] for run in part})
    await _set(store, BOT, EVERY_RULE, version=3)
    await asyncio.sleep(1.1)  # else its rate refuses
    told["every rule, 5,000 more open"] = await timed(guarded(BOT), min(runs, 100))
    return told


async def _set(store: SqlStore, agent: Agent, policy: Policy, *, version: int = 0) -> None:
    await store.change_policy(
        NewPolicyChange(
            agent=agent, expected_version=version, kind=PolicyChangeKind.SET, by="b", reason="b",
            policy=policy,
        )
    )  # fmt: skip


async def on(url: str, runs: int) -> dict[str, Any]:
    """On one database, which is migrated first."""
    await migrate(url)
    store = open_store(url)
    try:
        return await measured(store, runs)
    finally:
        await store.close()


def main(runs: int) -> None:
    """Both databases."""
    with TemporaryDirectory() as folder:
        told = {"sqlite": asyncio.run(on(f"sqlite:///{Path(folder) / 'bench.db'}", runs))}
    with throwaway_postgres(durable=True) as server:
        told["postgresql"] = asyncio.run(on(create_database(server, "bench"), runs))
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
