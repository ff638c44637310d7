"""Starts the recorder and the hammering processes, and reads what was recorded."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.encrypted import trust

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
ANSWER_SECONDS = 60
ENOUGH = "enough"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A call began or ended at the API."""

    at: float  # time.monotonic()
    begins: bool
    connection: int


class Recording:
    """The recorder's process and, once it has ended, its events in order of time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = _start("recorder.py", str(path))
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def end(self) -> list[Event]:
        """Stop recording."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=ANSWER_SECONDS)
        return read_events(self._path)

    def kill(self) -> None:
        _kill(self._process)


@contextmanager
def recording(path: Path) -> Iterator[Recording]:
    """A recorder that certainly ends."""
    recorder = Recording(path)
    try:
        yield recorder
    finally:
        recorder.kill()


@contextmanager
def hammering(*tasks: dict[str, Any]) -> Iterator[list[subprocess.Popen[str]]]:
    """One process for each, that certainly ends. They begin together."""
    with _running("hammer.py", tasks) as processes:
        yield processes


@contextmanager
def visiting(*tasks: dict[str, Any]) -> Iterator[list[subprocess.Popen[str]]]:
    """The same with runs that call an API over HTTP."""
    with _running("visitor.py", tasks) as processes:
        yield processes


@contextmanager
def _running(
    script: str, tasks: tuple[dict[str, Any], ...]
) -> Iterator[list[subprocess.Popen[str]]]:
    processes = [_start(script, json.dumps(task)) for task in tasks]
    try:
        _begin_together(processes)
        yield processes
    finally:
        for process in processes:
            _kill(process)


def _begin_together(processes: list[subprocess.Popen[str]]) -> None:
    """Each says that it is there and waits for the word."""
    for process in processes:
        _expect(process, "there")
    for process in processes:
        _tell(process, "go")


def _expect(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def wait_for_the_word() -> None:
    """In the process: return when all are there."""
    print("there", flush=True)
    assert sys.stdin.readline() == "go\n"


def until_all_have_enough(processes: list[subprocess.Popen[str]]) -> None:
    """Of the calls that their tasks call `enough`; each goes on until all of them have."""
    for process in processes:
        _expect(process, ENOUGH)
    tell_that_it_is_over(processes)


def tell_that_it_is_over(processes: list[subprocess.Popen[str]]) -> None:
    """To those that go on until then."""
    for process in processes:
        _tell(process, "over")


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a hammering process printed at its end."""
    output, _ = process.communicate(timeout=ANSWER_SECONDS)
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])  # after what it logged
    return answer


def read_events(path: Path) -> list[Event]:
    """What a recorder has written."""
    lines = (line.split() for line in path.read_text().splitlines())
    return [Event(at=float(at), begins=sign == "+", connection=int(n)) for at, sign, n in lines]


def most_in_a_window(events: list[Event], seconds: float) -> int:
    """The largest number of calls that began within any window of this length."""
    starts = [event.at for event in events if event.begins]
    most = first = 0
    for last, at in enumerate(starts):
        while starts[first] <= at - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def most_in_flight(events: list[Event]) -> int:
    """The largest number of calls under way at once."""
    now = most = 0
    for event in events:
        now += 1 if event.begins else -1
        most = max(most, now)
    return most


def rate(events: list[Event], *, after: float = 0.0, until: float = float("inf")) -> float:
    """Calls a second between the first and last one that began in this time."""
    starts = [event.at for event in events if event.begins and after <= event.at <= until]
    return (len(starts) - 1) / (starts[-1] - starts[0])


def _start(script: str, argument: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(FOLDER / script), argument],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), **trust()}, start_new_session=True,
    )  # fmt: skip


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=ANSWER_SECONDS)
