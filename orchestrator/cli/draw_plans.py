"""A dry run, step by step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

_WHAT = {
    "sends": "", "calls": "calls ", "waits_for": "waits for ", "begins_a_run_of": "begins a run of "
}  # fmt: skip


def draw_plan(workflow: str, version: int, meaning: str, plan: Mapping[str, Any]) -> RenderableType:
    """What was done (nothing), each step with its request and its undo, and what stands against it.

    `plan`: as `service.planning` tells it.
    """
    lines: list[RenderableType] = [Text(f"{workflow} v{version}: {meaning}", style="bold")]
    for number, step in enumerate(plan["steps"], start=1):
        lines += _step(number, step)
    lines += _ending(plan)
    if "spends" in plan:
        lines.append(Text(f"spends {plan['spends']}"))
    lines += [Text(f"refused: {each}", style="bold red") for each in plan.get("refused", ())]
    lines += [
        Text(f"a person is asked: {each}", style="yellow") for each in plan.get("approval", ())
    ]
    return Group(*lines)


def _ending(plan: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Of a simulation."""
    if "ends" not in plan:
        return
    good = plan["ends"] == "succeeded"
    yield Text(f"{plan['ends']} after {plan['seconds']:g} s", style="green" if good else "bold red")
    for name in ("because", "escalated", "outputs"):
        if name in plan:
            yield _below(f"{name}: {_short(plan[name])}", "dim")
    for name, style in (("undone", "green"), ("stands", "yellow"), ("supposed", "cyan")):
        if plan.get(name):
            yield _below(f"{name}: {', '.join(plan[name])}", style)
    if plan.get("left_out"):
        yield _below(f"{plan['left_out']} further calls are not shown", "dim")


def _step(number: int, step: Mapping[str, Any]) -> Iterator[RenderableType]:
    done = next((f"{word}{step[key]}" for key, word in _WHAT.items() if key in step), "")
    yield Text.assemble((f"{number:>3}. {_name(step)}", "bold"), f"  {done}")
    for name, value in step.get("headers", {}).items():
        yield _below(f"{name}: {value}", "dim")
    for key in ("body", "asked", "inputs"):
        if key in step:
            yield _below(_short(step[key]), "dim")
    if "answer" in step:
        yield _below(f"answer: {step['answer']}", "cyan")
    if "read" in step:
        yield _below(f"asked: {step['read']}", "cyan")
    if "not_known_yet" in step:
        yield _below(f"not known yet: {step['not_known_yet']}", "yellow")
    if "undo" in step:
        yield _below(f"undo {step['undo']}", "green")
    if "stays" in step:
        yield _below(f"stays: {step['stays']}", "yellow")


def _name(step: Mapping[str, Any]) -> str:
    return f"{step['way']} {step['step']}" if "way" in step else str(step["step"])


def _below(text: str, style: str) -> RenderableType:
    return Padding(Text(text, style=style), (0, 0, 0, 5))


def _short(value: Any, most: int = 300) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[: most - 1]}…"
