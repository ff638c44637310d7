"""What processes have used: CPU of whole trees, and peak memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

Parts = Mapping[str, Sequence[int]]
"""Process ids by the part that they belong to; their children count with them."""


_PATIENCE_SECONDS, _POLL_SECONDS = 30.0, 0.005


def cpu_seconds(parts: Parts) -> dict[str, float]:
    """Used so far by each part, children that have ended included; `bench` is this process."""
    found = {part: sum(_cpu_of_tree(pid) for pid in pids) for part, pids in parts.items()}
    times = os.times()
    return {**found, "bench": times.user + times.system}


def until_gone(pid: int) -> None:
    """Wait until a child of a server has ended, and its parent has it among its own times.

    In between it may be counted by neither of them, and later by its parent: an ANALYZE before the
    work would then be part of what the work has cost. Raises TimeoutError.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    while psutil.pid_exists(pid):
        if time.monotonic() > end:
            raise TimeoutError(f"process {pid} of the database has not ended")
        time.sleep(_POLL_SECONDS)


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By part."""
    return {part: after[part] - before.get(part, 0.0) for part in after}


def peak_bytes(pids: Sequence[int]) -> list[int]:
    """The largest resident set that each process of these trees ever had."""
    found = []
    for process in (child for pid in pids for child in _tree(pid)):
        with suppress(OSError):
            found.append(_peak(process.pid))
    return found


def resident_bytes(pid: int) -> int:
    """Of this process now."""
    return int(psutil.Process(pid).memory_info().rss)


def _tree(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        yield root
        yield from root.children(recursive=True)


def _cpu_of_tree(pid: int) -> float:
    total = 0.0
    for process in _tree(pid):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
