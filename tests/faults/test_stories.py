"""What a run's story tells of calls is what the server has seen of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.explain import compare

RUNS = 60

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(120)]


async def test_stories_tell_of_exactly_the_calls_that_a_server_has_seen(tmp_path: Path) -> None:
    found = await compare(RUNS, tmp_path)
    assert (found.missing, found.invented) == (0, 0)
    assert found.seen > 5 * RUNS
    assert found.compensated, "nothing was undone: this shows half of it"
