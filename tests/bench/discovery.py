"""`orchestrator bench discovery`: proposals beside labels, operation by operation, and API by API.

The labels were studied while the rules were written. A *false undo* is a proposed operation that
the label does not name: it would hit something that the step neither made nor changed, or claim to
undo what it does not. `docs/discovery.md` has what was found in documents never seen.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from orchestrator.definitions.discovery import PROPOSED_FROM, Proposal
from orchestrator.service.discovering import discover_files

DATA = Path(__file__).parents[1] / "data"
LEAST = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
EXAMPLES = DATA / "compensation_examples.jsonl"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One labelled operation and what was proposed for it."""

    api: str
    operation_id: str
    wanted: str
    found: str
    confidence: float
    operation_right: bool  # the kind, and the compensating operation
    mapping_right: bool | None  # None: there is nothing to map
    only_if_kept: bool  # a condition that the label has is proposed, too
    false_undo: bool


@dataclass(frozen=True, kw_only=True)
class Score:
    """Figures of some rows; parts of 1."""

    operations: int
    operations_right: float
    mappings: int
    mappings_right: float
    false_undos: int


def examples(path: Path = EXAMPLES) -> list[dict[str, Any]]:
    """The labels."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows(labels: Iterable[Mapping[str, Any]], *, least: float = PROPOSED_FROM) -> list[Row]:
    """Each label beside the proposal for its operation."""
    by_document: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for label in labels:
        by_document[label["document"]].append(label)
    found: list[Row] = []
    for document, its in by_document.items():
        proposals = {
            each.operation_id: each for each in discover_files([DATA / document], least=least)
        }
        found += [_row(label, proposals[label["operation_id"]]) for label in its]
    return found


def score(of: Iterable[Row]) -> Score:
    """Sum up."""
    its = list(of)
    mapped = [row for row in its if row.mapping_right is not None]
    return Score(
        operations=len(its),
        operations_right=sum(row.operation_right for row in its) / max(1, len(its)),
        mappings=len(mapped),
        mappings_right=sum(row.mapping_right is True for row in mapped) / max(1, len(mapped)),
        false_undos=sum(row.false_undo for row in its),
    )


def by_api(of: Iterable[Row]) -> dict[str, Score]:
    """The score of each API alone."""
    its = list(of)
    return {
        api: score(row for row in its if row.api == api)
        for api in dict.fromkeys(r.api for r in its)
    }


def held_out(labels: Iterable[Mapping[str, Any]]) -> Score:
    """Each API under the least confidence that the other APIs would have taught.

    That number is all of discovery that could be fitted to labels: the lowest of a few with which
    no other API sees a false undo.
    """
    its = list(labels)
    judged: list[Row] = []
    for api in dict.fromkeys(label["api"] for label in its):
        others = [label for label in its if label["api"] != api]
        least = next(each for each in LEAST if not score(rows(others, least=each)).false_undos)
        judged += rows([label for label in its if label["api"] == api], least=least)
    return score(judged)


def _row(label: Mapping[str, Any], proposal: Proposal) -> Row:
    wanted = label.get("compensation")
    found = proposal.as_json()["compensation"]
    accepted = (
        {wanted["operation_id"], *label.get("acceptable_alternatives", ())} if wanted else set()
    )
    is_right = proposal.kind.value == label["kind"] and (
        found is None if wanted is None else found is not None and found["operation_id"] in accepted
    )
    return Row(
        api=label["api"], operation_id=label["operation_id"],
        wanted=_shown(label["kind"], wanted), found=_shown(proposal.kind.value, found),
        confidence=proposal.confidence, operation_right=is_right,
        mapping_right=None if wanted is None else (
            found is not None and found["parameters"] == wanted["parameters"]
        ),
        only_if_kept=not label.get("only_if") or proposal.only_if == label["only_if"],
        false_undo=found is not None and found["operation_id"] not in accepted,
    )  # fmt: skip


def _shown(kind: str, compensation: Mapping[str, Any] | None) -> str:
    return kind if compensation is None else f"{kind}: {compensation['operation_id']}"


def main(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print the table; exit code 1 below what is promised."""
    labels = examples()
    its = rows(labels)
    total, apart = score(its), held_out(labels)
    if as_json:
        value = {
            "rows": [asdict(row) for row in its], "total": asdict(total), "held_out": asdict(apart),
            "by_api": {api: asdict(each) for api, each in by_api(its).items()},
        }  # fmt: skip
        print(json.dumps(value, indent=2))
    else:
        _draw(its, total)
    is_kept = (
        total.operations_right >= 0.95 and total.mappings_right >= 0.9 and not total.false_undos
    )
    sys.exit(0 if is_kept else 1)


def _draw(its: list[Row], total: Score) -> None:
    table = Table("api", "operation", "wanted", "found", "confidence", "operation", "mapping")
    marks = {True: "right", False: "[red]wrong[/]", None: ""}
    for row in its:
        table.add_row(
            row.api, row.operation_id, row.wanted, row.found, f"{row.confidence:.2f}",
            "[red]false undo[/]" if row.false_undo else marks[row.operation_right],
            marks[row.mapping_right],
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(
        f"{total.operations_right:.0%} of {total.operations} operations right, "
        f"{total.mappings_right:.0%} of {total.mappings} mappings, {total.false_undos} false undos"
    )


if __name__ == "__main__":
    typer.run(main)
