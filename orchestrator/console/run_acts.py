"""What a person can do about one run: end it, pause and resume it, run it again from a step."""

from __future__ import annotations

from nicegui import ui

from orchestrator.console.asking import Again, Question, ask
from orchestrator.console.desk import Visitor
from orchestrator.console.frame import keyed, moment
from orchestrator.console.links import link_to
from orchestrator.console.pauses import ask_to_pause, resume_button
from orchestrator.core.events import CancelMode
from orchestrator.core.states import SETTLED
from orchestrator.ports import Role
from orchestrator.service.pausing import Scope
from orchestrator.service.principal import Principal
from orchestrator.service.rerunning import Rerun, never_again
from orchestrator.service.runs import RunView


def draw_acts(visitor: Visitor, view: RunView, again: Again) -> None:
    """The buttons that make sense as the run stands."""
    run, pause = view.run, view.stopped_by
    if pause is not None:
        until = f" until {moment(pause.until)}" if pause.until else ""
        ui.label(f"stopped by a pause of {pause.scope}{until}: {pause.reason} ({pause.by})")
        if pause.run_id is not None:
            keyed(resume_button(visitor, pause, again), "p")
        else:
            link_to("Pauses", "/pauses")
    elif run.status not in SETTLED:
        button = ui.button(
            "Pause…", on_click=lambda: ask_to_pause(visitor, Scope(run_id=run.id), again)
        )
        keyed(button.props("outline dense").classes("q-px-sm"), "p")
    if run.status not in SETTLED and run.cancel is None:
        button = ui.button("Cancel…", on_click=lambda: _ask_to_cancel(visitor, view, again))
        keyed(button.props("outline dense color=negative").classes("q-px-sm"), "x")
    if not never_again(run, view.plan):
        button = ui.button("Run again from…", on_click=lambda: _ask_to_rerun(visitor, view))
        keyed(button.props("outline dense").classes("q-px-sm"), "r")


def _ask_to_cancel(visitor: Visitor, view: RunView, again: Again) -> None:
    stop: list[ui.checkbox] = []

    def more() -> None:
        stop.append(ui.checkbox("Leave what is done as it is (role admin); it ends abandoned"))

    async def cancel(who: Principal, reason: str) -> str:
        mode = CancelMode.STOP if stop[0].value else CancelMode.UNDO
        if mode is CancelMode.STOP:
            who.require(Role.ADMIN)
        await visitor.services.runs.cancel(view.run.id, mode=mode, reason=reason, by=who.name)
        return "It has been asked to end."

    ask(visitor, Question(
        title="Cancel this run", verb="Cancel the run", does=cancel, more=more, grave=True,
        means="What it did is undone, and it ends compensated.",
    ), again)  # fmt: skip


def _ask_to_rerun(visitor: Visitor, view: RunView) -> None:
    run = view.run
    steps = list(dict.fromkeys(each.step_id for each in view.forward))
    fields: dict[str, ui.select | ui.number | ui.checkbox] = {}

    def more() -> None:
        failed = next((each.step_id for each in view.forward if each.record.error), steps[0])
        fields["step"] = ui.select(steps, value=failed, label="From step").classes("w-full")
        fields["version"] = ui.number("Version of the workflow", value=run.version, min=1)
        fields["version"].props("step=1").classes("w-full")
        fields["effects"] = ui.checkbox("Effects from there on that stand may come a second time")

    async def rerun(who: Principal, reason: str) -> str:
        accepted = await visitor.services.rerunning.rerun(Rerun(
            run_id=run.id, step=str(fields["step"].value), by=who.name, reason=reason,
            version=int(fields["version"].value or run.version),
            repeat_effects=bool(fields["effects"].value),
        ))  # fmt: skip
        ui.navigate.to(f"/runs/{accepted.run_id}")
        return "A new run goes on from there."

    ask(visitor, Question(
        title="Run again from a step", verb="Run again", does=rerun, more=more,
        means="A new run with the same inputs takes over what this one did before that step.",
    ))  # fmt: skip
