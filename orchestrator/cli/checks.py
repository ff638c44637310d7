"""`orchestrator workflows check` and `orchestrator workflows rules`"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.cli.output import EXIT_REFUSED, JsonFlag, answer, print_json, stderr, stdout
from orchestrator.definitions.checking.report import DocumentReport, Severity
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.service.checking import Done


EffectsMayStay = Annotated[
    bool,
    typer.Option(
        "--effects-may-stay",
        help="Take steps with an effect as they are, with a warning, where a document declares "
        "neither a compensation nor why there is none.",
    ),
]


class Format(StrEnum):
    """How findings are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def check(
    documents: Annotated[
        list[str], typer.Argument(metavar="DOC…", help="Arazzo documents, folders of them, globs.")
    ],
    *,
    form: Annotated[Format, typer.Option("--format", help="sarif: SARIF 2.1.0.")] = Format.TEXT,
    severity: Annotated[
        Severity, typer.Option(help="Show only what is at least as grave.")
    ] = Severity.NOTE,
    fail_on: Annotated[
        Severity, typer.Option(help="Exit code 3 from this severity on.")
    ] = Severity.ERROR,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=0, help="Processes; 0: as many as cores.")
    ] = 0,
    effects_may_stay: EffectsMayStay = False,
    as_json: JsonFlag = False,
) -> None:
    """Say everything that is wrong, or could be better, with workflow documents. Runs nothing.

    Every rule is in `orchestrator workflows rules`. Exit code 3 when there are errors (or, with
    --fail-on, less), 0 otherwise.
    """
    from orchestrator.cli.draw_checks import draw_reports, worst_of
    from orchestrator.service.checking import find_documents
    from orchestrator.wiring_services import open_checking

    files = find_documents(documents)
    with _progress(len(files)) as done:
        checking = open_checking(load_settings())
        reports = checking.check(
            files, jobs=jobs or os.cpu_count() or 1, done=done, effects_may_stay=effects_may_stay
        )
    chosen = Format.JSON if as_json else form
    if chosen is Format.TEXT:
        stdout.print(draw_reports(reports, least=severity), soft_wrap=True)
    else:
        _print_data(_at_least(reports, severity), chosen)
    worst = worst_of(reports)
    if worst is not None and worst.weight <= fail_on.weight:
        raise typer.Exit(EXIT_REFUSED)


def rules(*, as_json: JsonFlag = False) -> None:
    """The rules of `workflows check`: what each finds, and why that matters."""
    from orchestrator.cli.draw_checks import draw_rules
    from orchestrator.definitions.checking.rules import RULES

    answer(list(RULES.values()), draw_rules, as_json=as_json)


def _print_data(reports: Sequence[DocumentReport], form: Format) -> None:
    if form is Format.JSON:
        print_json(reports)
        return
    from orchestrator.cli.main import DISTRIBUTION
    from orchestrator.definitions.checking.sarif import to_sarif

    print_json(to_sarif(reports, version=version(DISTRIBUTION)))


def _at_least(reports: Sequence[DocumentReport], least: Severity) -> list[DocumentReport]:
    return [
        DocumentReport(
            file=report.file, workflows=report.workflows, seconds=report.seconds,
            findings=[f for f in report.findings if f.severity.weight <= least.weight],
        )
        for report in reports
    ]  # fmt: skip


@contextmanager
def _progress(total: int) -> Iterator[Done]:
    """A bar on a terminal, gone when it is done."""
    columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    quiet = not stderr.is_terminal
    with Progress(*columns, console=stderr, transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=total)
        yield lambda report: bar.advance(task)
