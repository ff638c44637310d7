"""Write what stems from the table of metrics: docs/metrics.md, the dashboard, the alert rules.

Run it after changing one; `make check` runs it with --check, so that none of them can drift.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

from orchestrator.telemetry.boards import ALERTS, alert_rules, dashboard
from orchestrator.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "metrics.md"
BOARD = ROOT / "deploy" / "grafana" / "orchestrator.json"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
OF_CHART = ROOT / "deploy" / "helm" / "orchestrator" / "files" / "alerts.yaml"
BEGIN, END = "<!-- generated: {} -->\n", "<!-- end: {} -->"
HEAD = "# Written by docs/metrics_page.py from orchestrator/telemetry/boards.py.\n"


def metrics_table() -> str:
    """A line for each metric."""
    lines = ["| metric | kind | labels | served by | tells |", "|---|---|---|---|---|"]
    lines += [
        f"| `{m.name}` | {m.kind} | {', '.join(m.labels) or '–'} | {m.origin} | {m.help} |"
        for m in METRICS
    ]
    return "\n".join(lines)


def alerts_table() -> str:
    """A line for each alert."""
    lines = ["| alert | severity | after | means | do |", "|---|---|---|---|---|"]
    lines += [
        f"| {a.name} | {a.severity} | {a.lasting} | {_plain(a.summary)} | {_plain(a.do)} |"
        for a in ALERTS
    ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return text.replace("{{ $labels.", "‹").replace(" }}", "›").replace("|", "\\|")


def with_block(page: str, name: str, block: str) -> str:
    """The page with the marked block replaced. Raises SystemExit when a marker is missing."""
    begin, end = BEGIN.format(name), END.format(name)
    head, found, rest = page.partition(begin)
    _, also, tail = rest.partition(end)
    if not found or not also:
        sys.exit(f"{PAGE.name} lacks the lines '{begin.strip()}' and '{end.strip()}'")
    return f"{head}{begin}{block}\n{end}{tail}"


def written() -> dict[Path, str]:
    """All files as they should be."""
    page = with_block(PAGE.read_text("utf-8"), "metrics", metrics_table())
    rules = yaml.safe_dump(alert_rules(), sort_keys=False, allow_unicode=True, width=100)
    return {
        PAGE: with_block(page, "alerts", alerts_table()),
        BOARD: json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n",
        RULES: HEAD + rules,
        OF_CHART: HEAD + rules,
    }


def main() -> None:
    """Write them, or with --check end with 1 when one would change."""
    for path, text in written().items():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif not path.exists() or path.read_text("utf-8") != text:
            sys.exit(f"{path.relative_to(ROOT)} is not up to date: python docs/metrics_page.py")


if __name__ == "__main__":
    main()
