"""Write docs/fault-matrix.md: each fault, what has to hold, the tests that inject it.

    python docs/fault_matrix.py [--check | --run]

`--run` runs these tests and keeps what came of them in tests/faults/matrix.json; `make check` runs
it with `--check`, so that the page cannot drift.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as Xml

import yaml

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "tests" / "faults" / "matrix.yaml"
RESULTS = ROOT / "tests" / "faults" / "matrix.json"
PAGE = ROOT / "docs" / "fault-matrix.md"
PATIENCE_SECONDS = 1800
HEAD = """\
# Faults

What is done to the orchestrator, what has to hold all the same ([promises](guarantees.md)), and
the tests that show it. Written by `docs/fault_matrix.py` from `tests/faults/matrix.yaml`;
`make matrix` runs the tests.

"""


@dataclass(frozen=True, slots=True)
class Row:
    """One fault."""

    name: str
    fault: str
    holds: str
    tests: tuple[str, ...]  # file::function; `*`: all of the file
    open: str  # what no test does yet
    cannot: str  # why the rest of it cannot happen


def rows() -> list[Row]:
    """All, as they stand in the table. Raises SystemExit that names the row."""
    found = []
    for name, row in yaml.safe_load(ROWS.read_text("utf-8")).items():
        made = Row(
            name,
            row["fault"],
            row["holds"],
            tuple(row["tests"]),
            row.get("open", ""),
            row.get("cannot", ""),
        )
        if not (made.tests or made.open or made.cannot):
            sys.exit(f"{ROWS.name}: {name} has no test; wanted: one, or `open` or `cannot`")
        for missing in _missing(made):
            sys.exit(f"{ROWS.name}: {name} names {missing}, which there is not")
        found.append(made)
    return found


def _missing(row: Row) -> Iterator[str]:
    for test in row.tests:
        path, _, function = test.partition("::")
        file = ROOT / path
        if not file.exists() or (function != "*" and function not in _functions(file)):
            yield test


def _functions(file: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    module = ast.parse(file.read_text("utf-8"))
    return {each.name for each in module.body if isinstance(each, kinds)}


def run(found: list[Row]) -> int:
    """Run all the tests that are named; pytest's exit code."""
    named = sorted({test.removesuffix("::*") for row in found for test in row.tests})
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "auto",
            "-m",
            "",
            f"--junitxml={report}",
        ]
        ended = subprocess.run(
            [*command, *named], cwd=ROOT, timeout=PATIENCE_SECONDS, check=False
        )  # fmt: skip
        cases = list(Xml.parse(report).iter("testcase"))  # noqa: S314 - pytest has written it
    at = time.strftime("%Y-%m-%d")
    results = {"at": at, "rows": {row.name: _result(row, cases) for row in found}}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    return ended.returncode


def _result(row: Row, cases: list[Xml.Element]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for case in cases:
        function = case.get("name", "").partition("[")[0]
        file = case.get("classname", "").replace(".", "/") + ".py"
        if f"{file}::{function}" in row.tests or f"{file}::*" in row.tests:
            kinds = {each.tag for each in case}
            counted[_VERDICTS.get(next(iter(kinds & _VERDICTS.keys()), ""), "passed")] += 1
    return dict(counted)


_VERDICTS = {"failure": "failed", "error": "failed", "skipped": "skipped"}


def page(found: list[Row], results: Mapping[str, Any]) -> str:
    """The whole document."""
    whole = sum(not row.open for row in found)
    lines = [
        f"{whole} of {len(found)} are injected as a whole, or cannot happen;",
        f"of the others the table says what is missing. Last run: {results['at']}.", "",
        "| | fault | holds | tests | last run |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in found:
        tests = ["`" + test.removeprefix("tests/").removesuffix("::*") + "`" for test in row.tests]
        if row.cannot:
            tests.append(f"*cannot happen:* {row.cannot}")
        if row.open:
            tests.append(f"*not yet:* {row.open}")
        counts = results["rows"].get(row.name, {})
        told = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
        lines.append(
            f"| {row.name} | {row.fault} | {row.holds} | {'<br>'.join(tests)} | {told or '–'} |"
        )
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or say whether it is as it should be."""
    found, code = rows(), 0
    if "--run" in sys.argv:
        code = run(found)
    written = page(found, json.loads(RESULTS.read_text("utf-8")))
    if "--check" not in sys.argv:
        PAGE.write_text(written, "utf-8")
    elif written != PAGE.read_text("utf-8"):
        sys.exit(f"{PAGE.name} is not up to date; run: python docs/fault_matrix.py")
    sys.exit(code)


if __name__ == "__main__":
    main()
