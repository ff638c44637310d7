"""The pytest plugin in a session of its own: the fixture, and the report of what was not taken."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

QUIETLY = ("-o", "asyncio_default_fixture_loop_scope=function")
HERE = Path(__file__).parent
TEST = f"""
def test_order(lab):
    assert lab({str(HERE / "order.arazzo.yaml")!r}).run("order", amount=1).status == "succeeded"
"""


def test_coverage_is_told_and_may_be_demanded(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TEST)
    done = pytester.runpytest_inprocess(*QUIETLY, "--workflow-coverage-min", "90")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(
        [
            "*workflow coverage*",
            "asked: 0 of 7",
            "order: 3 of 9",
            "  never: charge fails, undo charge, order fails, *",
            "* % of all; wanted 90 %",
        ]
    )
    assert done.ret == pytest.ExitCode.TESTS_FAILED


def test_nothing_is_told_unless_wanted(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TEST)
    done = pytester.runpytest_inprocess(*QUIETLY)
    done.assert_outcomes(passed=1)
    done.stdout.no_fnmatch_line("*workflow coverage*")
    assert done.ret == pytest.ExitCode.OK


def test_what_processes_of_xdist_took_is_one_coverage(pytester: pytest.Pytester) -> None:
    told = {"order": {"charge": True, "mail": False}}, {"order": {"charge": False, "mail": True}}
    pytester.makepyfile(
        test_it="def test_nothing(): ...",
        conftest=f"""
        from types import SimpleNamespace
        from orchestrator.testing import plugin

        def pytest_sessionfinish(session):
            for one in {told!r}:
                given = {{plugin._TOLD_AS: one}}
                node = SimpleNamespace(workeroutput=given, config=session.config)
                plugin.pytest_testnodedown(node)
        """,
    )
    done = pytester.runpytest_inprocess(*QUIETLY, "--workflow-coverage-min", "100")
    done.stdout.fnmatch_lines(["order: 2 of 2", "100 % of all"])


def test_a_minimum_without_a_lab_is_not_met(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="def test_nothing(): ...")
    done = pytester.runpytest_inprocess(*QUIETLY, "--workflow-coverage-min", "1")
    done.stdout.fnmatch_lines(["no test has opened a lab"])
    assert done.ret == pytest.ExitCode.TESTS_FAILED
