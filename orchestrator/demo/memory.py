"""How much memory a process has used at most."""

from __future__ import annotations

from pathlib import Path


def peak_memory_bytes(pid: int) -> int | None:
    """The largest resident size so far; None where the system does not tell (no /proc)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return None if line is None else int(line.split()[1]) * 1024
