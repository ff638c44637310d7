"""The tutorial, followed to the letter: its files written, its commands run, its outputs found."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.embedded.address import free_port
from tests.unit.docs.snippets import Snippet, snippets

SHELL_SECONDS = 120
READY = "Ctrl-C ends all of it"


class Terminal:
    """A shell that keeps its folder and variables from one block to the next."""

    def __init__(self, folder: Path, port: str) -> None:
        self._port = port
        self._folder = folder
        self.env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ORCHESTRATOR_FLOWER_PORT": str(free_port()),
            "COLUMNS": "150",
        }
        self._before = ""

    def run(self, text: str) -> str:
        """What a block prints; it has to end well. Earlier assignments are made again."""
        script = f"set -e\n{self._before}\n{self.here(text)}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, env=self.env, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SHELL_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        return done.stdout

    def here(self, text: str) -> str:
        """With the shop at a port that is free."""
        return text.replace("8900", self._port)

    @contextmanager
    def beside(self, text: str, log: Path) -> Iterator[None]:
        """A block of the second terminal, until the end; ready when it says so."""
        with log.open("wb") as out:
            shell = subprocess.Popen(
                ["bash", "-c", self.here(text)], cwd=self._folder, env=self.env, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            give_up = time.monotonic() + SHELL_SECONDS
            while READY not in log.read_text() and time.monotonic() < give_up:
                assert shell.poll() is None, log.read_text()
                time.sleep(0.2)
            yield
        finally:
            os.killpg(shell.pid, signal.SIGINT)
            try:
                shell.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(shell.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)  # the shop has no reason to end by itself


def _parts() -> list[Snippet]:
    return [each for each in snippets() if each.page == "docs/tutorial.md"]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_tutorial_holds(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, str(free_port()))
    (tmp_path / "config/workflows").mkdir(parents=True)
    (tmp_path / "config/apis").mkdir()
    parts = _parts()
    for each in parts:
        if each.title and each.title != "second terminal":
            (tmp_path / each.title).write_text(terminal.here(each.text))
    (second,) = [each for each in parts if each.title == "second terminal"]
    shell = [each for each in parts if each.kind in {"bash", "text"}]
    setting_up = [each for each in shell if "make setup" in each.text or "activate" in each.text]
    assert len(setting_up) == 2
    printed = ""
    with terminal.beside(second.text, tmp_path / "up.log"):
        for each in [part for part in shell if part not in setting_up]:
            if each is second:
                printed = (tmp_path / "up.log").read_text()
            elif each.kind == "bash":
                printed = terminal.run(each.text)
            else:
                for line in each.text.splitlines():
                    assert line in printed, f"{each}: {line}\n{printed}"
