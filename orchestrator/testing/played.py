"""What came of a run in a lab, and of the runs that its steps have begun.

Branches of a parallel block and workflows that a step begins are runs of their own, and so is what
undoes them. What a test asks of a run (`done`, `undone`, `effects` …) is of all of them together;
a step of another workflow is called `workflow.step` then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.plan import PlanStep
from orchestrator.core.states import RunStatus
from orchestrator.ports import AuditRecord, EscalationRecord, RunRecord, StepRecord, WaitRecord
from orchestrator.testing import tree
from orchestrator.testing.definitions import Definition
from orchestrator.testing.faults import Link, Way
from orchestrator.testing.scripts import Sent
from orchestrator.testing.tree import Enters, Visit


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """A run as it stands, and all that was asked of its APIs and functions."""

    definition: Definition = field(repr=False)
    record: RunRecord = field(repr=False)
    steps: Sequence[StepRecord] = field(repr=False)  # its own, as its audit, escalations, waits
    sent: Sequence[Sent] = field(repr=False)  # in order; by the runs below it as well
    audit: Sequence[AuditRecord] = field(repr=False)
    escalations: Sequence[EscalationRecord] = field(repr=False)
    waits: Sequence[WaitRecord] = field(repr=False)
    seconds: float  # of virtual time, since it was submitted
    children: Sequence[Played] = field(default=(), repr=False)
    """Branches, runs of other workflows that steps have begun, and those that undo either."""

    @property
    def id(self) -> str:
        """Of the run."""
        return self.record.id

    @property
    def status(self) -> RunStatus:
        """Compares equal to its name: "succeeded", "compensated", "escalated", "waiting"."""
        return self.record.status

    @property
    def outputs(self) -> Mapping[str, Any]:
        """Of the workflow; empty unless it has succeeded."""
        return self.record.outputs or {}

    @property
    def cause(self) -> str:
        """Why it turned back, in the engine's words."""
        return self.record.cause

    @property
    def runs(self) -> list[Played]:
        """Itself, and all below it."""
        return [self, *(each for child in self.children for each in child.runs)]

    @property
    def done(self) -> list[str]:
        """Steps that landed, in the order in which they did; a step may be there twice."""
        return self.done_below(lambda run, step: True)

    @property
    def undone(self) -> list[str]:
        """Steps whose undo landed, or was not needed, the first one undone first."""
        return self.undone_below(lambda run, step: True)

    def done_below(self, enters: Enters) -> list[str]:
        """As `done`, of those runs only that these steps have begun."""
        return [self._name(each) for each in tree.done(self, enters)]

    def undone_below(self, enters: Enters) -> list[str]:
        """As `undone`, of those runs only that these steps have begun."""
        return [self._name(each) for each in tree.undone(self, enters)]

    @property
    def effects(self) -> list[str]:
        """What the APIs have done, in order: `charge`, `undo charge`. Each as often as it was."""
        return [str(self.link_of(each)) for each in self.sent if each.had_effect]

    @property
    def calls(self) -> list[str]:
        """Every request in order, those included that went wrong: `charge`, `verify charge`."""
        return [str(self.link_of(each)) for each in self.sent]

    @property
    def escalation(self) -> EscalationRecord | None:
        """The open one, if there is one; of several that of the run that began first."""
        every = (each for run in self.runs for each in run.escalations)
        return next((each for each in every if each.closed_at is None), None)

    def requests(self, step: str, *, undo: bool = False, verify: bool = False) -> list[Sent]:
        """What one call was sent, attempt by attempt."""
        link = Link(step, Way.of(undo=undo, verify=verify))
        return [each for each in self.sent if self.link_of(each) == link]

    def link_of(self, sent: Sent) -> Link:
        """Which call a request was of, with the step's name as it is here."""
        return Link(self.name_of(sent.run_id, sent.link.step), sent.link.way)

    def name_of(self, run_id: str, step: str) -> str:
        """What a step of one of these runs is called here."""
        workflow = next(each.definition.name for each in self.runs if each.id == run_id)
        return step if workflow == self.definition.name else f"{workflow}.{step}"

    def step(self, name: str) -> PlanStep:
        """The step of this name, of the plan of this run or of one below."""
        known = {
            self.name_of(run.id, step.id): step
            for run in self.runs
            for step in run.definition.steps
        }
        return known[name]

    def _name(self, visit: Visit) -> str:
        return self.name_of(visit.run.id, visit.step.step_id)

    def __str__(self) -> str:
        lines = [f"{self.definition.name}: {self.status} after {self.seconds:.1f} s"]
        if self.cause:
            lines.append(f"  because {self.cause}")
        lines += [f"  {_line(each, self.link_of(each))}" for each in self.sent]
        if self.escalation is not None:
            lines.append(f"  escalated: {self.escalation.reason}: {self.escalation.detail}")
        return "\n".join(lines)


def _line(sent: Sent, link: Link) -> str:
    what = str(sent.status or "no answer")
    if sent.fault is not None:
        what += f" ({sent.fault})"
    effect = "done" if sent.had_effect else "-"
    return f"{sent.at:8.2f} s  {link!s:<20} {effect:<5} {sent.method} {sent.target}  {what}"
