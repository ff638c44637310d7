"""Measures hops per second of Celery pools with hops that do nothing, or wait 10 ms.

    python tests/integration/worker/measure_pool.py [--hops 20000] [--workers 1]

Starts a Valkey of its own and real worker processes. The file is also the app of the workers
that use a stock pool. The table of docs/decisions/0003-worker-pool.md comes from it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE)]

from hints import a_hint  # noqa: E402 - after the path is set
from workbench import Process, eventually, valkey, worker  # noqa: E402 - after the path is set

from orchestrator.ports import FORWARD_TASK  # noqa: E402 - after the path is set
from orchestrator.worker.app import make_app  # noqa: E402 - after the path is set
from orchestrator.worker.messages import hint_publisher  # noqa: E402 - after the path is set

if url := os.environ.get("TINY_BROKER_URL"):
    app = make_app(broker_url=url, concurrency=int(os.environ.get("TINY_CONCURRENCY", "500")))
    if os.environ.get("TINY_POOL") == "threads":
        app.conf.update(worker_pool="threads", worker_consumer="celery.worker.consumer:Consumer")

        def body(hint: dict[str, object]) -> None:
            time.sleep(float(os.environ["TINY_SLEEP"]))

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


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the table."""

    pool: str
    stock: bool  # kombu's default transport options
    wait: bool  # each hop takes 10 ms
    events: bool

    def env(self) -> dict[str, str]:
        env = {
            "TINY_POOL": self.pool,
            "TINY_RECORDS": "0",
            "TINY_SLEEP": "0.01" if self.wait else "0",
        }
        env |= {"TINY_STOCK_TRANSPORT": "1"} if self.stock else {}
        return env | ({} if self.events else {"TINY_NO_EVENTS": "1"})

    def __str__(self) -> str:
        return (
            f"{self.pool:8} {'stock' if self.stock else 'tuned':6} "
            f"{'10 ms' if self.wait else 'no-op':6} events {'on' if self.events else 'off':4}"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hops", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--held", type=int, default=5_000, help="runs in hand at once, for memory")
    parser.add_argument("--ours", action="store_true", help="only our pool and options, briefly")
    options = parser.parse_args()
    either = (True, False)
    with valkey() as url:
        if options.ours:
            for wait, events in itertools.product(either, either):
                case = Case(pool="ours", stock=False, wait=wait, events=events)
                print(case, speed(url, case, options.hops, options.workers), flush=True)
            return
        for pool in ("threads", "ours"):
            for stock, wait, events in itertools.product(either, either, either):
                case = Case(pool=pool, stock=stock, wait=wait, events=events)
                print(case, speed(url, case, options.hops, options.workers), flush=True)
            print(f"{pool:8} {memory(url, pool, options.held)}", flush=True)


def speed(url: str, case: Case, hops: int, workers: int) -> str:
    with redis.Redis.from_url(url) as client:
        client.flushall()
        rate = asyncio.run(publish(url, hops, "m.sleep" if case.wait else "m.noop"))
        env = case.env()
        started = [worker(url, name=f"w{n}", app="measure_pool", **env) for n in range(workers)]
        try:
            taken, seconds, cpu, main = drain(client, started)
        finally:
            for each in started:
                each.stop()
    return (
        f"{taken / seconds:7.0f} hops/s {cpu / taken * 1e6:5.0f} us CPU/hop, of the main thread "
        f"{main / taken * 1e6:4.0f} (published {rate:.0f}/s)"
    )


def memory(url: str, pool: str, held: int) -> str:
    """What many runs in hand at once cost."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        asyncio.run(publish(url, held, "m.hold"))
        env = {"TINY_POOL": pool, "TINY_RECORDS": "0", "TINY_SLEEP": "60"}
        one = worker(url, app="measure_pool", TINY_CONCURRENCY=str(held), **env)
        try:
            eventually(lambda: not client.llen("default.forward"), seconds=60)
            process = psutil.Process(one.pid)
            return (
                f"{held} runs in hand: {process.memory_info().rss >> 20} MiB resident, "
                f"{process.num_threads()} threads"
            )
        finally:
            one.signal(signal.SIGKILL)  # a thread in a call cannot be told to end
            one.wait(10)


async def publish(url: str, count: int, label: str) -> float:
    publisher = hint_publisher(make_app(broker_url=url))
    hints = [a_hint(label) for _ in range(count)]
    begin = time.perf_counter()
    await publisher.publish(hints)
    seconds = time.perf_counter() - begin
    await publisher.close()
    return count / seconds


def drain(client: redis.Redis, workers: list[Process]) -> tuple[int, float, float, float]:
    """(hops, seconds, CPU seconds, those of main threads) from a tenth of the queue taken on."""

    def cpu() -> tuple[float, float]:
        threads = [(each.pid, t) for each in workers for t in psutil.Process(each.pid).threads()]
        all_of_them = sum(t.user_time + t.system_time for _, t in threads)
        return all_of_them, sum(t.user_time + t.system_time for pid, t in threads if t.id == pid)

    full = client.llen("default.forward")
    eventually(lambda: client.llen("default.forward") <= full * 0.9, seconds=60)
    begin, left, used = time.perf_counter(), client.llen("default.forward"), cpu()
    eventually(lambda: not client.llen("default.forward"), seconds=120)
    seconds, now = time.perf_counter() - begin, cpu()
    return left, seconds, now[0] - used[0], now[1] - used[1]


if __name__ == "__main__":
    main()
