"""Plans as PostgreSQL logs them."""

from __future__ import annotations

import json
from typing import Any

from tests.bench.engine.explaining import beside, line, read


def logged(query: str, milliseconds: float, buffers: int) -> str:
    """What `auto_explain` writes of one execution."""
    plan: dict[str, Any] = {
        "Node Type": "Limit", "Shared Hit Blocks": buffers - 1, "Shared Read Blocks": 1,
        "Plans": [{"Node Type": "Index Scan", "Index Name": "runs_pkey", "Relation Name": "runs"}],
    }  # fmt: skip
    text = json.dumps({"Query Text": query, "Plan": plan}, indent=2).replace("\n", "\n\t")
    head = f"2026-01-01 00:00:00 UTC [7] LOG:  duration: {milliseconds} ms  plan:"
    return f"{head}\n\t{text}\n"


def test_executions_are_gathered_by_statement() -> None:
    noise = "2026-01-01 00:00:00 UTC [7] LOG:  checkpoint complete\n"
    text = (
        logged("SELECT\n  1", 2.0, 3)
        + noise
        + logged("SELECT 1", 4.0, 5)
        + logged("SELECT 2", 1.0, 7)
    )
    found = read(text)
    assert found.keys() == {"SELECT 1", "SELECT 2"}
    assert found["SELECT 1"].milliseconds == [2.0, 4.0]
    assert found["SELECT 1"].buffers == [3, 5]
    assert found["SELECT 1"].nodes == ("Limit", "Index Scan runs_pkey")


def test_both_databases_side_by_side() -> None:
    few = read(logged("SELECT 1", 2.0, 3) + logged("SELECT 2", 2.0, 3) + logged("SELECT 3", 1, 1))
    many = read(logged("SELECT 1", 2.0, 4) + logged("SELECT 2", 8.0, 300))
    worst, other = beside(few, many)
    assert (worst["query"], worst["buffers_few"], worst["buffers_many"]) == ("SELECT 2", 3, 300)
    assert other["query"] == "SELECT 1"
    assert "3 → 300 buffers, 2.00 → 8.00 ms: SELECT 2" in line(worst)


def test_a_log_without_plans_has_none() -> None:
    assert read("2026-01-01 00:00:00 UTC [7] LOG:  checkpoint complete\n") == {}
