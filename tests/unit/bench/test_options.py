"""Options that do not fit the load are refused before anything is started."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.bench.engine import __main__ as bench
from tests.bench.engine.measuring import Options
from tests.bench.engine.place import Wish
from tests.bench.engine.printing import Printer


@pytest.mark.parametrize(
    "options",
    [
        "--load latency --flower",
        "--load submit --profile out.svg",
        "--load noop --join-and-drain",
        "--load noop --workers 1,2",
        "--load io200 --workers 0,2",
        "--load io200 --workers two",
        "--load io20 --db both",
        "--load noop --db both --flower",
        "--load history --db sqlite",
    ],
)
def test_what_does_not_fit_is_refused(options: str) -> None:
    done = CliRunner().invoke(bench.app, options.split())
    assert done.exit_code == 2, done.output


def asked(monkeypatch: pytest.MonkeyPatch, options: str) -> tuple[Wish, Options]:
    """What would be measured."""
    seen: list[tuple[Wish, Options]] = []

    def measure(wish: Wish, options: Options, printer: Printer) -> dict[str, object]:
        seen.append((wish, options))
        return {}

    monkeypatch.setattr(bench, "measure", measure)
    done = CliRunner().invoke(bench.app, options.split())
    assert done.exit_code == 0, done.output
    return seen[0]


def test_settings_of_our_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    wish, _ = asked(monkeypatch, "--load noop --max-inline-steps 0")
    assert wish.settings == {"max_inline_steps": 0}


def test_several_numbers_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    wish, options = asked(monkeypatch, "--load io200 --workers 4,1,2 --join-and-drain")
    assert options.by_workers == (1, 2, 4)
    assert (wish.workers, wish.count_keys) == (2, True)


def test_one_worker_holds_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    wish, _ = asked(monkeypatch, "--load inflight --runs 10000")
    assert wish.workers == 1


def test_what_was_not_kept_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "measure", lambda *_: {"kept": False})
    assert CliRunner().invoke(bench.app, ["--json"]).exit_code == 1


def test_help_names_each_option() -> None:
    shown = CliRunner().invoke(bench.app, ["--help"], env={"COLUMNS": "200"}).output
    for option in ("--few", "--join-and-drain", "--max-inline-steps", "--servers-on", "--explain"):
        assert option in shown
