"""The saga as a graph, in Mermaid's notation: steps, ways between them, and what undoes each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nicegui import ui

from orchestrator.console.frame import COLOURS
from orchestrator.core.blocks import heads_of
from orchestrator.core.plan import Effects, Plan, PlanStep
from orchestrator.core.states import Direction
from orchestrator.service.runs import RunView

MOST_STEPS = 60  # more of them nobody can read
Statuses = Mapping[tuple[str, Direction], str]
"""Of links, by step id."""
_SHADES = {
    "positive": "#2b6b30", "negative": "#b3261e", "primary": "#1f5a96", "grey-7": "#616161",
    "grey-9": "#212121", "blue-grey-7": "#455a64", "brown-7": "#5d4037",
    "deep-orange-9": "#bf360c", "deep-purple-7": "#512da8",
}  # fmt: skip
"""The colours of the badges, which SVG does not know by name."""


def draw_plan(plan: Plan) -> None:
    """A workflow."""
    _draw(plan, {}, f"Graph of {plan.workflow}")


def draw_run(view: RunView) -> None:
    """A run of it: each step in the colour of its status, of its latest visit."""
    links = (*view.forward, *view.backward)
    statuses = {(each.step_id, each.direction): str(each.record.link.status) for each in links}
    _draw(view.plan, statuses, f"Graph of run {view.run.id[-12:]}")


def _draw(plan: Plan, statuses: Statuses, title: str) -> None:
    if len(plan.steps) > MOST_STEPS:
        ui.label(f"{len(plan.steps)} steps: too many for a graph; the table has them all.")
        return
    config = {
        "theme": "neutral", "themeVariables": {"fontSize": "12px"},
        "flowchart": {"useMaxWidth": False},  # scroll, not shrink
    }  # fmt: skip
    around = ui.element("div").classes("w-full overflow-auto")
    with around.props(f'tabindex=0 role=region aria-label="{title}"'):
        ui.mermaid(flowchart(plan, statuses), config=config)


def flowchart(plan: Plan, statuses: Statuses) -> str:
    """The text of the graph. Nothing in it comes from a document unescaped."""
    places = {step.id: place for place, step in enumerate(plan.steps)}
    lines = ["flowchart LR"]
    for place, step in enumerate(plan.steps):
        status = statuses.get((step.id, Direction.FORWARD), "")
        lines.append(f"n{place}{_node(step)}{_classed(status)}")
        if not step.last and place + 1 < len(plan.steps):
            lines.append(f"n{place} --> n{place + 1}")
        lines += [f"n{place} ==> n{head}" for head in heads_of(plan, step.id)]
        lines += [
            f"n{place} -. {name} .-> n{places[target]}"
            for name, target in _jumps(step)
            if target in places
        ]
        if step.compensation is not None:
            undone = statuses.get((step.id, Direction.BACKWARD), "")
            label = _text(step.compensation.call.label)
            lines += [
                f'u{place}["↩ {label}"]{_classed(undone)}',
                f"n{place} -. {step.compensation.kind} .- u{place}",
            ]
    used = sorted({status for status in statuses.values() if status})
    lines += [f"classDef {_class(status)} fill:{_shade(status)},color:#fff" for status in used]
    return "\n".join(lines)


def _node(step: PlanStep) -> str:
    text = f"{_text(step.id)}<br/>{_text(step.call.label)}"
    if step.pivot and not step.heads:
        return f'{{{{"{text}<br/>pivot"}}}}'
    if step.call.effects is Effects.NONE:
        return f'("{text}")'
    return f'["{text}"]'


def _jumps(step: PlanStep) -> Iterator[tuple[str, str]]:
    """Where its actions lead: after a success, after a failure, again."""
    for field, name in (("onSuccess", "then"), ("onFailure", "else")):
        actions: Sequence[Mapping[str, Any]] = step.call.template.get(field, ())
        for action in actions:
            if action.get("type") == "goto":
                yield name, str(action.get("step", ""))
            elif action.get("via") is not None:
                yield "first", str(action["via"])


def _text(text: str) -> str:
    """As Mermaid takes anything: each character that may mean something by its number."""
    return "".join(
        each if each.isalnum() or each in " ._-/$" else f"#{ord(each)};" for each in text
    )


def _class(status: str) -> str:
    return f"s_{status}"


def _classed(status: str) -> str:
    return f":::{_class(status)}" if status else ""


def _shade(status: str) -> str:
    return _SHADES[COLOURS.get(status, "grey-7")]
