"""A soak goes on where it was interrupted, and what it says is what its parts came to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from orchestrator.errors import InvalidInput
from tests.faults.chaos.judging import ZEROS
from tests.faults.soak import page
from tests.faults.soak.book import Book, Part


def _part(seed: int, runs: int = 100, **wrong: int) -> Part:
    return Part(
        seed=seed, db="sqlite", runs=runs, window_seconds=8.0, drain_seconds=2.0, effects=3 * runs,
        faults={"worker_killed": 2, "broker_flushed": 1},
        endings={"succeeded": runs - 10, "compensated": 9, "escalated": 1},
        breaches={**dict.fromkeys(ZEROS, 0), **wrong},
    )  # fmt: skip


def test_parts_follow_by_seed_on_both_databases_and_the_last_is_what_is_left() -> None:
    book, wishes = Book(first_seed=7), []
    while book.runs < 250:
        wish = book.wish(runs=250, part_runs=100, seconds=30)
        wishes.append((wish.seed, wish.database, wish.runs, wish.seconds))
        book = book.having(_part(wish.seed, wish.runs))
    assert wishes == [
        (7, "postgres", 100, 30.0), (8, "sqlite", 100, 30.0), (9, "postgres", 50, 15.0),
    ]  # fmt: skip


def test_what_was_written_is_gone_on_with(tmp_path: Path) -> None:
    book = Book(first_seed=3).having(_part(3)).having(_part(4))
    book.write(tmp_path / "deep" / "soak.json")
    found = Book.read(tmp_path / "deep" / "soak.json")
    assert found == book
    assert found.next_seed == 5
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["soak.json"]


def test_neither_a_wrong_seed_nor_a_breach_becomes_part_of_it() -> None:
    book = Book(first_seed=3)
    with pytest.raises(ValueError, match="seed=4"):
        book.having(_part(4))
    with pytest.raises(ValueError, match="not a clean part 3"):
        book.having(_part(3, lost=1))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda kept: kept.update(version=9), "version 9"),
        (lambda kept: kept["parts"].pop(0), "part 1 with seed 4"),
        (lambda kept: kept["parts"][1]["breaches"].update(lost=1), "seed 4 with breaches"),
        (lambda kept: kept["parts"][0]["endings"].update(succeeded=1), "seed 3 with 100 runs"),
        (lambda kept: kept["parts"][0].pop("effects"), "effects"),
    ],
)
def test_a_file_that_was_spoilt_is_refused_by_name(
    spoil: object, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "soak.json"
    Book(first_seed=3).having(_part(3)).having(_part(4)).write(path)
    kept = json.loads(path.read_text())
    assert callable(spoil)
    spoil(kept)
    path.write_text(json.dumps(kept))
    with pytest.raises(InvalidInput) as refused:
        Book.read(path)
    (problem,) = refused.value.problems
    assert (problem.place, found in problem.found) == (str(path), True), problem


def test_the_page_tells_of_every_part_and_their_sum() -> None:
    book = Book(first_seed=3).having(_part(3)).having(replace(_part(4), drain_seconds=12.0))
    told = page.table(book)
    assert "| 3 | sqlite | 100 | 3 | 300 | 0 | 2.0 s | 10 |" in told
    assert "| **all** | 2 parts | **200** | 6 | 600 | **0** | at most 12.0 s | 7 |" in told
    assert "| worker killed | 4 |" in told
    assert "180 succeeded, 18 compensated, 2 escalated" in told
    assert "lost 0, orphaned effects 0" in told
    written = page.with_table(f"before\n{page.BEGIN}old\n{page.END}\nafter\n", book)
    assert written == f"before\n{page.BEGIN}{told}{page.END}\nafter\n"
    with pytest.raises(SystemExit, match="lacks the lines"):
        page.with_table("no markers", book)


@pytest.mark.broker
@pytest.mark.long
@pytest.mark.timeout(300)
def test_it_ends_cleanly_when_it_is_told_to_and_goes_on_later(folder: Path) -> None:
    """Interrupted in its second part: the first stays done, no process and no folder is left."""
    state = folder / "soak.json"
    options = ["--runs", "80", "--part-runs", "40", "--seconds", "8", "--state", str(state)]
    command = [sys.executable, "-m", "tests.faults.soak", *options]
    env = {**os.environ, "TMPDIR": str(folder)}
    soak = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    assert soak.stderr is not None
    while "part 2" not in (line := soak.stderr.readline()):
        assert line or soak.poll() is None, "it ended before its second part"
    time.sleep(4)
    soak.send_signal(signal.SIGTERM)
    _, told = soak.communicate(timeout=60)
    assert soak.returncode == 130, told
    assert "the same command goes on" in told
    assert [part.runs for part in Book.read(state).parts] == [40]
    assert [file.name for file in folder.iterdir()] == ["soak.json"]
    assert _left_over(folder) == []

    done = subprocess.run(
        [*command, "--runs", "120", "--parts", "1"],
        env=env, stderr=subprocess.PIPE, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first = Book.read(state).parts[0].seed
    assert [part.seed for part in Book.read(state).parts] == [first, first + 1]


@pytest.fixture
def folder() -> Iterator[Path]:
    """PostgreSQL runs under another account, which cannot reach what is in pytest's folders."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-test-", ignore_cleanup_errors=True) as at:
        Path(at).chmod(0o755)
        yield Path(at)


def _left_over(folder: Path) -> list[str]:
    """Processes that still have to do with the folder."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in part for part in process.info["cmdline"] or ())
    ]
