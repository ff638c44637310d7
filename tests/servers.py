"""Suites on other servers: whoever starts them says by the environment which (see `brokers.py`).

Without it a deployment of a test has what comes with the product: a Valkey of its own, SQLite.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from amqp.exceptions import NotFound
from kombu import Connection

from orchestrator.embedded.process import stop_all
from tests import encrypted
from tests.faults.chaos.broker import QUEUES
from tests.faults.chaos.postgres import Postgres
from tests.faults.chaos.stage import (
    behind_pooler,
    new_folder,
    remove,
    usual_broker,
    usual_database,
)
from tests.faults.rabbitmq import RabbitMq

RABBITMQ = "rabbitmq"


@contextmanager
def other_servers() -> Iterator[dict[str, str]]:
    """Settings that lead a deployment to the servers that are wanted, started for it alone.

    Empty where none are.
    """
    with ExitStack() as stack:
        folder = new_folder()
        stack.callback(remove, folder)
        yield {**_broker(folder, stack), **_database(folder, stack)}


def as_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The same for processes."""
    return {f"ORCHESTRATOR_{name.upper()}": value for name, value in settings.items()}


def empty(address: str) -> None:
    """Leave no message in the queues of a RabbitMQ."""
    with Connection(address) as connection:
        for queue in QUEUES:
            with suppress(NotFound):
                connection.channel().queue_purge(queue)


@contextmanager
def wakeups() -> Iterator[str]:
    """The address of a RabbitMQ, where that is wanted, else ''."""
    with ExitStack() as stack:
        yield _rabbitmq(stack) if usual_broker() == RABBITMQ else ""


def _rabbitmq(stack: ExitStack) -> str:
    folder = new_folder()  # its account reaches no other
    stack.callback(remove, folder)
    server = RabbitMq(folder, log_path=folder / "rabbitmq.log")
    stack.callback(server.stop)
    server.start()
    return server.child.spec.address


def _broker(folder: Path, stack: ExitStack) -> dict[str, str]:
    amqp = usual_broker() == RABBITMQ
    if not amqp and encrypted.VARIABLE not in os.environ:
        return {}
    redis = encrypted.start_broker(folder, log_path=folder / "valkey.log")
    stack.callback(stop_all, [redis])
    if not amqp:
        return {"broker_url": redis.spec.address}
    return {"broker_url": _rabbitmq(stack), "gate_url": redis.spec.address}


def _database(folder: Path, stack: ExitStack) -> dict[str, str]:
    if usual_database() == "sqlite":
        return {}
    postgres = Postgres(folder, log_path=folder / "postgres.log")
    stack.callback(postgres.stop)
    postgres.start()
    postgres.child.wait_ready()
    return {name: str(value) for name, value in behind_pooler(postgres, stack).items()}
