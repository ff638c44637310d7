"""The pytest plugin: the fixture `lab`, and which ways through workflows no test has taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from orchestrator.testing.coverage import Coverage
    from orchestrator.testing.definitions import Source
    from orchestrator.testing.lab import Lab

_COVERAGE: pytest.StashKey[Coverage] = pytest.StashKey()
_TITLE = "workflow coverage"


class OpenLab(Protocol):
    """What the fixture `lab` gives: opens a lab, which is closed when the test ends."""

    def __call__(self, source: Source, **options: Any) -> Lab:
        """See `Lab`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of ours."""
    group = parser.getgroup("orchestrator", "workflows of the saga orchestrator")
    group.addoption(
        "--workflow-coverage", action="store_true",
        help="say which steps, failures, undos and actions of workflows no test has gone through",
    )  # fmt: skip
    group.addoption(
        "--workflow-coverage-min", type=float, metavar="PERCENT",
        help="fail when less than this part of them was gone through",
    )  # fmt: skip


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[OpenLab]:
    """Opens labs: `lab("config/workflows/order.arazzo.yaml")`; closed when the test ends."""
    from orchestrator.testing.lab import Lab  # noqa: PLC0415 - loaded by tests that use it

    opened: list[Lab] = []

    def open_lab(source: Source, **options: Any) -> Lab:
        options.setdefault("coverage", _coverage_of(request.config))
        opened.append(Lab(source, **options))
        return opened[-1]

    yield open_lab
    for each in opened:
        each.close()


def _coverage_of(config: pytest.Config) -> Coverage:
    from orchestrator.testing.coverage import Coverage  # noqa: PLC0415 - see `lab`

    if _COVERAGE not in config.stash:
        config.stash[_COVERAGE] = Coverage()
    return config.stash[_COVERAGE]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """What no test has gone through, if that is wanted."""
    wanted = config.getoption("--workflow-coverage") or _least(config) is not None
    if not wanted or _COVERAGE not in config.stash:
        return
    coverage = config.stash[_COVERAGE]
    terminalreporter.section(_TITLE)
    for line in coverage.report():
        terminalreporter.write_line(line)
    least, found = _least(config), f"{100 * coverage.share:.0f} % of all"
    if least is not None and 100 * coverage.share < least:
        terminalreporter.write_line(f"{found}; wanted {least:g} %", red=True)
    else:
        terminalreporter.write_line(found)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session when too little was gone through."""
    least = _least(session.config)
    if least is None or _COVERAGE not in session.config.stash:
        return
    if 100 * session.config.stash[_COVERAGE].share < least and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _least(config: pytest.Config) -> float | None:
    least: float | None = config.getoption("--workflow-coverage-min")
    return least
