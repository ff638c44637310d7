"""A run's story as people read it, and as one JSON value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from orchestrator.cli.draw_common import run_status
from orchestrator.core.narrative import Sentence
from orchestrator.service.explaining import Explained
from orchestrator.telemetry.plain import plain

_INDENT = 4
_SHORT_DIGEST = len("sha256:") + 12


def draw_story(found: Explained) -> RenderableType:
    """A line for each thing that happened, with its evidence below."""
    run, told = found.run, found.told
    heading = Text.assemble(
        (f"{run.workflow} v{run.version}", "bold"), "  ", run_status(run.status), f"  {run.id}"
    )
    parts: list[RenderableType] = [heading, Text("times in UTC; #: record of the audit", "dim")]
    for sentence in told.sentences:
        parts += list(_sentence(sentence))
    return Group(*parts, Text(told.outcome, style="bold"))


def _sentence(sentence: Sentence) -> Iterator[RenderableType]:
    at = sentence.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    yield Text.assemble((f"{at}  #{sentence.seq}  ", "dim"), sentence.text)
    told = [f"{name} {_short(value)}" for name, value in sentence.evidence.items()]
    if told:
        yield Padding(Text(", ".join(told), style="dim"), (0, 0, 0, _INDENT))


def _short(value: object) -> str:
    """Digests are for programs to compare: people get enough to find them by."""
    text = str(value)
    return f"{text[:_SHORT_DIGEST]}…" if text.startswith("sha256:") else text


def story_value(found: Explained) -> dict[str, Any]:
    """The whole, for programs."""
    run, told = found.run, found.told
    return {
        "run": run.id, "workflow": run.workflow, "version": run.version, "tenant": run.tenant,
        "actor": run.actor, "status": run.status.value, "outcome": told.outcome,
        "story": plain(told.sentences), "calls": plain(told.calls),
    }  # fmt: skip
