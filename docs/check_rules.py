"""Write the catalogue of rules into docs/checks.md.

Run it after changing a rule; `make check` runs it with --check, so that the page cannot drift.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.definitions.checking.rules import RULES

PAGE = Path(__file__).with_name("checks.md")
BEGIN, END = "<!-- generated: rules -->\n", "\n<!-- end: rules -->"


def catalogue() -> str:
    """A table with a line for each rule."""
    lines = ["| rule | severity | finds | because |", "|---|---|---|---|"]
    lines += [f"| `{r.id}` | {r.severity} | {r.title} | {r.why} |" for r in RULES.values()]
    return "\n".join(lines)


def with_catalogue(page: str) -> str:
    """The page with the marked block replaced. Raises SystemExit when a marker is missing."""
    head, found, rest = page.partition(BEGIN)
    _, also, tail = rest.partition(END)
    if not found or not also:
        sys.exit(f"{PAGE.name} lacks the lines '{BEGIN.strip()}' and '{END.strip()}'")
    return head + BEGIN + catalogue() + END + tail


def main() -> None:
    """Rewrite the page, or with --check end with 1 when it would change."""
    page = PAGE.read_text("utf-8")
    written = with_catalogue(page)
    if "--check" not in sys.argv:
        PAGE.write_text(written, "utf-8")
    elif written != page:
        sys.exit(f"{PAGE.name} does not show the rules; run: python docs/check_rules.py")


if __name__ == "__main__":
    main()
