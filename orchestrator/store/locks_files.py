"""Worker locks beside SQLite: one file each in `<database>.workers/`, locked with flock.

flock belongs to the open file, not to the process: it ends when the last descriptor of it is
closed, by the kernel if need be. Programs that we start do not inherit the descriptor (O_CLOEXEC).

A file may be removed between its opening and its locking, so whoever locks one checks that the
name still leads to it. Only files of unknown workers are removed, while the remover locks them.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import Unavailable

_HOLD_SECONDS = 5.0
_RETRY_SECONDS = 0.01
_SUFFIX = ".lock"


class FileLocks:
    """Implements ports.WorkerLocks with lock files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: tuple[int, Path] | None = None

    async def hold(self, worker_id: str) -> None:
        """Take and keep the lock until `release`, the next `hold` or death. Raises Unavailable."""
        await self.release()
        path = self._path(worker_id)
        for _ in range(int(_HOLD_SECONDS / _RETRY_SECONDS)):
            handle = self._try_lock(path, create=True)
            if handle is not None:
                self._held = (handle, path)
                return
            await asyncio.sleep(_RETRY_SECONDS)  # somebody looks at it, or removes it
        raise Unavailable("worker lock", str(path), "another process holds it")

    async def release(self) -> None:
        """Give it back and remove its file."""
        if self._held is not None:
            handle, path = self._held
            self._held = None
            path.unlink(missing_ok=True)
            os.close(handle)

    async def free_among(self, worker_ids: Sequence[str]) -> list[str]:
        """Those whose lock nobody holds. Free files that nobody asks about are removed."""
        free = [worker_id for worker_id in worker_ids if self._is_free(self._path(worker_id))]
        self._tidy(set(worker_ids))
        return free

    def _path(self, worker_id: str) -> Path:
        return self._folder / f"{worker_id}{_SUFFIX}"

    def _is_free(self, path: Path) -> bool:
        if not path.exists():
            return True
        handle = self._try_lock(path, create=False)
        if handle is None:
            return not path.exists()
        os.close(handle)
        return True

    def _tidy(self, known: set[str]) -> None:
        if not self._folder.is_dir():
            return
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path.name.removesuffix(_SUFFIX) in known:
                continue
            handle = self._try_lock(path, create=False)
            if handle is not None:
                path.unlink(missing_ok=True)
                os.close(handle)

    def _try_lock(self, path: Path, *, create: bool) -> int | None:
        """A descriptor that holds the lock of the file now at `path`, or None."""
        try:
            if create:
                self._folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
            handle = os.open(path, flags, 0o600)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable("worker lock", str(path), error.strerror or str(error)) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(handle)
        return None
