"""Without a terminal a line now and then; with one, the bar and the latest that turned back."""

from __future__ import annotations

import io

from rich.console import Console

from orchestrator.core.states import RunStatus
from orchestrator.demo.progress import Ended, LiveProgress

COUNTS = {RunStatus.SUCCEEDED: 8, RunStatus.COMPENSATED: 2}


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=terminal)
    with LiveProgress(console, total=10, flower_url="http://127.0.0.1:1") as progress:
        progress.ended(
            Ended(order_id="o7", status=RunStatus.COMPENSATED, cause="400 Bad Request: item")
        )
        progress.update(COUNTS)
    return out.getvalue()


def test_elsewhere_one_line_when_all_have_settled() -> None:
    lines = shown(terminal=False).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("10 of 10 runs settled")


def test_on_a_terminal_everything_at_a_glance() -> None:
    text = shown(terminal=True)
    for expected in ("10/10", "o7", "400 Bad Request: item", "http://127.0.0.1:1"):
        assert expected in text
