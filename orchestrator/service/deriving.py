"""Compensations that discovery has derived: written into documents, and accepted by people.

Nothing derived runs before somebody has accepted it as it stands: publishing refuses it. An
acceptance stands in the document, with the digest of what was accepted, and in the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.definitions.acceptance import digest_of
from orchestrator.definitions.amending import unified
from orchestrator.definitions.discovery import Proposer
from orchestrator.definitions.discovery.steps import Steps, read_steps
from orchestrator.definitions.discovery.writing import Pending, accept, pending, write
from orchestrator.definitions.document import SOURCES, WORKFLOWS, Document, read_document
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import NotFound, Problem
from orchestrator.ports import Acceptance, AcceptanceStore, NewAcceptance
from orchestrator.service.writing import replace_text


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentProposals:
    """What is proposed for the steps of a workflow document, and the change that says so."""

    document: str  # its file's name
    steps: Steps
    diff: str  # unified; "" when nothing can be written
    written: tuple[str, ...]  # workflow.step
    left: Mapping[str, str]  # workflow.step, and why nothing is written there

    def as_json(self) -> dict[str, Any]:
        """As one JSON value."""
        return {
            "document": self.document, "diff": self.diff, "written": list(self.written),
            "left": dict(self.left),
            "steps": [
                {"workflow": each.workflow, "step": each.step, **each.proposal.as_json()}
                for each in self.steps.proposals
            ],
            "problems": [
                {"place": each.place, "found": each.found, "wanted": each.wanted}
                for each in self.steps.problems
            ],
        }  # fmt: skip


def discover_steps(
    path: Path,
    apis: Sequence[Path] = (),
    *,
    tasks: TaskRegistry,
    change: bool = False,
    proposer: Proposer | None = None,
) -> DocumentProposals:
    """Proposals for a workflow document, searched in its sources and in `apis`.

    `change`: write them into the file. Raises NotFound, or InvalidDefinition with every problem.
    """
    document = read_document(path, limits=WORKFLOWS)
    more = tuple(read_document(each, limits=SOURCES, with_lines=False) for each in apis)
    steps = read_steps(document, folder=path.parent, tasks=tasks, more=more, proposer=proposer)
    found = write(document, steps)
    if change and found.written:
        replace_text(path, found.text)
    return DocumentProposals(
        document=path.name, steps=steps, diff=unified(path.name, document.text, found.text),
        written=found.written, left=found.left,
    )  # fmt: skip


class Accepting:
    """Acceptances of derived compensations."""

    def __init__(self, store: AcceptanceStore) -> None:
        self._store = store

    async def accept(
        self, path: Path, names: Sequence[str], *, by: str, reason: str = ""
    ) -> list[Acceptance]:
        """Accept what was derived for these steps (`step` or `workflow.step`), or for all.

        Noted in the database first, then in the document. Raises NotFound when nothing derived
        waits there, InvalidDefinition when an alias shares it with another step.
        """
        document = read_document(path, limits=WORKFLOWS)
        chosen = _chosen(document, names)
        accept(document, chosen, by=by, at="")  # can it be written at all?
        noted = await self._store.note_acceptances(
            [
                NewAcceptance(
                    workflow=each.workflow, step=each.step, digest=digest_of(each.compensation),
                    compensation=each.compensation, by=by, reason=reason,
                )
                for each in chosen
            ]
        )  # fmt: skip
        at = noted[0].at.isoformat(timespec="seconds")
        replace_text(path, accept(document, chosen, by=by, at=at))
        return noted

    async def history(self, workflow: str) -> list[Acceptance]:
        """Who has accepted what in a workflow, newest first."""
        return await self._store.acceptances(workflow)


def _chosen(document: Document, names: Sequence[str]) -> list[Pending]:
    waiting = pending(document)
    chosen = [each for each in waiting if not names or {each.step, each.name} & {*names}]
    known = {name for each in waiting for name in (each.step, each.name)}
    unknown = [name for name in names if name not in known]
    if unknown or not chosen:
        listed = ", ".join(each.name for each in waiting) or "nothing"
        problem = Problem(
            place=document.name, found=", ".join(unknown) or "nothing derived that waits",
            wanted=f"steps whose derived compensation waits for a person: {listed}",
        )  # fmt: skip
        raise NotFound("there is nothing to accept", problems=[problem])
    return chosen
