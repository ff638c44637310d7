"""A file system whose files are memory, for what is thrown away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_SHARED = Path("/dev/shm")  # noqa: S108 - callers take folders of their own  # nosec B108


def in_memory(room_bytes: int) -> Path | None:
    """Where files are memory; None where there is less room, or nothing may be run from there."""
    try:
        has_room = shutil.disk_usage(_SHARED).free >= room_bytes
        runs_nothing = bool(os.statvfs(_SHARED).f_flag & os.ST_NOEXEC)
    except OSError:
        return None
    return _SHARED if has_room and not runs_nothing else None
