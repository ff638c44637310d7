"""Write docs/fault-matrix.md: each fault, what has to hold, the tests that inject it.

    python -m tests.faults.matrix [--check | --run [F1 F2 …] [--rest]]

`--run` runs the tests of these rows (of all, where none is named), a few rows at a time, and keeps
what came of each in tests/faults/matrix.json; the outcomes stand in docs/guarantees.md as well.
`--rest` passes over rows whose tests have all passed: a run that was interrupted goes on with it.
`make check` runs it with `--check`, so that neither page can drift.
"""

from __future__ import annotations

import ast
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import yaml

from tests.faults.playing import NOT_ENDED, PASSED, ROOT, play, verdict

ROWS = ROOT / "tests" / "faults" / "matrix.yaml"
RESULTS = ROOT / "tests" / "faults" / "matrix.json"
PAGE = ROOT / "docs" / "fault-matrix.md"
GUARANTEES = ROOT / "docs" / "guarantees.md"
BEGIN, END = "<!-- faults: written by tests/faults/matrix.py -->\n", "<!-- faults: end -->\n"
ROWS_AT_ONCE = 6
PATIENCE_SECONDS = 1800
HEAD = """\
# Faults

What is done to the orchestrator, what has to hold all the same ([promises](guarantees.md)), and
the tests that show it. Written by `python -m tests.faults.matrix` from `tests/faults/matrix.yaml`;
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


def run(found: list[Row], patience_seconds: int = PATIENCE_SECONDS) -> int:
    """Run all the tests that are named, and keep what came of them; the worst of pytest's codes."""
    code = 0
    for begin in range(0, len(found), ROWS_AT_ONCE):
        some = found[begin : begin + ROWS_AT_ONCE]
        named = sorted({test.removesuffix("::*") for row in some for test in row.tests})
        ended, cases = play(named, patience_seconds=patience_seconds)
        code = max(code, ended)
        kept = results()
        at = time.strftime("%Y-%m-%d")
        kept.update({row.name: {"at": at, "counts": counts(row, cases)} for row in some})
        kept = dict(sorted(kept.items(), key=lambda told: int(told[0].removeprefix("F"))))
        RESULTS.write_text(json.dumps({"rows": kept}, indent=1) + "\n", "utf-8")
    return code


def results() -> dict[str, Any]:
    """What is known of each row, by its name."""
    kept: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))["rows"]
    return kept


def counts(row: Row, cases: Sequence[Xml.Element]) -> dict[str, int]:
    """How many of a row's cases had which verdict; a test without any is `not ended`."""
    told = {test: [case for case in cases if _is_of(case, test)] for test in row.tests}
    verdicts = {id(case): verdict(case) for cases in told.values() for case in cases}
    counted = Counter(verdicts.values())
    counted[NOT_ENDED] += sum(not cases for cases in told.values())
    return dict(+counted)


def _is_of(case: Xml.Element, test: str) -> bool:
    path, _, function = test.partition("::")
    file = case.get("classname", "").replace(".", "/") + ".py"
    return file == path and function in ("", "*", case.get("name", "").partition("[")[0])


def passed(kept: Mapping[str, Any] | None) -> bool:
    """Whether all the tests of a row passed when they were run last."""
    return kept is not None and kept["counts"].keys() == {PASSED}


def page(found: list[Row], kept: Mapping[str, Any]) -> str:
    """The whole document."""
    whole = sum(not row.open for row in found)
    rest = "." if whole == len(found) else "; of the others the table says what is missing."
    lines = [
        f"{whole} of {len(found)} are injected as a whole, or cannot happen{rest}",
        _outcome(found, kept), "",
        "| | fault | holds | tests | last run |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in found:
        tests = ["`" + test.removeprefix("tests/").removesuffix("::*") + "`" for test in row.tests]
        if row.cannot:
            tests.append(f"*cannot happen:* {row.cannot}")
        if row.open:
            tests.append(f"*not yet:* {row.open}")
        told = _last(kept.get(row.name))
        lines.append(f"| {row.name} | {row.fault} | {row.holds} | {'<br>'.join(tests)} | {told} |")
    return HEAD + "\n".join(lines) + "\n"


def _outcome(found: Sequence[Row], kept: Mapping[str, Any]) -> str:
    whole = sum(passed(kept.get(row.name)) for row in found)
    return f"Of {whole} of {len(found)} all tests passed when they were run last."


def _last(kept: Mapping[str, Any] | None) -> str:
    """What came of a row's tests when they were run last."""
    if kept is None:
        return "–"
    told = ", ".join(f"{number} {verdict}" for verdict, number in sorted(kept["counts"].items()))
    return f"{told} ({kept['at']})"


def with_outcomes(guarantees: str, found: list[Row], kept: Mapping[str, Any]) -> str:
    """The promises' page with a line for each fault. Raises SystemExit where it has no place."""
    head, begin, rest = guarantees.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{GUARANTEES.name}: found no place for the faults; wanted {BEGIN!r} … {END!r}")
    lines = [_outcome(found, kept), "", "| fault | tests | last run |", "|---|---|---|"]
    for row in found:
        names = ", ".join("`" + test.rpartition("::")[2].replace("*", _file(test)) + "`"
                          for test in row.tests)  # fmt: skip
        lines.append(f"| {row.name} {row.fault} | {names} | {_last(kept.get(row.name))} |")
    return head + BEGIN + "\n" + "\n".join(lines) + "\n\n" + END + tail


def _file(test: str) -> str:
    return test.partition("::")[0].rpartition("/")[2]


def main() -> None:
    """Write the pages, or say whether they are as they should be."""
    found, code = rows(), 0
    if "--run" in sys.argv:
        asked = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
        unknown = set(asked) - {row.name for row in found}
        if unknown:
            sys.exit(f"found the rows {sorted(unknown)}; wanted some of {ROWS.name}, as F1")
        code = run(_wanted(found, asked, rest="--rest" in sys.argv))
    kept = results()
    written = {
        PAGE: page(found, kept),
        GUARANTEES: with_outcomes(GUARANTEES.read_text("utf-8"), found, kept),
    }
    for path, text in written.items():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif text != path.read_text("utf-8"):
            sys.exit(f"{path.name} is not up to date; run: python -m tests.faults.matrix")
    sys.exit(code)


def _wanted(found: Sequence[Row], asked: Sequence[str], *, rest: bool) -> list[Row]:
    """All where none is asked for; of these, where only the rest is, those that have not passed."""
    kept = results()
    some = [row for row in found if not asked or row.name in asked]
    return [row for row in some if not (rest and passed(kept.get(row.name)))]


if __name__ == "__main__":
    main()
