"""How fast `audit verify` goes through a million records on PostgreSQL, all of them whole.

Fills a database with finished runs as the engine leaves them, has checkpoints cover them, and
verifies. Prints records a second; `--json` one object with `audit_verify_records_per_second`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from orchestrator.core import chain
from orchestrator.embedded.postgres import create_database, throwaway_postgres
from orchestrator.engine.signing import TrustedKeys
from orchestrator.service.auditing import Auditing, Checkpoints
from orchestrator.store import SqlStore, auditing, codec, migrate, open_store
from orchestrator.store.tables import runs as runs_table
from tests.store.making import accepted, new_id

RECORDS_OF_A_RUN = 10
CHUNK = 5000
"""Runs that one COPY brings."""
_DIGEST = "6dd249967f00198ac9e97aaf0f64ed51fabab3eb39882483bb6cb99239e2e978"
_SAID = {
    "step.begun": {
        "step": "charge", "attempt": 1,
        "request": {"method": "POST", "target": "/v1/charges", "key": _DIGEST, "body": _DIGEST},
        "events": [{"event": "Began", "at": "2026-03-04T05:06:07.890123+00:00", "then": ""}],
    },
    "step.landed": {
        "step": "charge", "reason": "201 Created", "run": "running",
        "call": {"seconds": 0.1, "sent": 1, "base": "https://bank.example", "body": _DIGEST},
        "events": [{"event": "Landed", "at": "2026-03-04T05:06:07.890123+00:00", "then": "x"}],
    },
}  # fmt: skip
_COPIED = ", ".join(
    column.name for column in runs_table.columns
    if column.computed is None and column.name not in ("id", "idempotency_key", "audit_head")
)  # fmt: skip
_COPY = "COPY audit (run_id, seq, at, kind, actor, data, chain) FROM STDIN"
_RUNS = (
    f"INSERT INTO runs (id, idempotency_key, audit_head, {_COPIED}) SELECT made.id, made.id,"
    f" made.head, {_COPIED} FROM runs, unnest(%s::text[], %s::bytea[]) AS made (id, head)"
    " WHERE runs.id = %s"
)


def rows(run_id: str, at: datetime) -> Iterator[tuple[Any, ...]]:
    """One run's audit, two records a write, and so a row and a link for each two."""
    head, micros, kind = None, codec.micros(at), chain.AND.join(_SAID)
    data = codec.dump_together(list(_SAID.values()), [0])
    for seq in range(2, RECORDS_OF_A_RUN + 1, 2):
        entries = chain.entry_of([micros, micros], kind, "worker", data)
        head = chain.link(head, run_id, entries)
        yield run_id, seq, at, kind, "worker", data.decode(), head


async def fill(store: SqlStore, url: str, records: int) -> None:
    """As many whole runs as make about so many records, and checkpoints over all."""
    template = (await accepted(store))[0].id
    at, wanted = datetime.now(UTC) - timedelta(minutes=1), records // RECORDS_OF_A_RUN
    with psycopg.connect(url, autocommit=True) as link:
        link.execute(
            "UPDATE runs SET status = 'succeeded', audit_seq = %s WHERE id = %s",
            (RECORDS_OF_A_RUN, template),
        )
        for begin in range(0, wanted, CHUNK):
            made = [(run_id := new_id(), list(rows(run_id, at))) for _ in range(CHUNK)]
            made = made[: wanted - begin]
            with link.cursor().copy(_COPY) as copy:
                for _, records_of in made:
                    for row in records_of:
                        copy.write_row(row)
            heads = [records_of[-1][-1] for _, records_of in made]
            link.execute(_RUNS, ([run_id for run_id, _ in made], heads, template))
        link.execute("DELETE FROM audit WHERE run_id = %s", (template,))
        link.execute("DELETE FROM runs WHERE id = %s", (template,))
        link.execute("VACUUM (ANALYZE)")
    auditing.SETTLING = timedelta(0)  # nobody else writes, so that the newest are covered, too
    checkpoints = Checkpoints(store, None, every_seconds=60.0)
    while (made_one := await checkpoints.make(everything=True)) is not None and made_one.heads:
        pass


async def measure(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fill and verify, as often as is wanted."""
    address = url.replace("postgresql:", "postgresql+psycopg:", 1)
    await migrate(address)
    store = open_store(address)
    try:
        await fill(store, url, options.records)
        seconds, cpu = [], []
        for _ in range(options.times):
            begun, used = time.perf_counter(), time.process_time()
            found = await Auditing(store).verify(TrustedKeys(()))
            seconds.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - used)
            assert found.whole, found.breaches[:3]
            assert found.uncovered_runs == 0, found.uncovered_runs
        return {
            "records": found.records, "runs": found.runs, "seconds": round(min(seconds), 2),
            "cpu_seconds": round(min(cpu), 2),
            "audit_verify_records_per_second": round(found.records / statistics.median(seconds)),
        }  # fmt: skip
    finally:
        await store.close()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="orchestrator bench audit", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with throwaway_postgres() as server:
        found = asyncio.run(measure(create_database(server, "audit"), options))
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' '):36}{value:,}")


if __name__ == "__main__":
    main()
