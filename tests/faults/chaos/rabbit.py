"""A private RabbitMQ that can be emptied, killed, cut off and alarmed, with a Valkey for the gate.

Workers reach it over a road that can be cut; whoever looks on, directly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError, NotFound
from kombu import Connection
from kombu.exceptions import KombuError

from orchestrator.embedded.process import Child
from tests.faults.chaos.broker import QUEUES, Broker
from tests.faults.rabbitmq import Away, RabbitMq
from tests.faults.roads import Road

_ANSWER_SECONDS = 5.0
_NO_MEMORY, _USUAL_MEMORY = "0", "0.4"
"""Parts of the machine's, above which publishers are held up."""


class RabbitBroker:
    """Both servers. `folder` must be reachable for other accounts."""

    def __init__(self, folder: Path, *, log_path: Path) -> None:
        self._gate = Broker(folder, log_path=log_path)
        self._rabbit = RabbitMq(folder, log_path=log_path.with_name("rabbitmq.log"))
        self._rabbit.start()
        port = urlsplit(self._rabbit.child.spec.address).port
        assert port is not None
        self._road = Road(port).__enter__()
        self.url = self._rabbit.child.spec.address.replace(f":{port}/", f":{self._road.port}/")

    @property
    def gate_url(self) -> str:
        """Limits, slots and tokens are there."""
        return self._gate.url

    @property
    def child(self) -> Child:
        """RabbitMQ."""
        return self._rabbit.child

    @property
    def children(self) -> tuple[Child, ...]:
        """Both."""
        return (self._rabbit.child, self._gate.child)

    def flush(self) -> None:
        """The gate's limits and slots are gone. Raises redis.RedisError."""
        self._gate.flush()

    def purge(self) -> int:
        """Drop all messages of all queues; their number. Raises Away."""
        with self._connection() as connection:
            return sum(self._purged(connection, queue) for queue in QUEUES)

    def depths(self) -> dict[str, int]:
        """Messages that nobody has taken, in each queue. Raises Away."""
        with self._connection() as connection:
            return {queue: self._depth(connection, queue) for queue in QUEUES}

    def fill(self) -> None:
        """Its memory alarm: publishers wait from now on, until `drain`. Raises Away."""
        self._rabbit.control("set_vm_memory_high_watermark", _NO_MEMORY)

    def drain(self) -> None:
        """There is room again. Raises Away."""
        self._rabbit.control("set_vm_memory_high_watermark", _USUAL_MEMORY)

    def cut(self) -> None:
        """Nothing arrives at workers any more, and nobody is told."""
        self._road.cut()

    def mend(self) -> None:
        """What was sent meanwhile arrives."""
        self._road.mend()

    def kill(self) -> None:
        """SIGKILL, and all that it held is gone."""
        self._rabbit.kill()
        self._rabbit.forget()

    def crash(self) -> None:
        """SIGKILL; what it has on its disk stays."""
        self._rabbit.kill()

    def start_again(self) -> None:
        """At the same address, without waiting."""
        self._rabbit.child.start()

    def stop(self) -> None:
        """End both, and the road."""
        self._road.__exit__(None, None, None)
        self._rabbit.stop()
        self._gate.stop()

    def dumps(self) -> Iterator[Path]:
        """Every file that either has written."""
        yield from self._gate.dumps()
        yield from self._rabbit.files()

    # --- parts ------------------------------------------------------------------------------------

    def _purged(self, connection: Connection, queue: str) -> int:
        try:
            with connection.channel() as channel:
                return int(channel.queue_purge(queue))
        except NotFound:  # nobody has declared it yet
            return 0

    def _depth(self, connection: Connection, queue: str) -> int:
        try:
            with connection.channel() as channel:
                return int(channel.queue_declare(queue, passive=True).message_count)
        except NotFound:
            return 0

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        address = self._rabbit.child.spec.address
        try:
            with Connection(
                address, connect_timeout=_ANSWER_SECONDS,
                transport_options={"read_timeout": _ANSWER_SECONDS, "max_retries": 0},
            ) as connection:  # fmt: skip
                connection.connect()
                yield connection
        except (AMQPError, KombuError, OSError) as error:
            raise Away(str(error)) from error
