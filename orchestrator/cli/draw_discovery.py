"""Proposals of discovery as a table, with the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.syntax import Syntax
from rich.text import Text

from orchestrator.cli.draw_common import clock, table
from orchestrator.definitions.discovery import Kind, Proposal
from orchestrator.ports import Acceptance
from orchestrator.service.deriving import DocumentProposals

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


def draw_document(found: DocumentProposals, *, is_written: bool) -> RenderableType:
    """The steps of a workflow document, and the change that would say so."""
    lines: list[RenderableType] = []
    for each in found.steps.proposals:
        name = f"{each.workflow}.{each.step}"
        news = "written" if is_written else "can be written"
        state = news if name in found.written else found.left.get(name, "")
        lines.append(Text.assemble((name, "bold"), f"  {state}"))
        if not each.has_own:
            lines += _proposal(each.proposal)
    lines += [
        Text(f"left out  {each.place}: found {each.found}; wanted {each.wanted}", style="yellow")
        for each in found.steps.problems
    ]
    if found.diff and not is_written:
        lines.append(Syntax(found.diff, "diff", background_color="default"))
    if found.written:
        then = "accept it" if is_written else "write it with --write, and accept it"
        text = f"\nIt does not run yet: look at it, {then}: orchestrator workflows accept FILE"
        lines.append(Text(text, style="dim"))
    return Group(*lines)


def draw_acceptances(noted: Sequence[Acceptance]) -> RenderableType:
    """Who has accepted what."""
    if not noted:
        return Text("nothing derived was accepted", style="dim")
    drawn = table("step", "undone by", "accepted", "by", "reason", "digest", spare=("digest",))
    for each in noted:
        undo = each.compensation.get("operationId") or each.compensation.get("operationPath")
        drawn.add_row(
            f"{each.workflow}.{each.step}", str(undo or "nothing"), clock(each.at), each.by,
            each.reason, each.digest[:12],
        )  # fmt: skip
    return drawn


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
    if each.otherwise is not None:
        lines += [Text("  otherwise"), *_proposal(each.otherwise)[1:]]
    return lines
