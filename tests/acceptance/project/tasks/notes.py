"""Writing notes, and what makes it go wrong: a file `jammed` stops undoing, `hold` everything."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from orchestrator import task
from orchestrator.errors import NotLanded


@task(name="write_note", effects="keyed")
def write_note(folder: str, name: str) -> dict[str, Any]:
    """Write a note; writing it again changes nothing."""
    (Path(folder) / name).write_text("note")
    return {"name": name}


@task(name="erase_note", effects="keyed")
def erase_note(folder: str, name: str) -> dict[str, Any]:
    """Erase it, unless the drawer is jammed."""
    if (Path(folder) / "jammed").exists():
        raise NotLanded("the drawer is jammed")
    (Path(folder) / name).unlink(missing_ok=True)
    return {}


@task(name="check_note", effects="none")
async def check_note(folder: str, verdict: str) -> dict[str, Any]:
    """Refuse, or agree once nothing holds it."""
    while (Path(folder) / "hold").exists():  # noqa: ASYNC110 -- the test is another process
        await asyncio.sleep(0.05)
    if verdict != "good":
        raise NotLanded(f"the verdict is {verdict}")
    return {"verdict": verdict}
