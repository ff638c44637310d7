"""Write what the last whole soak came to into docs/guarantees.md.

    python -m tests.faults.soak.page [--check]

`make soak` runs it at its end; `make check` runs it with `--check`, so that the page cannot say
anything else than what the soak has kept in tests/faults/soak.json.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import InvalidInput
from tests.faults.soak.book import Book, Part

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "tests" / "faults" / "soak.json"
PAGE = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- generated: soak -->\n", "<!-- end: soak -->"


def table(book: Book) -> str:
    """All that is told of a soak; nothing of it depends on the day."""
    if not book.parts:
        return "None was whole yet.\n"
    return "\n".join([*_parts(book), "", *_faults(book), "", *_breaches(book)]) + "\n"


def with_table(page: str, book: Book) -> str:
    """The page with the marked block replaced. Raises SystemExit when a marker is missing."""
    head, found, rest = page.partition(BEGIN)
    _, also, tail = rest.partition(END)
    if not found or not also:
        sys.exit(f"{PAGE.name} lacks the lines '{BEGIN.strip()}' and '{END}'")
    return f"{head}{BEGIN}{table(book)}{END}{tail}"


def _parts(book: Book) -> Iterator[str]:
    yield "| seed | database | runs | faults | effects | breaches | all settled after | runs/s |"
    yield "|---:|---|---:|---:|---:|---:|---:|---:|"
    for part in book.parts:
        yield _row(str(part.seed), part.db, part)
    seconds = sum(part.window_seconds + part.drain_seconds for part in book.parts)
    slowest = max((part.drain_seconds for part in book.parts), default=0.0)
    effects = sum(part.effects for part in book.parts)
    yield (
        f"| **all** | {len(book.parts)} parts | **{book.runs:,}** "
        f"| {book.total('faults').total():,} | {effects:,} | **{book.total('breaches').total()}** "
        f"| at most {slowest:.1f} s | {book.runs / max(seconds, 1e-9):.0f} |"
    )


def _row(seed: str, database: str, part: Part) -> str:
    return (
        f"| {seed} | {database} | {part.runs:,} | {sum(part.faults.values()):,} "
        f"| {part.effects:,} | {sum(part.breaches.values())} | {part.drain_seconds:.1f} s "
        f"| {part.runs_per_second:.0f} |"
    )


def _faults(book: Book) -> Iterator[str]:
    """Each kind, the most frequent first."""
    yield "| fault | times |"
    yield "|---|---:|"
    for kind, times in sorted(book.total("faults").items(), key=lambda each: (-each[1], each[0])):
        yield f"| {kind.replace('_', ' ')} | {times:,} |"


def _breaches(book: Book) -> Iterator[str]:
    endings = book.total("endings")
    told = ", ".join(f"{number:,} {name}" for name, number in endings.items())
    yield f"Endings: {told or 'none'}. What the checker counted:"
    yield ""
    yield ", ".join(f"{n.replace('_', ' ')} {count}" for n, count in book.total("breaches").items())


def write(book: Book) -> None:
    """Keep a whole soak, and tell of it."""
    book.write(RESULTS)
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), book), "utf-8")


def main() -> None:
    """Write the page from what is kept, or say whether it is as it should be."""
    try:
        book = Book.read(RESULTS)
    except InvalidInput as error:
        sys.exit(str(error))
    page = PAGE.read_text("utf-8")
    written = with_table(page, book)
    if "--check" not in sys.argv:
        PAGE.write_text(written, "utf-8")
    elif written != page:
        sys.exit(f"{PAGE.name} is not up to date; run: python -m tests.faults.soak.page")


if __name__ == "__main__":
    main()
