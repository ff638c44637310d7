"""A process's wall clock, set while it runs (libfaketime); its monotonic clock goes on as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_LIBRARIES = "lib/*/faketime/libfaketimeMT.so.1"


def library() -> Path | None:
    """Where Debian's package `faketime` puts it; None: it is not installed."""
    return next(Path("/usr").glob(_LIBRARIES), None)


class Clock:
    """Of the processes that are started with its `env`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """So far ahead of the true time from now on; negative: behind."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)  # read at any moment, never half written

    @property
    def env(self) -> Mapping[str, str]:
        """For the processes that go by it."""
        return {
            "LD_PRELOAD": str(library()), "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
