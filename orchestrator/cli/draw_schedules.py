"""Schedules in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.draw_common import moment, short, table

_STATES = {
    "started": ("▶", "green"), "due": ("·", "cyan"), "queued": ("◔", "yellow"),
    "skipped": ("»", "dim"), "failed": ("✘", "bold red"),
}  # fmt: skip


def draw_schedules(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One line for each."""
    if not found:
        return Text("There are no schedules. Make one: orchestrator schedules set --help")
    rows = [
        [
            Text(each["name"]), Text(each["tenant"]), Text(each["schedule"]["workflow"]),
            Text(each["times"]), _next(each), Text(each["schedule"]["overlap"]),
        ]
        for each in found
    ]  # fmt: skip
    return _filled(
        rows, "schedule", "tenant", "workflow", "times", "next", "overlap", wide=("times",)
    )


def draw_one(told: Mapping[str, Any]) -> RenderableType:
    """All about one."""
    parts: list[RenderableType] = [draw_schedules([told])]
    if told["upcoming"]:
        parts += [Text("Next times", style="bold"), draw_times(told["upcoming"], _zone_of(told))]
    parts += [Text("Last times", style="bold"), _draw_firings(told["firings"])]
    rows = [
        [
            Text(str(each["version"])), Text(_moment(each["at"])), Text(each["kind"]),
            Text(each["by"]), Text(each["reason"]),
        ]
        for each in told["changes"]
    ]  # fmt: skip
    changes = _filled(rows, "version", "at", "what", "by", "why", wide=("why",))
    return Group(*parts, Text("Changes", style="bold"), changes)


def draw_times(times: Sequence[str], zone: str) -> RenderableType:
    """As the clocks of the zone tell them, and in UTC."""
    if not times:
        return Text("None.")
    clock = ZoneInfo(zone)
    rows = [
        [Text(datetime.fromisoformat(at).astimezone(clock).strftime("%a %Y-%m-%d %H:%M:%S %Z")),
         Text(at)]
        for at in times
    ]  # fmt: skip
    return _filled(rows, zone if zone != "UTC" else "time", "UTC")


def _draw_firings(firings: Sequence[Mapping[str, Any]]) -> RenderableType:
    if not firings:
        return Text("None yet.")
    rows = []
    for each in firings:
        glyph, style = _STATES[each["state"]]
        since = f"{_moment(each['since'])} … " if each["since"] else ""
        rows.append(
            [
                Text(f"{since}{_moment(each['at'])}"),
                Text(f"{glyph} {each['state']}", style=style),
                Text(each["kind"]), Text(short(each["run_id"]) if each["run_id"] else ""),
                Text(each["reason"]),
            ]
        )  # fmt: skip
    return _filled(rows, "time", "state", "because of", "run", "why", wide=("why",))


def _filled(rows: Sequence[Sequence[Text]], *columns: str, wide: tuple[str, ...] = ()) -> Table:
    drawn = table(*columns, wide=wide)
    for row in rows:
        drawn.add_row(*row)
    return drawn


def _next(told: Mapping[str, Any]) -> Text:
    if told["paused"]:
        return Text(f"paused by {told['changed_by']}", style="magenta")
    return Text(_moment(told["next_at"]) if told["next_at"] else "over")


def _zone_of(told: Mapping[str, Any]) -> str:
    return str(told["schedule"]["zone"])


def _moment(at: str | None) -> str:
    return moment(None if at is None else datetime.fromisoformat(at))
