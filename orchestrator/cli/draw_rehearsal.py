"""What a rehearsal saw, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.definitions.comparing import Difference
from orchestrator.service.rehearsing import Rehearsal, StepReport, Verdict

_STYLES = {
    Verdict.FAILS: "bold red", Verdict.NOT_IDEMPOTENT: "bold red",
    Verdict.LEAVES_A_TRACE: "yellow", Verdict.UNSEEN: "yellow", Verdict.RESTORES: "green",
}  # fmt: skip


def draw_rehearsal(seen: Rehearsal) -> RenderableType:
    """Each step with its verdict, and what it rests on."""
    lines: list[RenderableType] = []
    for each in seen.steps:
        lines += _step(each)
    return Group(*lines)


def _step(report: StepReport) -> Iterator[RenderableType]:
    yield Text.assemble(
        (report.step, "bold"), "  ", (report.verdict.value, _STYLES.get(report.verdict, "dim")),
        (f"  {report.undo or ''}", "dim"),
    )  # fmt: skip
    if report.why:
        yield Text(f"  {report.why}", style="dim")
    yield from _differences("not as before", report.trace)
    yield from _differences("changed by the same undo again", report.again)
    if report.repeated:
        yield Text(f"  the same undo again: {report.repeated}", style="dim")
    if report.reads:
        yield Text(f"  looked at {', '.join(report.reads)}", style="dim")


def _differences(title: str, found: Sequence[Difference]) -> Iterator[RenderableType]:
    if found:
        yield Text(f"  {title}:")
    for each in found:
        place = f"{each.read} {each.where}"
        yield Text(f"    {place}: {_short(each.before)} → {_short(each.after)}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
