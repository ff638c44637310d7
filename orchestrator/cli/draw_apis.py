"""APIs: what holds of each, where it comes from, what was changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from orchestrator.cli.draw_common import moment, table
from orchestrator.core.health import WINDOW_SECONDS, BreakerState

if TYPE_CHECKING:
    from orchestrator.errors import Problem
    from orchestrator.ports import ApiChange
    from orchestrator.ports.gate_view import ApiState
    from orchestrator.service.apis import ApiFieldView, ApiOverview, ApiView

SHOWN_CHANGES = 10
_OVERRIDDEN = "yellow"


def draw_apis(overview: ApiOverview) -> RenderableType:
    """One line each, then what is wrong with files."""
    if not overview.apis and not overview.problems:
        return Text("no APIs: no file in config/apis, no published workflow calls one", style="dim")
    columns = ("api", "state", "rate", "concurrency", "connections", "overridden")
    drawn = table(
        *columns, right=("concurrency", "connections"), wide=("rate", "overridden"),
        spare=("connections",),
    )  # fmt: skip
    for api in overview.apis:
        drawn.add_row(
            Text(api.api, style="bold"), _state(api), *(_cell(api, name) for name in columns[2:5]),
            Text(", ".join(_overridden(api)) or "–", style=_OVERRIDDEN if _overridden(api) else ""),
        )  # fmt: skip
    return Group(drawn, *_problems(overview.problems))


def draw_states(states: Mapping[str, ApiState]) -> RenderableType:
    """One line each."""
    columns = ("api", "breaker", "calls/s", "failed", "slow", "pace", "slots", "waiting")
    drawn = table(*columns, right=columns[2:], wide=("breaker",), spare=("slow",))
    for name, each in states.items():
        drawn.add_row(
            Text(name, style="bold"), _breaker(each), f"{each.calls / WINDOW_SECONDS:.1f}",
            _share(each.failures, each.calls), _share(each.slow, each.calls), f"{each.pace:.0%}",
            "–" if each.slots_limit is None else f"{each.slots_lent}/{each.slots_limit}",
            str(each.waiting),
        )  # fmt: skip
    return drawn


def _breaker(state: ApiState) -> Text:
    if state.breaker == BreakerState.OPEN:
        return Text(f"■ open, tried in {state.tried_in_seconds:.0f} s", style="bold red")
    if state.paused_seconds:
        told = f"it asked for a pause, {state.paused_seconds:.0f} s left"
        return Text(f"■ {told}", style=_OVERRIDDEN)
    if state.breaker == BreakerState.HALF_OPEN:
        return Text("▶ half open", style=_OVERRIDDEN)
    return Text("▶ closed", "green")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def draw_api(api: ApiView) -> RenderableType:
    """Fields with their origins, the latest changes, and what is wrong with files."""
    heading = Text.assemble((api.api, "bold"), "  ", _state(api))
    if api.held is not None:
        heading.append(f"  by {api.held.by}, {moment(api.held.at)}: {api.held.reason}")
    fields = table("field", "value", "from", wide=("value", "from"))
    for field in api.fields:
        style = _OVERRIDDEN if field.change is not None else _dim(field)
        fields.add_row(field.name, Text(_shown(field.value), style=style), _origin(field))
    return Group(heading, fields, *_changes(api.changes), *_problems(api.problems))


def draw_change(api: ApiView, *, within_seconds: float) -> RenderableType:
    """The change that was just made, and when it counts."""
    latest = api.changes[0]
    lines = [Text.assemble((api.api, "bold"), "  ", _state(api))]
    lines += [Text(f"  {line}") for line in _what(latest).splitlines()]
    if latest.kind == "set":
        lines += [
            Text(f"  in force until: orchestrator apis reset {api.api}", style="dim"),
        ]
    lines.append(Text(f"  running workers turn to it within {within_seconds:g} s", style="dim"))
    return Group(*lines)


def _state(api: ApiView) -> Text:
    return Text("■ held", style="bold red") if api.held is not None else Text("▶ open", "green")


def _cell(api: ApiView, name: str) -> Text:
    overridden = any(each.change is not None for each in api.fields if each.name == name)
    return Text(_shown(api.value(name)), style=_OVERRIDDEN if overridden else "")


def _overridden(api: ApiView) -> list[str]:
    return [field.name for field in api.fields if field.change is not None]


def _dim(field: ApiFieldView) -> str:
    return "dim" if field.origin == "default" else ""


def _origin(field: ApiFieldView) -> Text:
    if field.change is None:
        return Text(field.origin, style="dim")
    change = field.change
    return Text(f"{change.by}, {moment(change.at)}: {change.reason}", style=_OVERRIDDEN)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _changes(changes: Sequence[ApiChange]) -> list[RenderableType]:
    if not changes:
        return []
    drawn = table("when", "who", "what", "why", wide=("what", "why"), spare=("who",))
    for change in changes[:SHOWN_CHANGES]:
        drawn.add_row(moment(change.at), change.by, _what(change), change.reason)
    more = len(changes) - SHOWN_CHANGES
    rest = [Text(f"and {more} more (--json)", style="dim")] if more > 0 else []
    return [Text("changes", style="bold"), drawn, *rest]


def _what(change: ApiChange) -> str:
    if change.kind in ("hold", "release"):
        return change.kind.value
    return "\n".join(_difference(name, change.before, change.after) for name in change.after)


def _difference(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return f"{name}: {_shown(before.get(name))} → {_shown(after.get(name))}"


def _problems(problems: Sequence[Problem]) -> list[RenderableType]:
    """Of files; what they said last holds in workers that run."""
    if not problems:
        return []
    lines: list[RenderableType] = [
        Text("not taken over; workers keep what was valid last", style="bold red")
    ]
    for problem in problems:
        lines.append(Text(problem.place, style="bold"))
        found = Text(f"found   {problem.found}\nwanted  {problem.wanted}")
        lines.append(Padding(found, (0, 0, 0, 2)))
    return lines
