"""Lines of a run's log name the span at hand, which is worked out only where there is a line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from orchestrator.core.states import Direction, RunStatus
from orchestrator.core.tracing import attempt_span_id, span_id
from orchestrator.engine.traces import RunTrace
from orchestrator.ports import RunRecord
from orchestrator.ports.tracing import Tracing
from orchestrator.telemetry.logging import configure_logging

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ID = "0190b8a4-6c00-7000-8000-000000000001"


def run_record() -> RunRecord:
    return RunRecord(
        id=ID, workflow_id="w1", workflow="order", version=1, tenant="acme", actor="ada",
        lane="default", priority=0, idempotency_key="k", inputs={}, status=RunStatus.RUNNING,
        direction=Direction.FORWARD, epoch=1, owner="w", claims=1, hop_id=None, wake_at=None,
        deadline_at=None, published_at=None, cancel=None, cause="", outputs=None,
        created_at=NOW, started_at=None, settled_at=None, audit_seq=1,
    )  # fmt: skip


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    out = io.StringIO()
    configure_logging(log_format="json", stream=out)
    with structlog.contextvars.bound_contextvars(trace_id="", span_id=""):
        yield out
    structlog.reset_defaults()


def logged(stream: io.StringIO) -> dict[str, object]:
    structlog.get_logger().info("something")
    found = json.loads(stream.getvalue().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_a_line_names_the_run_and_then_the_attempt_at_hand(stream: io.StringIO) -> None:
    trace = RunTrace(run_record(), Tracing(ratio=0.0))
    trace.bind()
    assert logged(stream)["span_id"] == span_id(ID, "run")
    assert logged(stream)["trace_id"] == ID.replace("-", "")
    trace.begin_attempt((2, Direction.FORWARD), NOW)
    assert logged(stream)["span_id"] == attempt_span_id(ID, 2, Direction.FORWARD, NOW)
    trace.begin_attempt((2, Direction.FORWARD), None)  # a question, which has no intent
    assert logged(stream)["span_id"] == span_id(ID, "run")
