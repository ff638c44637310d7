"""How an API is said to be, beside its own past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.exchange import Outcome
from orchestrator.core.windows import Window
from orchestrator.ports.api_windows import ApiWindow
from orchestrator.service.api_health import Trend, reports, trend_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def calls(number: int, seconds: float, failed: int = 0) -> Window:
    window = Window()
    for index in range(number):
        status = 500 if index < failed else 200
        window.add(status=status, outcome=Outcome.LANDED, seconds=seconds)
    return window


@pytest.mark.parametrize(
    ("now", "usual", "trend"),
    [
        (calls(49, 9.0), calls(500, 0.1), Trend.UNKNOWN),
        (calls(100, 9.0), calls(0, 0.1), Trend.UNKNOWN),
        (calls(100, 0.11), calls(500, 0.1), Trend.AS_USUAL),
        (calls(100, 0.2), calls(500, 0.1), Trend.SLOWER),
        (calls(100, 0.02), calls(500, 0.1), Trend.FASTER),
        (calls(100, 0.1, failed=10), calls(500, 0.1, failed=5), Trend.FAILING),
        (calls(100, 0.1, failed=4), calls(500, 0.1), Trend.AS_USUAL),
        (calls(100, 0.1, failed=45), calls(500, 0.1, failed=200), Trend.AS_USUAL),
    ],
)
def test_beside_its_own_past(now: Window, usual: Window, trend: Trend) -> None:
    assert trend_of(now, usual) is trend


def test_operations_add_up_to_their_api_and_workers_to_an_operation() -> None:
    def seen(operation: str, worker: str, window: Window, *, ago: int = 0) -> ApiWindow:
        return ApiWindow(
            api="shop", operation=operation, began=NOW - timedelta(minutes=ago), worker=worker,
            window=window,
        )  # fmt: skip

    [found] = reports(
        [
            seen("GET /a", "w1", calls(10, 0.1)), seen("GET /a", "w2", calls(30, 0.3)),
            seen("GET /b", "w1", calls(50, 1.0, failed=5)),
            seen("GET /b", "w1", calls(7, 1.0), ago=90),
        ],
        since=NOW - timedelta(minutes=60),
    )  # fmt: skip
    assert [one.name for one in found.operations] == ["GET /b", "GET /a"]
    assert (found.whole.now.calls, found.whole.usual.calls) == (90, 7)
    assert found.operations[1].now.latency.p50 == pytest.approx(0.3, rel=0.011)
    assert found.whole.now.failed_share == pytest.approx(5 / 90)
