"""One run, played to its end on the real engine in virtual time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.core.plan import Effects, Plan
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.core.states import HAPPENED, SETTLED
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import parse_document
from orchestrator.definitions.loading import Loaded
from orchestrator.definitions.problems import Findings
from orchestrator.definitions.program import Program
from orchestrator.definitions.sources import Sources
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import RefusedError
from orchestrator.ports import Asks, WaitRecord
from orchestrator.ports.simulating import Ending, Failed, Simulated, SimulatedCall
from orchestrator.simulation.recorded import Replayed, results
from orchestrator.testing.api import NoAnswer
from orchestrator.testing.faults import Fault, Link, Way
from orchestrator.testing.lab import Lab, NotSettled
from orchestrator.testing.played import Played
from orchestrator.testing.scripts import Sent

MOST_CALLS = 500
MOST_ANSWERS = 50  # of people and programs
_READ = re.compile(r"\$steps\.([A-Za-z0-9_/-]+)\.outputs\.([A-Za-z0-9_-]+)")


def play(wanted: Simulated) -> Ending | Failed:
    """Play it; what stands in its way is told, not raised."""
    plans = [plan_from_json(text) for text in wanted.plans]
    definitions = [
        Replayed(
            Loaded(plan=plan, document=""), Program(plan),
            _sources(wanted) if number == 0 else Sources(),
            wanted.recorded if number == 0 else {},
        )
        for number, plan in enumerate(plans)
    ]  # fmt: skip
    with Lab(definitions) as lab:
        for definition in definitions:
            _script_functions(lab, definition, wanted)
        refused = _fail(lab, definitions[0], wanted.fail_at)
        if refused is not None:
            return refused
        try:
            return _played(lab, plans[0], wanted)
        except NotSettled as error:
            first = str(error).splitlines()[0]
            return Failed(found=first, wanted="a run that comes to its end by itself")
        except (NoAnswer, RefusedError) as error:
            wish = "an answer that can be made up, or a run whose answers are taken"
            return Failed(found=str(error).partition("; say what")[0], wanted=wish)


def _sources(wanted: Simulated) -> Sources:
    """The documents of its APIs, as far as they are there; without them values are made up."""
    if not wanted.document:
        return Sources()
    try:
        document = parse_document(wanted.document, name="the workflow")
        root = Cursor(document, Findings(), document.value)
        return Sources.of(root, folder=Path(wanted.folder), tasks=TaskRegistry(()))
    except RefusedError:  # it was written in Python
        return Sources()


def _script_functions(lab: Lab, definition: Replayed, wanted: Simulated) -> None:
    """No function is called."""
    text = plan_to_json(definition.loaded.plan)
    for link in definition.links():
        call = definition.calls(link)[0]
        if call.task_name is None:
            continue
        read = [name for step, name in _READ.findall(text) if step == link.step]
        is_step = link.way is Way.DO
        visits = definition.recorded.get(link.step, ()) if is_step else ()
        lab.script.reply(link, *results(call, wanted.results, read if is_step else (), visits))


def _fail(lab: Lab, definition: Replayed, step: str | None) -> Failed | None:
    """Refuse this step's call, whenever it comes."""
    if step is None:
        return None
    asking = [each.id for each in definition.steps if _asks_people(each.call.template)]
    if step in asking:
        return None  # it is rejected when it is asked
    steps = [link.step for link in definition.links() if link.way is Way.DO]
    if step not in steps:
        wanted = f"one of {', '.join([*steps, *asking])}"
        return Failed(found=f"fail_at {step}, which asks nobody for anything", wanted=wanted)
    lab.fail(step, Fault.REFUSED, times=None)
    return None


def _asks_people(template: Mapping[str, Any]) -> bool:
    return template.get("asks") == Asks.APPROVAL


def _played(lab: Lab, plan: Plan, wanted: Simulated) -> Ending:
    run = lab.run(plan.workflow, **wanted.inputs)
    supposed: list[str] = []
    while run.status not in SETTLED:
        wait = next(each for each in run.waits if each.is_open)
        if len(supposed) == MOST_ANSWERS:
            raise NotSettled(f"after {MOST_ANSWERS} answers it still asks for more")
        run = _answered(lab, run, wait, wanted, supposed)
    return _told(lab, run, wanted, supposed)


def _answered(
    lab: Lab, run: Played, wait: WaitRecord, wanted: Simulated, supposed: list[str]
) -> Played:
    """As it was answered before, or as it has to be for the run to go on."""
    visits = wanted.recorded.get(wait.step_id, ())
    before = visits[-1].outputs if visits else {}
    if wait.asks is Asks.APPROVAL:
        approve = wait.step_id != wanted.fail_at
        supposed.append(f"{wait.step_id}: {'approved' if approve else 'rejected'}")
        return lab.decide(run, approve=approve, data=before.get("data"))
    template = run.definition.step(wait.step_id).call.template
    read = [
        name
        for step, name in _READ.findall(str(run.definition.loaded.plan))
        if step == wait.step_id
    ]
    told = dict(before) if before else dict.fromkeys(read, "text")
    supposed.append(f"{wait.step_id}: signal {wait.signal}{' as recorded' if before else ''}")
    assert template.get("asks") == Asks.SIGNAL, "a sleep ends by itself"
    return lab.signal(run, wait.signal or "", told)


def _told(lab: Lab, run: Played, wanted: Simulated, supposed: Sequence[str]) -> Ending:
    sent = lab.world.sent
    undone = set(run.undone)
    escalation = run.escalation
    gave = {
        each.step_id: each.forward.outputs
        for each in run.steps
        if each.forward.link.status in HAPPENED and each.forward.outputs is not None
    }
    stays = [
        step for step in dict.fromkeys(run.done)
        if step not in undone and run.definition.step(step).call.effects is not Effects.NONE
    ]  # fmt: skip
    return Ending(
        status=str(run.status), cause=run.cause, seconds=round(run.seconds, 3),
        outputs=run.outputs, done=run.done, undone=run.undone, stays=stays, gave=gave,
        calls=[_call(each, run, wanted) for each in sent[:MOST_CALLS]],
        left_out=max(len(sent) - MOST_CALLS, 0), supposed=list(supposed),
        escalated="" if escalation is None else f"{escalation.reason}: {escalation.detail}",
    )  # fmt: skip


def _call(sent: Sent, run: Played, wanted: Simulated) -> SimulatedCall:
    own = sent.run_id == run.id
    return SimulatedCall(
        step=sent.link.step, way=str(sent.link.way), api=sent.api, method=sent.method,
        target=sent.target, headers=sent.headers, body=sent.body, key=sent.key,
        seconds=round(sent.at, 3), status=sent.status,
        recorded=own and sent.link == Link(sent.link.step) and sent.link.step in wanted.recorded
        and sent.fault is None,
    )  # fmt: skip
