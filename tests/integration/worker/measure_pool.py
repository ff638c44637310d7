"""Measures hops per second of Celery pools with hops that do nothing, or wait 10 ms.

    python tests/integration/worker/measure_pool.py [--hops 20000] [--workers 1]

Starts a Valkey of its own and real worker processes. The file is also the app of the workers
that use a stock pool. The table of docs/decisions/0003-worker-pool.md comes from it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
import uuid
from pathlib import Path
from subprocess import DEVNULL

import psutil
import redis

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE)]

from orchestrator.ports import FORWARD_TASK, Hint  # noqa: E402
from orchestrator.worker.app import make_app  # noqa: E402
from orchestrator.worker.messages import hint_publisher  # noqa: E402

if url := os.environ.get("TINY_BROKER_URL"):
    app = make_app(broker_url=url, concurrency=int(os.environ.get("TINY_CONCURRENCY", "500")))
    kind = os.environ.get("TINY_POOL", "ours")
    if kind != "ours":
        app.conf.update(worker_pool="threads", worker_consumer="celery.worker.consumer:Consumer")

        def body(hint: dict[str, object]) -> None:
            if os.environ.get("TINY_SLEEP"):
                time.sleep(0.01)

        del app.tasks[FORWARD_TASK]
        app.task(body, name=FORWARD_TASK, shared=False)
    else:
        from tiny_worker import TinyRuntime

        app.runtime_factory = TinyRuntime
    if os.environ.get("TINY_NO_EVENTS"):
        app.conf.worker_send_task_events = False
    if os.environ.get("TINY_STOCK_TRANSPORT"):
        app.conf.broker_transport_options = {}
        app.conf.worker_disable_prefetch = False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hops", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    from workbench import valkey

    with valkey() as broker_url:
        for pool in ("threads", "ours"):
            for stock in (True, False):
                for sleep in (False, True):
                    for events in (True, False):
                        measure(broker_url, options, pool, stock, sleep, events)


def measure(
    broker_url: str, options: argparse.Namespace, pool: str, stock: bool, sleep: bool, events: bool
) -> None:
    from workbench import worker

    client = redis.Redis.from_url(broker_url)
    client.flushall()
    rate = asyncio.run(publish(broker_url, options.hops, "m.sleep" if sleep else "m.noop"))
    env = {"TINY_POOL": pool, "TINY_RECORDS": "0"}
    env |= {"TINY_STOCK_TRANSPORT": "1"} if stock else {}
    env |= {"TINY_SLEEP": "1"} if sleep else {}
    flags = () if events else ("--without-heartbeat", "--without-gossip", "--without-mingle")
    if not events:
        env["TINY_NO_EVENTS"] = "1"
    started = [
        worker(broker_url, name=f"w{n}", app="measure_pool", flags=flags, log=DEVNULL, **env)
        for n in range(options.workers)
    ]
    try:
        begin, seconds, cpu = drain(client, started)
    finally:
        for each in started:
            each.stop()
    print(
        f"{pool:8} {'stock' if stock else 'tuned':6} {'10 ms' if sleep else 'no-op':6} "
        f"events {'on' if events else 'off':4} {begin / seconds:7.0f} hops/s "
        f"{cpu / begin * 1e6:6.0f} us CPU/hop   (published {rate:.0f}/s)",
        flush=True,
    )


async def publish(broker_url: str, count: int, label: str) -> float:
    publisher = hint_publisher(make_app(broker_url=broker_url))
    hints = [
        Hint(
            run_id=str(uuid.uuid4()), epoch=1, hop_id=str(uuid.uuid4()), parent_hop_id=None,
            label=label, task=FORWARD_TASK, queue="default.forward",
        )
        for _ in range(count)
    ]  # fmt: skip
    begin = time.perf_counter()
    await publisher.publish(hints)
    seconds = time.perf_counter() - begin
    await publisher.close()
    return count / seconds


def drain(client: redis.Redis, workers: list[object]) -> tuple[int, float, float]:
    """(hops, seconds, CPU seconds) from a tenth of the queue taken until it is empty."""

    def cpu() -> float:
        return sum(sum(psutil.Process(each.pid).cpu_times()[:2]) for each in workers)

    full = client.llen("default.forward")
    deadline = time.monotonic() + 120
    while client.llen("default.forward") > full * 0.9 and time.monotonic() < deadline:
        time.sleep(0.005)
    begin, left, used = time.perf_counter(), client.llen("default.forward"), cpu()
    while client.llen("default.forward") and time.monotonic() < deadline:
        time.sleep(0.005)
    return left, time.perf_counter() - begin, cpu() - used


if __name__ == "__main__":
    main()
