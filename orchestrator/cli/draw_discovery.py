"""Proposals of discovery as a table, with the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.definitions.discovery import Kind, Proposal

_STYLES = {Kind.NONE_FOLLOW_UP: "yellow", Kind.NONE_NEEDED: "dim"}


def draw_proposals(proposals: Sequence[Proposal]) -> RenderableType:
    """Each operation with what would undo it, or why nothing is proposed."""
    if not proposals:
        return Text("no operation that changes anything", style="dim")
    lines: list[RenderableType] = []
    for each in proposals:
        lines += _proposal(each)
    counts = Counter(each.kind.value for each in proposals)
    total = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    lines.append(
        Text(
            f"\n{len(proposals)} operations: {total}. Nothing runs until it is accepted.",
            style="dim",
        )
    )
    return Group(*lines)


def _proposal(each: Proposal) -> list[RenderableType]:
    heading = Text.assemble(
        (each.operation_id, "bold"), (f"  {each.method} {each.path}  ", "dim"),
        (each.kind.value, _STYLES.get(each.kind, "green")), f"  {each.confidence:.2f}",
    )  # fmt: skip
    lines: list[RenderableType] = [heading]
    if each.undo is not None:
        strength = f" ({each.strength.value})" if each.strength else ""
        lines.append(Text(f"  undone by {each.undo.operation_id}{strength}: {each.undo.where}"))
        lines += [Text(f"    {name} = {value}") for name, value in each.parameters.items()]
    if each.only_if is not None:
        lines.append(Text(f"  only if {each.only_if}"))
    if each.read_before is not None:
        lines.append(Text(f"  read before: {each.read_before.operation.where}"))
    lines += [Text(f"  · {reason}", style="dim") for reason in each.reasons]
    return lines
