"""A run's story as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from orchestrator.cli.draw_common import run_status

if TYPE_CHECKING:
    from orchestrator.api.story_shapes import SentenceShape, StoryShape, TogetherShape

_INDENT = 4
_SHORT_DIGEST = len("sha256:") + 12


def draw_together(told: TogetherShape) -> RenderableType:
    """Each story, oldest first, and then what was done more than once."""
    parts: list[RenderableType] = []
    for each in reversed(told.stories):
        parts += [draw_story(each), Text()]
    if told.more:
        parts.append(Text(f"older runs than these {len(told.stories)} were not looked at"))
    if not told.doubles:
        parts.append(Text("nothing was done more than once", style="bold"))
    for double in told.doubles:
        parts += [Text(double.text, style="bold red"), Text()]
    return Group(*parts)


def draw_story(told: StoryShape) -> RenderableType:
    """A line for each thing that happened, with its evidence below."""
    heading = Text.assemble(
        (f"{told.workflow} v{told.version}", "bold"), "  ", run_status(told.status), f"  {told.run}"
    )
    parts: list[RenderableType] = [heading, Text("times in UTC; #: record of the audit", "dim")]
    for sentence in told.story:
        parts += list(_sentence(sentence))
    return Group(*parts, Text(told.outcome, style="bold"))


def _sentence(sentence: SentenceShape) -> Iterator[RenderableType]:
    at = sentence.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    yield Text.assemble((f"{at}  #{sentence.seq}  ", "dim"), sentence.text)
    told = [f"{name} {_short(value)}" for name, value in sentence.evidence.items()]
    if told:
        yield Padding(Text(", ".join(told), style="dim"), (0, 0, 0, _INDENT))


def _short(text: str) -> str:
    """Digests are for programs to compare: people get enough to find them by."""
    return f"{text[:_SHORT_DIGEST]}…" if text.startswith("sha256:") else text
