"""What is done within a deployment's network, by its image: a workload, and the verdict over it.

    python -m tests.packaging.world.inside prepare
    python -m tests.packaging.world.inside submit --url http://api --runs 300 --seconds 60
    python -m tests.packaging.world.inside judge --runs 300 --file /tmp/ledger.jsonl

`prepare` publishes the shapes of `tests/faults/workload.py`; `submit` sends their runs to the REST
face and waits until all have settled (the key is in ORCHESTRATOR_KEY); `judge` holds the ledger's
file, tables and audit against each other, and exits with 1 where they do not agree. The API is
`python -m tests.faults.ledger.server`. The database is that of ORCHESTRATOR_DATABASE_URL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from orchestrator.client import Client, ask
from orchestrator.core.states import SETTLED
from orchestrator.settings import load_settings
from tests.faults.checker.invariants import check
from tests.faults.checker.report import as_json, as_text
from tests.faults.checker.tables import read_tables
from tests.faults.ledger.reading import read_records
from tests.faults.publishing import publish
from tests.faults.workload import RunSeed, seeds

KEY_VARIABLE = "ORCHESTRATOR_KEY"
SEED = 7
BATCH_SECONDS = 1.0
SETTLE_SECONDS = 300.0


class Unsettled(Exception):
    """Runs that have not ended in time."""


def send(client: Client, wanted: Sequence[RunSeed], *, seconds: float) -> dict[str, str]:
    """Submit evenly over this time; run ids by name. Raises errors of `orchestrator.errors`."""
    began, ids = time.monotonic(), dict[str, str]()
    for due, batch in _batches(wanted, seconds):
        time.sleep(max(0.0, began + due - time.monotonic()))
        lines = [ask.submission(seed.shape.name, seed.inputs, key=seed.name) for seed in batch]
        for seed, answer in zip(batch, client.submit_many(lines), strict=True):
            if answer.submitted is None:
                raise RuntimeError(f"{seed.name}: refused: {answer.problem}")
            ids[seed.name] = answer.submitted.run_id
    return ids


def settle(client: Client, ids: Sequence[str], *, seconds: float = SETTLE_SECONDS) -> None:
    """Wait until all have ended. Raises Unsettled."""
    end = time.monotonic() + seconds
    for number, run_id in enumerate(ids):
        run = client.settled(run_id, seconds=max(0.0, end - time.monotonic()))
        if run.status not in SETTLED:
            left = len(ids) - number
            raise Unsettled(f"{run_id} and up to {left - 1} more: still {run.status}")


def reached(url: str, key: str, verify: httpx.BaseTransport | None = None) -> Client:
    """The REST face. `verify`: a transport that knows its certificate."""
    return Client(url, key=key, transport=verify)


def _batches(wanted: Sequence[RunSeed], seconds: float) -> Iterator[tuple[float, list[RunSeed]]]:
    count = max(1, int(seconds / BATCH_SECONDS))
    for number in range(count):
        some = wanted[number * len(wanted) // count : (number + 1) * len(wanted) // count]
        if some:
            yield number * BATCH_SECONDS, list(some)


def _submit(given: argparse.Namespace) -> None:
    wanted = list(seeds(given.seed, given.runs))
    with reached(given.url, os.environ[KEY_VARIABLE]) as client:
        ids = send(client, wanted, seconds=given.seconds)
        sys.stdout.write(f"{len(ids)} submitted\n")
        settle(client, list(ids.values()))
    sys.stdout.write(f"{len(ids)} settled\n")


def _judge(given: argparse.Namespace) -> None:
    verdict = check(
        seeds(given.seed, given.runs), read_records(given.file), read_tables(_database())
    )
    sys.stdout.write(json.dumps(as_json(verdict)) + "\n")
    if verdict.violations:
        sys.exit(as_text(verdict))


def _prepare(_: argparse.Namespace) -> None:
    asyncio.run(publish(_database()))


def _database() -> str:
    return load_settings().database


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    acts = parser.add_subparsers(required=True)
    acts.add_parser("prepare").set_defaults(act=_prepare)
    for name, act in (("submit", _submit), ("judge", _judge)):
        one = acts.add_parser(name)
        one.set_defaults(act=act)
        one.add_argument("--runs", type=int, default=300)
        one.add_argument("--seed", type=int, default=SEED)
        if act is _submit:
            one.add_argument("--url", required=True)
            one.add_argument("--seconds", type=float, default=30.0, help="over which they are sent")
        else:
            one.add_argument("--file", type=Path, required=True, help="the ledger's")
    given = parser.parse_args()
    given.act(given)


if __name__ == "__main__":
    main()
