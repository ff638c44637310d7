"""What `up` and `demo` leave on disk for other commands: pids and addresses, and a lock.

`<state dir>/up.json` is written once everything is up and removed at a clean end. After a crash
it stays; a reader trusts it only if the supervisor's pid is alive and holds the lock.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.errors import Conflict, Problem

_FILE = "up.json"
_LOCK = "up.lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class UpState:
    """A supervisor that is up, and where its children are."""

    supervisor_pid: int
    broker_url: str
    database_url: str = ""
    flower_url: str = ""
    pids: Mapping[str, int] = field(default_factory=dict)
    """Process id of each child by name; a restarted worker's is rewritten."""


class UpLock:
    """Held while a supervisor runs, freed by the kernel however it ends."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / _LOCK
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process is the one that is up."""
        return self._fd is not None

    def acquire(self) -> None:
        """Raises Conflict if another supervisor is up with the same state directory."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 32, 0).decode() or "unknown"
            os.close(fd)
            raise Conflict(
                "already up",
                problems=[
                    Problem(
                        place=str(self._path.parent),
                        found=f"in use by process {holder}",
                        wanted="end that one first, or another --state-dir",
                    )
                ],
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Free the lock; safe to repeat."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def write_up_state(state_dir: Path, state: UpState) -> None:
    """Replace the file in one step, so that a reader never sees half of it.

    For its owner's eyes only: a broker's address may hold a password.
    """
    new = state_dir / f"{_FILE}.new"
    new.touch(mode=0o600)
    new.write_text(json.dumps(asdict(state), indent=2) + "\n")
    new.replace(state_dir / _FILE)


def remove_up_state(state_dir: Path) -> None:
    """Forget it at a clean end."""
    (state_dir / _FILE).unlink(missing_ok=True)


def read_up_state(state_dir: Path) -> UpState | None:
    """The supervisor that is up now, or None (also for a file that a crash left behind)."""
    try:
        state = UpState(**json.loads((state_dir / _FILE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return state if _is_locked(state_dir) else None


def _is_locked(state_dir: Path) -> bool:
    """Whether a supervisor holds the lock. A pid alone could belong to somebody else by now."""
    try:
        fd = os.open(state_dir / _LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
