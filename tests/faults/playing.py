"""Suites of tests that are played by a program of ours, which keeps what came of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as Xml

ROOT = Path(__file__).parents[2]
PASSED, FAILED, SKIPPED, NOT_ENDED = "passed", "failed", "skipped", "not ended"
_VERDICTS = {"failure": FAILED, "error": FAILED, "skipped": SKIPPED}


def play(
    named: Sequence[str], *, patience_seconds: float, env: Mapping[str, str] | None = None
) -> tuple[int, list[Xml.Element]]:
    """pytest's code and the cases that it tells; none where it did not end in time.

    Long ones are played too, and sweeps as a whole. `named`: files, folders and `file::function`.
    `env` None: this process's.
    """
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ("-q", "-n", "2", "-m", "", f"--junitxml={report}")
        command = [sys.executable, "-m", "pytest", *options, *named]
        whole = {**(os.environ if env is None else env), "WHOLE_SWEEPS": "1"}
        playing = subprocess.Popen(command, cwd=ROOT, env=whole, start_new_session=True)
        try:
            code = playing.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            print(f"not ended after {patience_seconds} s: {', '.join(named)}", file=sys.stderr)
            code = 1
        finally:
            _end(playing)
        # pytest has written it.
        cases = list(Xml.parse(report).iter("testcase")) if report.exists() else []
    return code, last_of_each(cases)


def last_of_each(cases: Sequence[Xml.Element]) -> list[Xml.Element]:
    """A case that was played again, since a figure of time was off, is told each time."""
    return list({(case.get("classname"), case.get("name")): case for case in cases}.values())


def verdict(case: Xml.Element) -> str:
    """`passed`, `failed` or `skipped`."""
    kinds = {each.tag for each in case}
    return next((told for kind, told in _VERDICTS.items() if kind in kinds), PASSED)


def _end(playing: subprocess.Popen[bytes]) -> None:
    """With the processes that run tests for it. What these have started ends with them."""
    if playing.poll() is None:
        os.killpg(playing.pid, signal.SIGKILL)
        playing.wait()
