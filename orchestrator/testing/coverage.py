"""Which ways through workflows no test has taken: steps, failures, undos, actions of authors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from orchestrator.core.plan import Call
from orchestrator.core.states import HAPPENED, LinkStatus
from orchestrator.testing.definitions import Definition
from orchestrator.testing.played import Played

_FAILED = (LinkStatus.FAILED, LinkStatus.HANDLED, LinkStatus.UNKNOWN)


@dataclass(slots=True)
class Coverage:
    """What the runs of some labs went through. Targets are texts: `undo charge`."""

    _wanted: dict[str, dict[str, bool]] = field(default_factory=dict)  # workflow -> target -> taken

    def know(self, definitions: Sequence[Definition]) -> None:
        """Count these workflows, too, whether a run goes through them or not."""
        for each in definitions:
            targets = self._wanted.setdefault(each.name, {})
            for target in targets_of(each):
                targets.setdefault(target, False)

    def count(self, run: Played) -> None:
        """Add what a run went through, and those that its steps have begun."""
        for each in run.runs:
            targets = self._wanted[each.definition.name]
            for target in taken_by(each):
                if target in targets:
                    targets[target] = True

    def to_json(self) -> dict[str, dict[str, bool]]:
        """Workflow -> target -> whether it was taken."""
        return {name: dict(targets) for name, targets in self._wanted.items()}

    def add(self, other: Mapping[str, Mapping[str, bool]]) -> None:
        """What another process counted, as `to_json` says it."""
        for name, targets in other.items():
            mine = self._wanted.setdefault(name, {})
            for target, taken in targets.items():
                mine[target] = mine.get(target, False) or taken

    @property
    def share(self) -> float:
        """The part of all targets that was taken, 0 to 1; 1 where there are none."""
        all_of_them = [taken for one in self._wanted.values() for taken in one.values()]
        return sum(all_of_them) / len(all_of_them) if all_of_them else 1.0

    def missing(self, workflow: str) -> list[str]:
        """Targets of a workflow that no run has taken, in the order of its steps."""
        return [target for target, taken in self._wanted[workflow].items() if not taken]

    def report(self) -> list[str]:
        """For people: each workflow with what is missing."""
        lines = []
        for name, targets in sorted(self._wanted.items()):
            missing = self.missing(name)
            lines.append(f"{name}: {len(targets) - len(missing)} of {len(targets)}")
            if missing:
                never = f"never: {', '.join(missing)}"
                lines += wrap(never, 100, initial_indent="  ", subsequent_indent="    ")
        return lines


def targets_of(definition: Definition) -> Iterator[str]:
    """What a test could go through."""
    for step in definition.steps:
        if step.call.is_local:
            continue
        yield step.id
        yield f"{step.id} fails"
        undos = () if step.compensation is None else step.compensation.calls
        for number, _ in enumerate(undos, start=1):
            yield _undo(step.id, number, len(undos))
    for index, step in enumerate(definition.steps):
        for told in definition.program.actions_of(index):
            yield _action(step.id, told.get("on"), told.get("name") or told.get("type"))


def taken_by(run: Played) -> Iterator[str]:
    """What a run went through by itself."""
    for each in run.steps:
        if each.forward.link.status in HAPPENED:
            yield each.step_id
        if each.forward.link.status in _FAILED:
            yield f"{each.step_id} fails"
    for record in run.audit:
        step, action = record.data.get("step"), record.data.get("action")
        if action is not None:
            yield _action(step, action.get("on"), action.get("name") or action.get("type"))
    for each in run.steps:
        compensation = run.definition.step(each.step_id).compensation
        if compensation is not None and each.undo.link.status in HAPPENED:
            calls = compensation.calls
            for number in _cases(run, each.step_id, calls):
                yield _undo(each.step_id, number, len(calls))


def _cases(run: Played, step: str, calls: Sequence[Call]) -> set[int]:
    """Which of several calls undid it, by their place."""
    if len(calls) == 1:
        return {1}
    sent = [each.call for each in run.requests(step, undo=True)]
    return {number for number, call in enumerate(calls, 1) if any(call is one for one in sent)}


def _undo(step: str, number: int, of: int) -> str:
    return f"undo {step}" if of == 1 else f"undo {step} (case {number})"


def _action(step: object, on: object, name: object) -> str:
    return f"{step} {on}: {name}"
