"""Other values for steps of a run that have not begun: proposed here, confirmed by an approver."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from nicegui import ui

from orchestrator.console.asking import Again, Question, ask
from orchestrator.console.desk import Visitor
from orchestrator.console.frame import keyed, tell
from orchestrator.core.states import SETTLED, Direction
from orchestrator.definitions.step_edits import Editable
from orchestrator.definitions.values import ABSENT
from orchestrator.errors import InvalidInput, OrchestratorError, Problem
from orchestrator.ports import RunRecord
from orchestrator.service.principal import Principal

MEANS = (
    "An approver has to confirm it; until then the run goes on as it would. Pause it first if it"
    " must not come to the step meanwhile."
)


def draw_edit(visitor: Visitor, run: RunRecord, again: Again) -> None:
    """The button, on a run that goes forward."""
    if run.status not in SETTLED and run.direction is Direction.FORWARD:
        button = ui.button("Other values…", on_click=partial(_ask, visitor, run, again))
        keyed(button.props("outline dense").classes("q-px-sm"), "v")


def draw_edits(run: RunRecord) -> None:
    """What was given other values already; the run is as it may be shown."""
    for step, values in run.edits.items():
        told = ", ".join(f"{name}={json.dumps(value)}" for name, value in values.items())
        ui.label(f"{step} sends {told}")


async def _ask(visitor: Visitor, run: RunRecord, again: Again) -> None:
    try:
        ahead = await visitor.services.editing.ahead(run.id)
    except OrchestratorError as error:
        tell(error)
        return
    if not ahead:
        ui.notify("No step that has not begun sends anything that can be another value.")
        return
    form = _Form(ahead)

    async def propose(who: Principal, reason: str) -> str:
        await visitor.services.editing.propose(
            run.id, form.step, form.changed(), by=who.name, reason=reason, via="console"
        )
        return "It is proposed: an approver has to confirm it."

    ask(visitor, Question(
        title="Other values for a later step", verb="Propose it", does=propose, means=MEANS,
        more=form.draw,
    ), again)  # fmt: skip


class _Form:
    """A step, and its values as fields."""

    def __init__(self, ahead: Mapping[str, Sequence[Editable]]) -> None:
        self._ahead = ahead
        self._fields: dict[str, ui.input] = {}

    def draw(self) -> None:
        steps = list(self._ahead)
        self._step = ui.select(steps, value=steps[0], label="Step").classes("w-full")
        with ui.element("div").classes("w-full column") as box:
            self._values()

        def other_step() -> None:
            box.clear()
            with box:
                self._values()

        self._step.on_value_change(other_step)

    @property
    def step(self) -> str:
        """The one that was chosen."""
        return str(self._step.value)

    def changed(self) -> Mapping[str, Any]:
        """By name. Raises InvalidInput where nothing was."""
        found = {
            each.name: typed_value(self._fields[each.name].value or "", each.now)
            for each in self._ahead[self.step]
            if (self._fields[each.name].value or "") != _as_typed(each.now)
        }
        if not found:
            problem = Problem(place=self.step, found="nothing changed", wanted="another value")
            raise InvalidInput("which value is to be another one?", problems=[problem])
        return found

    def _values(self) -> None:
        self._fields = {}
        for each in self._ahead[self.step]:
            label = each.name
            if each.now is ABSENT:
                label = f"{each.name} (not known yet: {json.dumps(each.planned, default=str)})"
            field = ui.input(label, value=_as_typed(each.now)).classes("w-full").props("dense")
            self._fields[each.name] = field


def _as_typed(now: Any) -> str:
    if now is ABSENT:
        return ""
    return now if isinstance(now, str) else json.dumps(now, default=str)


def typed_value(text: str, before: Any) -> Any:
    """What was typed: text where text stood, else JSON; what is no JSON is text, which is refused
    where another kind has to stand."""
    if isinstance(before, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
