"""The agent's story as people read it, one turn after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from orchestrator.demo.agent import Turn

_STYLES = {"user": "bold cyan", "agent": "bold", "person": "bold magenta"}
_MOST_LINES = 12
_SENTENCES = ("meaning:", "reason:")


def draw_turn(turn: Turn) -> RenderableType:
    """Who says what; a call with its arguments, its answer, and what both cost."""
    says = Text.assemble((f"{turn.who:>6}  ", _STYLES[turn.who]), turn.says)
    if turn.who == "user":
        says = Text("\n") + says
    if not turn.tool:
        return says
    cost = f"{turn.asked_tokens} tokens asked, {turn.answered_tokens} answered"
    call = Text.assemble(("→ ", "cyan"), (turn.tool, "cyan"), ("  " + cost, "dim"))
    lines: list[RenderableType] = [call]
    lines += [_line(line, "dim") for line in _members(turn.arguments)]
    lines.append(Text("←", style="red" if turn.failed else "green"))
    lines += [_line(line, "") for line in _members(turn.answer)]
    return Group(says, Padding(Group(*lines), (0, 0, 0, 8)))


def draw_end(turns: Sequence[Turn], standing: Mapping[int, int]) -> RenderableType:
    """What all of it cost, and what the shop has of each order."""
    asked = sum(turn.asked_tokens for turn in turns)
    answered = sum(turn.answered_tokens for turn in turns)
    calls = sum(1 for turn in turns if turn.tool)
    kept = ", ".join(f"{standing.get(n, 0)} of order {n}" for n in range(1, _orders(turns) + 1))
    return Text(
        f"\n{calls} calls: {asked} tokens asked, {answered} answered (cl100k_base).\n"
        f"Records in the shop now: {kept}. Of what was undone a corrected mail is left.",
        style="bold",
    )


def _line(line: str, style: str) -> Text:
    """One line of the terminal; but what is said in sentences is shown whole."""
    cut = not line.startswith(_SENTENCES)
    return Text(line, style=style, no_wrap=cut, overflow="ellipsis" if cut else "fold")


def _orders(turns: Sequence[Turn]) -> int:
    return sum(1 for turn in turns if turn.who == "user")


def _members(value: Any) -> Iterator[str]:
    """A line for each member of an object, as far as they go."""
    pairs = value.items() if isinstance(value, Mapping) else [("", value)]
    lines = [line for name, held in pairs if held not in ("", {}) for line in _lines(name, held)]
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"… {len(lines) - _MOST_LINES} more lines"


def _lines(name: str, value: Any) -> Iterator[str]:
    before = f"{name}: " if name else ""
    if isinstance(value, Mapping) and "steps" in value:  # a plan: a line for each step
        yield f"{before}"
        for step in value["steps"]:
            yield f"  {_step(step)}"
    elif isinstance(value, list) and value and isinstance(value[0], Mapping | str):
        yield before
        for each in value:
            yield f"  {_short(each)}"
    else:
        yield before + _short(value)


def _step(step: Mapping[str, Any]) -> str:
    does = step.get("sends") or step.get("calls") or step.get("waits_for") or ""
    return f"{step['step']}  {does}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
