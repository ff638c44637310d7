"""A process's wall clock, set while it runs; all its other clocks, and its waits, stay as they are.

`wall_clock.c` is compiled for it. libfaketime does not do: Debian's makes each `time.sleep` of
Python an error, and reads a file for each look at a clock.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")
_OPTIONS = ("-shared", "-fPIC", "-O2", "-Wall", "-Werror")


def compiler() -> str | None:
    """The system's compiler of C; None: there is none."""
    return shutil.which("cc")


class Clock:
    """Of the processes that are started with its `env`. `folder`: of nobody else."""

    def __init__(self, folder: Path) -> None:
        """Raises CalledProcessError where it cannot be compiled."""
        folder.mkdir()
        self._file, self._library = folder / "ahead", folder / "wall_clock.so"
        self._file.write_bytes(bytes(8))
        program = compiler() or "cc"
        subprocess.run([program, *_OPTIONS, "-o", self._library, SOURCE], timeout=60, check=True)

    def jump(self, seconds: int) -> None:
        """So far ahead of the true time from now on, at once; negative: behind."""
        with self._file.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    @property
    def env(self) -> Mapping[str, str]:
        """For the processes that go by it."""
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK_FILE": str(self._file)}
