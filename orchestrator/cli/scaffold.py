"""Lay out a deployment's own files: tasks/, config/, deploy/."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Conflict, Problem, RefusedError

FOLDERS = ("tasks", "config", "deploy")

_LEFT_OUT = ("__pycache__", ".DS_Store")


@dataclass(frozen=True, kw_only=True, slots=True)
class Laid:
    """What was written, relative to the target."""

    target: Path
    written: tuple[Path, ...]


def lay_out(target: Path, *, force: bool = False) -> Laid:
    """Copy the folders into `target`, made if missing.

    Without `force`, raises Conflict that names each file already there, and writes nothing.
    """
    files = [(source, source.relative_to(root)) for root, source in _sources()]
    present = [path for _, path in files if (target / path).exists()]
    if present and not force:
        raise _conflict(target, present)
    for source, path in files:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / path)
    return Laid(target=target, written=tuple(sorted(path for _, path in files)))


def _sources() -> Iterator[tuple[Path, Path]]:
    """(root, file) of everything to lay out."""
    root = _root()
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not any(part in _LEFT_OUT for part in path.parts):
                yield root, path


def _root() -> Path:
    """Package data of an installed wheel, or the top of a source checkout."""
    package = Path(__file__).resolve().parent.parent
    for root in (package / "_scaffold", package.parent):
        if all((root / folder).is_dir() for folder in FOLDERS):
            return root
    raise RefusedError(
        "this installation has no files to lay out",
        problems=[
            Problem(
                place=str(package / "_scaffold"),
                found="no such folder",
                wanted="/, ".join(FOLDERS) + "/ as the wheel holds them",
            )
        ],
    )


def _conflict(target: Path, present: Sequence[Path]) -> Conflict:
    return Conflict(
        f"{target} has files of these names; nothing was written",
        problems=[
            Problem(
                place=str(target / path), found="a file", wanted="none, or --force to replace it"
            )
            for path in present
        ],
    )
