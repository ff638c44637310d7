"""A private Valkey that can be emptied, killed, and started again empty at its address."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import redis

from orchestrator.embedded.address import answers
from orchestrator.embedded.process import Child, stop_all
from orchestrator.embedded.valkey import valkey_spec
from orchestrator.ports import DEAD_LETTER_QUEUE
from orchestrator.worker.options import task_queue_names
from tests.encrypted import start_broker
from tests.faults.hosts.network import Host
from tests.faults.rabbitmq import Away

_PORT = 6379  # on a host of its own
QUEUES = (*task_queue_names(["default"]), DEAD_LETTER_QUEUE)
_ANSWER_SECONDS = 5.0
UNREACHED = (redis.RedisError, Away)
"""What a server of either kind raises that is not there, or does not answer in time."""


class Broker:
    """The server. What it held before it was emptied is kept beside it, to be searched later."""

    def __init__(
        self, folder: Path, *, log_path: Path, env: Mapping[str, str] | None = None,
        host: Host | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._kept = folder, folder / "broker-kept"
        self._kept.mkdir(parents=True)
        self.child: Child = (
            start_broker(folder, log_path=log_path, env=env) if host is None
            else _start_on(host, folder, log_path)
        )  # fmt: skip

    @property
    def url(self) -> str:
        """With database 0, that of the queues; the gate's is 1."""
        return self.child.spec.address

    @property
    def gate_url(self) -> str:
        """Of the gate's server; empty: it is the same."""
        return ""

    @property
    def children(self) -> tuple[Child, ...]:
        """All servers that it takes."""
        return (self.child,)

    def flush(self) -> None:
        """FLUSHALL: queues, limits and slots are gone. Raises redis.RedisError."""
        self._keep_copy()
        with self._client() as client:
            client.flushall()

    def purge(self) -> int:
        """Drop all messages of all queues; their number. Raises redis.RedisError."""
        with self._client() as client:
            dropped = sum(client.llen(queue) for queue in QUEUES)
            client.delete(*QUEUES)
        return int(dropped)

    def depths(self) -> dict[str, int]:
        """Messages in each queue. Raises redis.RedisError."""
        with self._client() as client:
            return {queue: int(client.llen(queue)) for queue in QUEUES}

    def fill(self) -> None:
        """It is at its memory limit from now on, until `drain`. Raises redis.RedisError."""
        with self._client() as client:
            client.config_set("maxmemory", 1)

    def drain(self) -> None:
        """There is room again. Raises redis.RedisError."""
        with self._client() as client:
            client.config_set("maxmemory", 0)

    def kill(self) -> None:
        """SIGKILL, and its file is gone."""
        self.child.signal(signal.SIGKILL)
        self.child.stop(by=0.0)
        (self._folder / "valkey").rename(self._new_place())
        (self._folder / "valkey").mkdir()

    def crash(self) -> None:
        """SIGKILL; what it has on its disk stays."""
        self.child.signal(signal.SIGKILL)
        self.child.stop(by=0.0)

    def cut(self) -> None:
        """It stands still with its connections open."""
        self.child.signal(signal.SIGSTOP)

    def mend(self) -> None:
        """It goes on."""
        self.child.signal(signal.SIGCONT)

    def start_again(self) -> None:
        """At the same address, without waiting."""
        self.child.start()

    def stop(self) -> None:
        """End it."""
        stop_all([self.child])

    def dumps(self) -> Iterator[Path]:
        """Every file that it has written: all commands since its starts."""
        for folder in (self._folder / "valkey", self._kept):
            yield from (path for path in folder.rglob("*") if path.is_file())

    def _keep_copy(self) -> None:
        """A rewrite of its file may drop what was flushed."""
        place = self._new_place()
        place.mkdir()
        for path in (self._folder / "valkey").rglob("*"):
            if path.is_file():
                (place / path.name).write_bytes(path.read_bytes())

    def _new_place(self) -> Path:
        return self._kept / f"{len(list(self._kept.iterdir())):03d}"

    @contextmanager
    def _client(self) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(
            self.url, socket_timeout=_ANSWER_SECONDS, socket_connect_timeout=_ANSWER_SECONDS
        ) as client:
            yield client


def _start_on(host: Host, folder: Path, log_path: Path) -> Child:
    """On another host, where others reach it."""
    spec = valkey_spec(folder, _PORT)
    seen = ("--bind", host.address, "--protected-mode", "no")
    child = Child(
        replace(
            spec, argv=(*host.within, *spec.argv, *seen),
            address=f"redis://{host.address}:{_PORT}/0",
            ready=lambda: answers(_PORT, host.address),
        ),
        log_path,
    )  # fmt: skip
    child.start()
    child.wait_ready()
    return child
