"""Write a file that others may be reading."""

from __future__ import annotations

from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """All of the new text or all of the old, whatever happens in between."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    if path.exists():
        beside.chmod(path.stat().st_mode)
    beside.replace(path)
