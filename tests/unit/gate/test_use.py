"""How many start times a process wants in hand, by how many it has used of late."""

from __future__ import annotations

from orchestrator.engine.gate_use import FEW, GROWTH, Use


def used(number: int, *, until: float, seconds: float = 1.0) -> Use:
    """So many a second, counted every tenth of one."""
    use, now = Use(), until - seconds
    use.most(1.0, 1.0, now)
    while now < until - 0.05:
        for _ in range(number // 10):
            use.note()
        now += 0.1
        use.most(1.0, 1.0, now)
    return use


def test_who_has_used_none_may_ask_for_a_few_and_keeps_none() -> None:
    use = Use()
    use.learn(0.0, soon=1.0)
    assert use.most(0.1, 0.02, 1.0) == FEW
    assert use.stock(0.01, 1.0) == 0


def test_what_has_come_at_once_is_kept_for_as_long_as_it_is_good() -> None:
    use = used(1000, until=10.0)
    use.learn(10.0, soon=10.01)
    assert 9 <= use.stock(0.01, 10.0) <= 10
    assert use.most(0.1, 0.02, 10.0) in range(int(GROWTH * 19), int(GROWTH * 20) + 2)


def test_what_is_scarce_is_not_kept_and_asked_for_further_ahead() -> None:
    use = used(1000, until=10.0)
    use.learn(10.02, soon=10.01)
    assert use.stock(0.01, 10.0) == 0
    assert use.most(0.1, 0.02, 10.0) in range(int(GROWTH * 95), int(GROWTH * 100) + 2)
    use.learn(None, soon=10.01)
    assert use.stock(0.01, 10.0) == 0


def test_what_was_long_ago_counts_no_more() -> None:
    use = used(1000, until=10.0)
    use.learn(10.0, soon=10.01)
    assert use.stock(1.0, 60.0) == 0
