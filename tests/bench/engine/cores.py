"""On which cores a thread of work runs, and how many files this process may have open."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """All threads of this process on one core; those that they start inherit it."""
    before = os.sched_getaffinity(0)
    _set(os.getpid(), {core})
    try:
        yield
    finally:
        _set(os.getpid(), before)


def pin_trees(pids: Iterable[int], cores: Iterable[int]) -> None:
    """Those processes and their children; what they start later inherits it."""
    wanted = set(cores)
    for pid in pids:
        with suppress(psutil.Error):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                _set(process.pid, wanted)


def cores_of(pid: int) -> list[int]:
    """Where it may run."""
    return sorted(os.sched_getaffinity(pid))


def here() -> Sequence[int]:
    """The cores that this process may use."""
    return cores_of(0)


def open_many_files() -> int:
    """Raise the soft limit to the hard one, for this process and its children; the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _set(pid: int, cores: set[int]) -> None:
    """Affinity belongs to threads, and each has to be told."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)
