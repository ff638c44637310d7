"""Log lines: JSON from both front doors, bound ids on each, no secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from orchestrator.telemetry.logging import bound_run, bound_step, configure_logging
from orchestrator.telemetry.redact import HIDDEN, address_of, hidden_text, is_secret_name


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What was logged; the process's logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    configure_logging(log_format="json", stream=out)
    yield out
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_front_doors_carry_the_bound_ids(stream: io.StringIO) -> None:
    with (
        bound_run(run_id="r1", workflow="checkout", tenant="acme"),
        bound_step(step="charge", attempt=2, direction="forward"),
    ):
        structlog.get_logger().info("step landed", seconds=0.1)
        logging.getLogger("celery.worker").warning("lost %s", "a connection")
    wanted = {"run_id": "r1", "tenant": "acme", "step": "charge", "attempt": 2}
    ours, theirs = lines(stream)
    assert wanted.items() <= ours.items()
    assert wanted.items() <= theirs.items()
    assert theirs["event"] == "lost a connection"
    assert theirs["logger"] == "celery.worker"


def test_nothing_stays_bound(stream: io.StringIO) -> None:
    with bound_run(run_id="r1", workflow="checkout", tenant="acme"):
        pass
    structlog.get_logger().info("idle")
    assert "run_id" not in lines(stream)[0]


def test_secrets_are_hidden_wherever_they_stand(stream: io.StringIO) -> None:
    secret = "s3cret"
    structlog.get_logger().info("call", api_key=secret, url=f"redis://:{secret}@host:6379/0")
    logging.getLogger("kombu.connection").error("cannot reach redis://u:%s@host", secret)
    try:
        raise ConnectionError(f"amqp://u:{secret}@host refused")
    except ConnectionError:
        structlog.get_logger().exception("failed")
    assert secret not in stream.getvalue()
    assert all(HIDDEN in line for line in stream.getvalue().splitlines())


def test_a_traceback_shows_no_local_variables(stream: io.StringIO) -> None:
    unguessable = "local-" + "value"
    try:
        raise ValueError(len(unguessable))
    except ValueError:
        structlog.get_logger().exception("failed")
    assert unguessable not in stream.getvalue()
    assert "ValueError: 11" in str(lines(stream)[0]["exception"])


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("Authorization", True),
        ("x-api-key", True),
        ("client_secret", True),
        ("refresh_token", True),
        ("idempotency_key", False),
        ("tokens_left", False),
        ("step", False),
    ],
)
def test_secret_names(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_addresses_for_people() -> None:
    assert address_of("postgresql+psycopg://me:pw@db:5432/app?sslmode=require") == (
        "postgresql+psycopg://db:5432/app"
    )
    assert hidden_text("at redis://:pw@h:1/0, retry") == f"at redis://:{HIDDEN}@h:1/0, retry"
