"""What an agent does in the demo, whole: a real MCP server, worker, broker and shop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.demo.running import ROOT

pytestmark = [pytest.mark.broker, pytest.mark.long]
_COMMAND = [sys.executable, "-c", "from orchestrator.cli.main import run; run()"]


def test_three_wishes_go_through_the_protocol(tmp_path: Path) -> None:
    command = [*_COMMAND, "--state-dir", str(tmp_path / "state"), "demo", "--agent", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=220, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    turns: list[dict[str, Any]] = told["turns"]
    calls = [turn for turn in turns if turn["tool"]]
    assert [each["tool"] for each in calls][:5] == [
        "search", "describe", "execute", "execute", "execute",
    ]  # fmt: skip
    planned, first, again = [each["answer"] for each in calls if each["tool"] == "execute"][:3]
    assert planned["status"] == "planned"
    assert len(planned["plan"]["steps"]) > 5
    assert (again["run"], again["repeated"]) == (first["run"], True)

    ends = [each["answer"]["status"] for each in calls if each["tool"] in ("execute", "status")]
    assert "compensated" in ends
    undone = next(each["answer"] for each in calls if _status(each) == "compensated")
    assert "everything it did is undone" in undone["meaning"]
    assert "'AQ' is not one of" in undone["meaning"]

    at = next(n for n, turn in enumerate(turns) if turn["who"] == "person")
    assert turns[at - 2]["answer"]["approval"]["message"] == "Sell 20 × rope to Clara?"
    assert any(_status(turn) == "succeeded" for turn in turns[at:])

    assert all(turn["asked_tokens"] > 0 and turn["answered_tokens"] > 0 for turn in calls)
    assert told["records"] == {"1": 6, "2": 1, "3": 6}
    assert "Records in the shop now: 6 of order 1, 1 of order 2, 6 of order 3." in done.stderr


def _status(turn: dict[str, Any]) -> str | None:
    answer = turn["answer"]
    return answer.get("status") if isinstance(answer, dict) else None
