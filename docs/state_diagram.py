"""Draw the state diagrams from the transition tables into the pages that show them.

Run it after changing a table; `make check` runs it with --check, so that the picture cannot drift.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from orchestrator.core.events import Event
from orchestrator.core.states import FINAL, LINK_TRANSITIONS, RUN_TRANSITIONS

PAGES = tuple(Path(__file__).with_name(name) for name in ("architecture.md", "model.md"))

Table = Mapping[StrEnum, Mapping[type[Event], frozenset[StrEnum]]]


def diagram(table: Table, *, start: str, final: frozenset[str]) -> str:
    """One Mermaid state diagram; an arrow for each pair of states, its events above it."""
    arrows: dict[tuple[str, str], set[str]] = defaultdict(set)
    for before, row in table.items():
        for event, outcomes in row.items():
            for after in outcomes:
                if before != after:
                    arrows[before, after].add(event.__name__)
    lines = ["stateDiagram-v2", "    direction LR", f"    [*] --> {start}"]
    for (before, after), events in sorted(arrows.items()):
        lines.append(f"    {before} --> {after}: {', '.join(sorted(events))}")
    lines += [f"    {state} --> [*]" for state in sorted(final)]
    return "```mermaid\n" + "\n".join(lines) + "\n```"


def with_diagrams(path: Path) -> str:
    """The page with each marked block replaced. Raises SystemExit when a marker is missing."""
    page, run_final = path.read_text(), frozenset(str(state) for state in FINAL)
    drawn = diagram(RUN_TRANSITIONS, start="pending", final=run_final)
    page = _replace(path, page, "run states", drawn)
    link_final = frozenset(str(state) for state, row in LINK_TRANSITIONS.items() if not row)
    drawn = diagram(LINK_TRANSITIONS, start="pending", final=link_final)
    return _replace(path, page, "link states", drawn)


def _replace(path: Path, page: str, name: str, block: str) -> str:
    begin, end = f"<!-- generated: {name} -->\n", f"\n<!-- end: {name} -->"
    head, found, rest = page.partition(begin)
    _, also, tail = rest.partition(end)
    if not found or not also:
        sys.exit(f"{path.name} lacks the lines '{begin.strip()}' and '{end.strip()}'")
    return head + begin + block + end + tail


def main() -> None:
    """Rewrite the pages, or with --check end with 1 when one would change."""
    for path in PAGES:
        page, drawn = path.read_text(), with_diagrams(path)
        if "--check" not in sys.argv:
            path.write_text(drawn)
        elif drawn != page:
            sys.exit(
                f"{path.name} does not show the transition tables; "
                "run: python docs/state_diagram.py"
            )


if __name__ == "__main__":
    main()
