"""Translating the server's time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.coordination.clock import ServerClock

OFFSET = 1_700_000_000.0  # server's clock minus ours


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1))
def test_a_translated_time_is_never_early_and_at_most_the_quickest_answer_late(
    calls: list[tuple[float, float, float]],
) -> None:
    clock, now, quickest = ServerClock(), 100.0, 1.0
    for pause, there, back in calls:
        sent = now + pause
        received = sent + there + back
        assert not clock.observe(sent=sent, received=received, server=sent + there + OFFSET)
        quickest = min(quickest, back)
        now = received
        late = clock.monotonic(now + OFFSET) - now
        assert -1e-6 <= late <= quickest + 0.001 * (now - 100.0) + 1e-6


def test_a_clock_that_is_set_is_noticed_and_followed() -> None:
    clock = ServerClock()
    assert not clock.observe(sent=10.0, received=10.002, server=10.001 + OFFSET)
    for jump in (-3600.0, 3600.0, 0.5, -0.5):
        server = 20.001 + OFFSET + jump
        assert clock.observe(sent=20.0, received=20.002, server=server)
        assert not clock.observe(sent=20.003, received=20.005, server=server + 0.003)
        assert abs(clock.monotonic(server) - 20.001) < 0.01


def test_a_slow_answer_is_no_jump() -> None:
    clock = ServerClock()
    assert not clock.observe(sent=10.0, received=10.001, server=10.0005 + OFFSET)
    assert not clock.observe(sent=11.0, received=15.0, server=14.9 + OFFSET)
    assert not clock.observe(sent=16.0, received=20.0, server=16.1 + OFFSET)
    assert clock.monotonic(16.1 + OFFSET) - 16.1 < 0.02
