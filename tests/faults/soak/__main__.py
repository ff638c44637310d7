"""`make soak`: chaos in parts until so many runs were judged, resumable by seed.

Each part is what `orchestrator bench chaos --seed K …` plays: real processes under a fault every
2–5 s, healed, drained, judged. PostgreSQL and SQLite in turn. What is done stands in a file; an
interrupted soak goes on with the part in which it was. A part that is not clean ends it, keeps its
folder, and is played again by the next call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.embedded.supervise import StopRequested
from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.faults.chaos.game import Interrupted, Watchers
from tests.faults.chaos.performing import Result, Wish, perform
from tests.faults.soak import page
from tests.faults.soak.book import Book, Part, part_of

EXIT_INTERRUPTED = 130
LONGEST_PART_SECONDS = 1800.0
"""Of faults: whoever stops a soak loses no more than this."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    runs: Annotated[int, typer.Option(min=1, help="Runs in total.")] = 100_000,
    part_runs: Annotated[int, typer.Option(min=1, help="Runs of each part.")] = 10_000,
    seconds: Annotated[
        float, typer.Option(min=1, max=LONGEST_PART_SECONDS, help="Fault window of each part.")
    ] = 240.0,
    parts: Annotated[int, typer.Option(min=0, help="Stop after so many; 0: when done.")] = 0,
    state: Annotated[Path, typer.Option(help="What is done so far.")] = Path(
        ".orchestrator/soak.json"
    ),
) -> None:
    """Exits with 0 when there is nothing left to do here, with 1 when a part was not clean."""
    configure_logging(level="ERROR")
    stop, console = StopRequested().install(), Console(stderr=True, highlight=False)
    try:
        book = _begun(state)
        played = 0
        while book.runs < runs and (not parts or played < parts):
            wish = book.wish(runs=runs, part_runs=part_runs, seconds=seconds)
            console.print(f"part {len(book.parts) + 1}: {command(wish)}", markup=False)
            book = book.having(_play(wish, stop, console))
            book.write(state)
            played += 1
            console.print(_line(book), markup=False)
    except Interrupted:
        console.print(f"interrupted; the same command goes on ({state})", markup=False)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (OrchestratorError, TimeoutError) as error:
        console.print(f"not played to its end: {error}", markup=False)
        raise typer.Exit(1) from None
    if book.runs >= runs:
        page.write(book)
        state.unlink()
        console.print(f"whole: {page.RESULTS.name} and {page.PAGE.name} are written", markup=False)


def command(wish: Wish) -> str:
    """What plays this part alone."""
    options = f"--seed {wish.seed} --db {wish.database} --runs {wish.runs}"
    return f"orchestrator bench chaos {options} --seconds {wish.seconds:g}"


def _begun(state: Path) -> Book:
    """What is there, or a new one: its seeds follow those of the last whole soak."""
    if state.exists():
        return Book.read(state)
    last = Book.read(page.RESULTS) if page.RESULTS.exists() else Book(first_seed=1)
    return Book(first_seed=last.next_seed)


def _play(wish: Wish, stop: StopRequested, console: Console) -> Part:
    """One part. Raises typer.Exit when it is not clean, and what `perform` raises."""
    with _progress(console) as bar:
        task = bar.add_task("acknowledged", total=wish.runs)

        def tick(_unsettled: int, acknowledged: int) -> None:
            bar.update(task, completed=acknowledged)

        if stop():
            raise Interrupted
        result = perform(
            wish, watchers=Watchers(say=bar.console.print, tick=tick, interrupted=stop)
        )
    if not result.clean:
        _tell(result, console)
        raise typer.Exit(1)
    return part_of(result)


def _tell(result: Result, console: Console) -> None:
    console.print(result.judgement.story(), markup=False)
    console.print(f"kept: {result.state_dir}; again: {command(result.wish)}", markup=False)


def _line(book: Book) -> str:
    part = book.parts[-1]
    return (
        f"{part.runs} runs, {sum(part.faults.values())} faults, {part.effects} effects, "
        f"nothing broken; drained after {part.drain_seconds:g} s; {book.runs} runs in all"
    )


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True)


if __name__ == "__main__":
    app(prog_name="make soak")
