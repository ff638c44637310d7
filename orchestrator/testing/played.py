"""What came of a run in a lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.states import HAPPENED, LinkStatus, RunStatus
from orchestrator.ports import AuditRecord, EscalationRecord, RunRecord, StepRecord, WaitRecord
from orchestrator.testing.definitions import Definition
from orchestrator.testing.faults import Link, Way
from orchestrator.testing.scripts import Sent


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """A run as it stands, and all that was asked of its APIs and functions."""

    definition: Definition = field(repr=False)
    record: RunRecord = field(repr=False)
    steps: Sequence[StepRecord] = field(repr=False)
    sent: Sequence[Sent] = field(repr=False)  # in order
    audit: Sequence[AuditRecord] = field(repr=False)
    escalations: Sequence[EscalationRecord] = field(repr=False)
    waits: Sequence[WaitRecord] = field(repr=False)
    seconds: float  # of virtual time, since it was submitted

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
    def done(self) -> list[str]:
        """Steps that landed, in the order in which they did; a step may be there twice."""
        return [each.step_id for each in self.steps if each.forward.link.status in HAPPENED]

    @property
    def undone(self) -> list[str]:
        """Steps whose undo landed, or was not needed, the first one undone first."""
        return [each.step_id for each in reversed(self.steps) if self._is_undone(each)]

    def _is_undone(self, visit: StepRecord) -> bool:
        status = visit.undo.link.status
        if status is LinkStatus.NOT_NEEDED:  # said of a step without an undo as well
            return self.definition.step(visit.step_id).compensation is not None
        return status in HAPPENED

    @property
    def effects(self) -> list[str]:
        """What the APIs have done, in order: `charge`, `undo charge`. Each as often as it was."""
        return [str(each.link) for each in self.sent if each.had_effect]

    @property
    def calls(self) -> list[str]:
        """Every request in order, those included that went wrong: `charge`, `verify charge`."""
        return [str(each.link) for each in self.sent]

    @property
    def escalation(self) -> EscalationRecord | None:
        """The open one, if there is one."""
        return next((each for each in self.escalations if each.closed_at is None), None)

    def requests(self, step: str, *, undo: bool = False, verify: bool = False) -> list[Sent]:
        """What one call was sent, attempt by attempt."""
        link = Link(step, Way.of(undo=undo, verify=verify))
        return [each for each in self.sent if each.link == link]

    def __str__(self) -> str:
        lines = [f"{self.definition.name}: {self.status} after {self.seconds:.1f} s"]
        if self.cause:
            lines.append(f"  because {self.cause}")
        lines += [f"  {_line(each)}" for each in self.sent]
        if self.escalation is not None:
            lines.append(f"  escalated: {self.escalation.reason}: {self.escalation.detail}")
        return "\n".join(lines)


def _line(sent: Sent) -> str:
    what = str(sent.status or "no answer")
    if sent.fault is not None:
        what += f" ({sent.fault})"
    effect = "done" if sent.had_effect else "-"
    return f"{sent.at:8.2f} s  {sent.link!s:<20} {effect:<5} {sent.method} {sent.target}  {what}"
