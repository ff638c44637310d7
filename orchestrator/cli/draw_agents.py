"""Policies of software agents in tables. All are plain values, as `agents_told` makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import short, table
from orchestrator.core.guarding import EVERYBODY

Told = Mapping[str, Any]


def draw_agents(agents: Sequence[Told]) -> RenderableType:
    """One line each."""
    if not agents:
        return Text("no agent has a policy, or none was changed", style="dim")
    drawn = table(
        "agent", "tenant", "state", "allow", "deny", "rates", "budgets", "asks above",
        wide=("allow", "budgets"),
    )  # fmt: skip
    for each in agents:
        said, stop = each["policy"], each["stopped"]
        lists = (said.get(name, ()) for name in ("allow", "deny", "rates", "budgets"))
        drawn.add_row(
            "all together (*)" if each["agent"] == EVERYBODY else Text(each["agent"]),
            Text(each["tenant"]),
            Text("works" if stop is None else f"stopped by {stop['by']}: {stop['reason']}"),
            *(_listed(list_) for list_ in lists), _listed(said.get("approve", {}).get("above", ())),
        )  # fmt: skip
    return drawn


def draw_agent(agent: Told) -> RenderableType:
    """One, with what is left and what was used."""
    rows = [
        Text(f"{each['budget']}: {each['left']} left until {each['until']}")
        for each in agent["left"]
    ]
    used = [
        Text(f"used this {period}: {amount} {what}", style="dim")
        for what, by_period in sorted(agent["used"].items())
        for period, amount in by_period.items()
    ]
    return Group(draw_agents([agent]), *rows, *used)


def draw_stopped(agent: Told) -> RenderableType:
    """One that was stopped, and what becomes of its runs."""
    job = agent["job"]
    what = "its runs under way go on, or there are none"
    if job is not None:
        what = f"{job['total']:,} runs are cancelled by job {short(job['id'])}"
    return Group(draw_agents([agent]), Text(what))


def draw_changes(changes: Sequence[Told]) -> RenderableType:
    """Newest first."""
    drawn = table("change", "kind", "at", "by", "why", wide=("why",))
    for each in changes:
        drawn.add_row(
            str(each["version"]), each["kind"], each["at"][:19], Text(each["by"]),
            Text(each["reason"]),
        )  # fmt: skip
    return drawn


def _listed(texts: Sequence[str]) -> Text:
    return Text(", ".join(texts) or "–")
