"""Only figures of time are measured again: a suite of its own, run by pytest itself."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

LOOP_SCOPE = "asyncio_default_fixture_loop_scope=function"  # else it warns
SUITE = """
    import pytest
    from tests import steady

    tries = {"figure": 0, "fault": 0, "never": 0}

    @pytest.fixture
    def held_still():
        return steady.held_still

    def test_figure(held_still):
        tries["figure"] += 1
        held_still(tries["figure"] > 2, "twice it was missed")

    def test_fault(held_still):
        tries["fault"] += 1
        assert tries["fault"] > 1

    def test_never(held_still):
        tries["never"] += 1
        held_still(False, "missed by far")

    def test_tries():
        assert tries == {"figure": 3, "fault": 1, "never": 3}
"""


def test_a_figure_is_measured_again_and_a_fault_is_red_at_once(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from tests.steady import measure_again_where_asked

        def pytest_collection_modifyitems(items):
            measure_again_where_asked(items)
        """
    )
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "-p", "no:xdist", "-o", LOOP_SCOPE
    )
    outcomes = result.parseoutcomes()
    assert outcomes == {"passed": 2, "failed": 2, "rerun": 4}
    result.stdout.fnmatch_lines(["*NotHeldStill: missed by far*"])
