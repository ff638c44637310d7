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
_TOLD_AS = "orchestrator_workflow_coverage"


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
    least = _least(config)
    if not config.getoption("--workflow-coverage") and least is None:
        return
    terminalreporter.section(_TITLE)
    if _COVERAGE not in config.stash:
        terminalreporter.write_line("no test has opened a lab", red=least is not None)
        return
    coverage = config.stash[_COVERAGE]
    for line in coverage.report():
        terminalreporter.write_line(line)
    found = f"{100 * coverage.share:.0f} % of all"
    if _is_too_little(config):
        terminalreporter.write_line(f"{found}; wanted {least:g} %", red=True)
    else:
        terminalreporter.write_line(found)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session when too little was gone through. A process of xdist tells its main one."""
    config = session.config
    told: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if told is not None:
        if _COVERAGE in config.stash:
            told[_TOLD_AS] = config.stash[_COVERAGE].to_json()
    elif session.exitstatus == pytest.ExitCode.OK and _is_too_little(config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of xdist has ended: add what it counted."""
    told = getattr(node, "workeroutput", {}).get(_TOLD_AS)
    if told is not None:
        _coverage_of(node.config).add(told)


def _is_too_little(config: pytest.Config) -> bool:
    """Without any lab that is nothing."""
    least = _least(config)
    if least is None:
        return False
    return _COVERAGE not in config.stash or 100 * config.stash[_COVERAGE].share < least


def _least(config: pytest.Config) -> float | None:
    least: float | None = config.getoption("--workflow-coverage-min")
    return least
