"""The plans that PostgreSQL really used, as its `auto_explain` writes them to the server's log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

_SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_nested_statements": "off",
}
_PLAN = re.compile(r"duration: ([\d.]+) ms  plan:\n((?:\t.*\n)+)")


@dataclass
class Plans:
    """Executions of one statement."""

    query: str
    milliseconds: list[float] = field(default_factory=list)
    buffers: list[int] = field(default_factory=list)  # touched, in memory or not
    nodes: tuple[str, ...] = ()  # of the last one, from the top
    plan: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def plans_of(url: str, log: Path) -> Iterator[dict[str, Plans]]:
    """What sessions that begin within the block execute; filled when it is left."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    found: dict[str, Plans] = {}
    start = log.stat().st_size
    with psycopg.connect(plain, autocommit=True) as link:
        _alter(link, "SET {} = {}")
        try:
            yield found
        finally:
            _alter(link, "RESET {}")
    with log.open() as lines:
        lines.seek(start)
        found.update(read(lines.read()))


def read(text: str) -> dict[str, Plans]:
    """By statement, of what the server has logged."""
    found: dict[str, Plans] = {}
    for milliseconds, block in _PLAN.findall(text):
        told = json.loads(block)
        query = " ".join(told["Query Text"].split())
        plans = found.setdefault(query, Plans(query=query))
        plans.milliseconds.append(float(milliseconds))
        plan = told["Plan"]
        plans.buffers.append(plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0))
        plans.nodes, plans.plan = tuple(_nodes(plan)), plan
    return found


def beside(few: Mapping[str, Plans], many: Mapping[str, Plans]) -> list[dict[str, Any]]:
    """Statements that both executed, those that touch the most first."""
    made = [
        {
            "query": query,
            "calls": len(many[query].buffers),
            "buffers_few": median(few[query].buffers),
            "buffers_many": median(many[query].buffers),
            "ms_few": median(few[query].milliseconds),
            "ms_many": median(many[query].milliseconds),
            "nodes": many[query].nodes,
        }
        for query in few.keys() & many.keys()
    ]
    return sorted(made, key=lambda one: (-one["buffers_many"], one["query"]))


def line(one: Mapping[str, Any]) -> str:
    """For people."""
    buffers = f"{one['buffers_few']:.0f} → {one['buffers_many']:.0f} buffers"
    took = f"{one['ms_few']:.2f} → {one['ms_many']:.2f} ms"
    nodes: Sequence[str] = one["nodes"]
    return (
        f"{one['calls']:>6} × {buffers}, {took}: {one['query'][:90]}\n         {', '.join(nodes)}"
    )


def _alter(link: psycopg.Connection[Any], change: str) -> None:
    """Of the database: sessions that begin later have it."""
    row = link.execute("SELECT current_database()").fetchone()
    assert row is not None
    for name, value in _SETTINGS.items():
        setting = sql.SQL(change).format(sql.Identifier(*name.split(".")), sql.Literal(value))
        alter = sql.SQL("ALTER DATABASE {} ").format(sql.Identifier(row[0]))
        link.execute(alter + setting)


def _nodes(plan: Mapping[str, Any]) -> Iterator[str]:
    """Kinds of the nodes, with the index or the table that they read."""
    where = plan.get("Index Name") or plan.get("Relation Name")
    yield f"{plan['Node Type']} {where}" if where else str(plan["Node Type"])
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
