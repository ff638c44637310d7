"""Workflows tried against a sandbox: each step, then each undo in reverse, with a look in between.

    for each step:             look twice, do, look
    then back, for each undo:  look, undo, look, undo again, look

What differs between the two looks before a step changes by itself and does not count. An undo
*restores* when everything shows as before its step, *leaves a trace* when something does not, and
is *not idempotent* when the same request a second time changes something again. Nothing is stored;
gate, retries and jumps are left out. The sandbox is left as the undos leave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.core.exchange import Facts, FrozenRequest, NothingToUndo, Outcome, Response
from orchestrator.core.plan import Call, PlanStep
from orchestrator.core.states import Direction
from orchestrator.definitions.blocks import in_sequence, is_block, is_head
from orchestrator.definitions.comparing import Difference, Snapshot, differences, shown
from orchestrator.definitions.discovery.looking import reads_around, reads_before, reads_of_new
from orchestrator.definitions.discovery.steps import read_steps
from orchestrator.definitions.discovery.survey import Survey
from orchestrator.definitions.discovery.writing import accept, pending
from orchestrator.definitions.document import WORKFLOWS, parse_document, read_document
from orchestrator.definitions.editing import Editor
from orchestrator.definitions.loading import load_read
from orchestrator.definitions.problems import RequestRefused
from orchestrator.definitions.program import Program
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import InvalidInput, Problem, StepError
from orchestrator.ports import AttemptContext, Transport
from orchestrator.service.writing import replace_text

_TENANT = "default"
_GET = (("accept", "application/json"),)
MOST_DIFFERENCES = 10


class Verdict(StrEnum):
    """What came of one step and its undo, the worst first."""

    FAILS = "fails"  # the undo was refused, or its outcome is unknown
    NOT_IDEMPOTENT = "not idempotent"  # the same undo again has an effect again
    LEAVES_A_TRACE = "leaves a trace"  # something is not as before the step
    NOT_REACHED = "not reached"  # the step, or one before it, did not land
    NOT_NEEDED = "not needed"  # its condition says that there is nothing to undo
    NOT_UNDONE = "not undone"  # the document says why
    UNSEEN = "unseen"  # it went well, but no read of the API shows what it did
    RESTORES = "restores"  # everything that was looked at is as before


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """What was seen of one step."""

    step: str
    undo: str | None
    verdict: Verdict
    why: str = ""
    repeated: str = ""  # how the API answered the same undo again
    trace: tuple[Difference, ...] = ()
    again: tuple[Difference, ...] = ()  # what the repeated undo changed
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """A rehearsal of one workflow."""

    workflow: str
    steps: tuple[StepReport, ...]

    @property
    def is_good(self) -> bool:
        """Whether every step was reached, and no undo failed or had its effect twice."""
        bad = (Verdict.FAILS, Verdict.NOT_IDEMPOTENT, Verdict.NOT_REACHED)
        return not any(each.verdict in bad for each in self.steps)


@dataclass(slots=True)
class _Done:
    """A step that landed, with what was seen around it."""

    index: int
    step: PlanStep
    reads: list[tuple[str, str]]  # API and target
    before: Snapshot
    after: Snapshot
    volatile: set[tuple[str, str]]


class Rehearsing:
    """One rehearsal: a compiled workflow, what its APIs can show, and the way to the sandbox."""

    def __init__(
        self, program: Program, survey: Survey, transport: Transport, *, rehearsal_id: str
    ) -> None:
        self._program, self._survey, self._transport = program, survey, transport
        self._id = rehearsal_id
        self._inputs: Mapping[str, Any] = {}
        self._outputs: dict[str, Mapping[str, Any]] = {}
        self._reports: dict[int, StepReport] = {}

    async def run(self, inputs: Mapping[str, Any]) -> Rehearsal:
        """Do everything and undo it. Raises InvalidInput."""
        self._inputs = self._program.check_inputs(inputs)
        plan = self._program.plan
        steps = [(at, plan.steps[at]) for at in in_sequence(plan)]
        done: list[_Done] = []
        for place, (index, step) in enumerate(steps):
            if is_head(step.call) or is_block(step.call):
                continue  # the steps of its branches are done one after the other
            if step.call.is_local:  # what a called workflow is given, and gives
                self._outputs[step.id] = self._program.judge_local(index, self._facts).outputs
                continue
            if step.call.is_child:
                self._note(index, step, Verdict.NOT_UNDONE, "it begins a run of another workflow")
                continue
            if step.call.is_wait:
                self._note(index, step, Verdict.NOT_UNDONE, "it waits for somebody's answer")
                continue
            if step.call.task_name is not None:
                self._note(index, step, Verdict.NOT_UNDONE, "it calls no API over HTTP")
                continue
            landed = await self._do(index, step)
            if landed is None:
                for later, each in steps[place + 1 :]:
                    self._note(later, each, Verdict.NOT_REACHED, f"{step.id} did not land")
                break
            done.append(landed)
        for one in reversed(done):
            await self._undo(one)
        reports = tuple(self._reports[index] for index in sorted(self._reports))
        return Rehearsal(workflow=self._program.plan.workflow, steps=reports)

    # --- forward ----------------------------------------------------------------------------------

    async def _do(self, index: int, step: PlanStep) -> _Done | None:
        try:
            request = self._prepared(index, Direction.FORWARD)
        except RequestRefused as error:
            self._note(index, step, Verdict.NOT_REACHED, str(error))
            return None
        assert isinstance(request, FrozenRequest), "only undos have conditions"
        reads = self._reads_before(step, request)
        before = await self._look(reads)
        volatile = _changed_by_itself(before, await self._look(reads))
        try:
            response = await self._send(step.call, request, index, Direction.FORWARD)
        except StepError as error:
            self._note(index, step, Verdict.NOT_REACHED, str(error))
            return None
        judgement = self._program.judge(index, Direction.FORWARD, self._facts, request, response)
        if judgement.outcome is not Outcome.LANDED or not judgement.accepted:
            self._note(index, step, Verdict.NOT_REACHED, judgement.reason)
            return None
        self._outputs[step.id] = judgement.outputs
        path = str(step.call.template["path"])
        new = reads_of_new(self._survey, step.call.api, path, request, response)
        reads += [(step.call.api, each) for each in new if (step.call.api, each) not in reads]
        return _Done(index, step, reads, before, await self._look(reads), volatile)

    def _reads_before(self, step: PlanStep, request: FrozenRequest) -> list[tuple[str, str]]:
        call = step.call
        path = str(call.template["path"])
        around = reads_around(self._survey, call.api, request.method, path, request.target)
        found = [(call.api, each) for each in around]
        undos = step.compensation.calls if step.compensation is not None else ()
        for undo in (one for one in undos if one.template["kind"] == "http"):
            more = reads_before(
                self._survey, undo.api, (str(undo.template["method"]), str(undo.template["path"])),
                (request.method, path, request.target) if undo.api == call.api else ("", "", ""),
            )  # fmt: skip
            found += [(undo.api, each) for each in more]
        return list(dict.fromkeys(found))

    # --- backward ---------------------------------------------------------------------------------

    async def _undo(self, done: _Done) -> None:
        step, compensation = done.step, done.step.compensation
        if compensation is None:
            why = step.no_compensation_reason or "it changes nothing"
            self._note(done.index, step, Verdict.NOT_UNDONE, why)
            return
        if compensation.call.task_name is not None:
            self._note(done.index, step, Verdict.NOT_UNDONE, "its undo is a Python function")
            return
        try:
            request = self._prepared(done.index, Direction.BACKWARD)
        except RequestRefused as error:
            self._note(done.index, step, Verdict.FAILS, str(error))
            return
        if isinstance(request, NothingToUndo):
            self._note(done.index, step, Verdict.NOT_NEEDED, request.reason)
            return
        await self._undo_twice(done, self._program.undoing(done.index, self._facts), request)

    async def _undo_twice(self, done: _Done, undo: Call, request: FrozenRequest) -> None:
        path = str(undo.template["path"])
        around = reads_around(self._survey, undo.api, request.method, path, request.target)
        reads = list(dict.fromkeys([*done.reads, *((undo.api, each) for each in around)]))
        by_others = _places(differences(done.after, await self._look(done.reads)))
        first, why = await self._undo_once(done.index, undo, request)
        if first is None:
            self._note(done.index, done.step, Verdict.FAILS, why)
            return
        once = await self._look(reads)
        left = differences(done.before, _only(once, done.reads), volatile=done.volatile | by_others)
        second, repeated = await self._undo_once(done.index, undo, request)
        again = differences(once, await self._look(reads), volatile=done.volatile)
        if not again and second is not None and _is_new(first, second):
            text = "the answer names another thing than the first time"
            again = [Difference(read="the answer", where="/id", before="", after=text)]
        self._report(done, reads, left, again, repeated)

    async def _undo_once(
        self, index: int, undo: Call, request: FrozenRequest
    ) -> tuple[Response | None, str]:
        """The answer of an undo that landed, and how it was judged."""
        try:
            response = await self._send(undo, request, index, Direction.BACKWARD)
        except StepError as error:
            return None, str(error)
        judgement = self._program.judge(index, Direction.BACKWARD, self._facts, request, response)
        good = judgement.outcome is Outcome.LANDED and judgement.accepted
        return (response if good else None), judgement.reason or f"status {response.status}"

    def _report(
        self, done: _Done, reads: Sequence[tuple[str, str]], left: list[Difference],
        again: list[Difference], repeated: str,
    ) -> None:  # fmt: skip
        verdict = Verdict.RESTORES
        if again:
            verdict = Verdict.NOT_IDEMPOTENT
        elif left:
            verdict = Verdict.LEAVES_A_TRACE
        elif not differences(done.before, done.after, volatile=done.volatile):
            verdict = Verdict.UNSEEN
        assert done.step.compensation is not None, "something was undone"
        self._reports[done.index] = StepReport(
            step=done.step.id, undo=done.step.compensation.call.label, verdict=verdict,
            repeated=repeated, trace=tuple(left[:MOST_DIFFERENCES]),
            again=tuple(again[:MOST_DIFFERENCES]), reads=tuple(_shown_read(r) for r in reads),
        )  # fmt: skip

    # --- small parts ------------------------------------------------------------------------------

    @property
    def _facts(self) -> Facts:
        return Facts(run_id=self._id, inputs=self._inputs, outputs=self._outputs)

    def _prepared(self, index: int, direction: Direction) -> FrozenRequest | NothingToUndo:
        return self._program.prepare(index, direction, self._facts)

    async def _send(
        self, call: Call, request: FrozenRequest, index: int, direction: Direction
    ) -> Response:
        context = AttemptContext(
            run_id=self._id, step_id=self._program.plan.steps[index].id, attempt=1,
            direction=direction, tenant=_TENANT,
        )  # fmt: skip
        return await self._transport.send(
            call.api, request, context, timeout_seconds=call.timeout_seconds
        )

    async def _look(self, reads: Sequence[tuple[str, str]]) -> Snapshot:
        seen = {}
        for api, target in reads:
            request = FrozenRequest(method="GET", target=target, headers=_GET)
            context = AttemptContext(
                run_id=self._id, step_id="look", attempt=1, direction=Direction.FORWARD,
                tenant=_TENANT,
            )  # fmt: skip
            try:
                answer = await self._transport.send(api, request, context, timeout_seconds=None)
                seen[_shown_read((api, target))] = shown(answer.status, _body(answer))
            except StepError as error:
                seen[_shown_read((api, target))] = {"": str(error)}
        return seen

    def _note(self, index: int, step: PlanStep, verdict: Verdict, why: str) -> None:
        undo = None if step.compensation is None else step.compensation.call.label
        self._reports[index] = StepReport(step=step.id, undo=undo, verdict=verdict, why=why)


def _shown_read(read: tuple[str, str]) -> str:
    return f"GET {read[1]} of {read[0]}"


def _body(response: Response) -> Any:
    try:
        return msgspec.json.decode(response.body)
    except ValueError:
        return response.body.decode("utf-8", "replace")


def _changed_by_itself(first: Snapshot, second: Snapshot) -> set[tuple[str, str]]:
    return _places(differences(first, second))


def _places(found: Sequence[Difference]) -> set[tuple[str, str]]:
    return {(each.read, each.where) for each in found}


def _only(snapshot: Snapshot, reads: Sequence[tuple[str, str]]) -> Snapshot:
    wanted = {_shown_read(each) for each in reads}
    return {name: value for name, value in snapshot.items() if name in wanted}


def _is_new(first: Response, second: Response) -> bool:
    """Whether two successful answers name two things: each undo has made one of its own."""
    names = [
        body.get("id") if isinstance(body := _body(r), dict) else None for r in (first, second)
    ]
    return None not in names and names[0] != names[1]


@dataclass(frozen=True, slots=True)
class Rehearsable:
    """A workflow that can be rehearsed; derived compensations count as accepted."""

    program: Program
    survey: Survey

    def addresses(self, given: Sequence[str]) -> dict[str, str]:
        """The sandbox of each API that it calls, from `URL` (for all) and `API=URL`.

        Raises InvalidInput when one is missing, or names no API of the workflow.
        """
        apis = sorted(set(self._apis()))
        named = [_pair(each) for each in given]
        urls = dict(named)
        problems = [
            Problem(place="--against", found=name, wanted=f"an API of it: {', '.join(apis)}")
            for name in urls if name and name not in apis
        ] + [
            Problem(place="--against", found=f"no address for {name}", wanted=f"{name}=URL, or URL")
            for name in apis if name not in urls and "" not in urls
        ]  # fmt: skip
        if problems:
            raise InvalidInput("each API needs a sandbox", problems=problems)
        return {name: urls.get(name) or urls[""] for name in apis}

    def _apis(self) -> Iterator[str]:
        for step in self.program.plan.steps:
            undo = step.compensation
            for call in (step.call, *(undo.calls if undo else ())):
                if not (call.is_local or call.is_answered) and call.task_name is None:
                    yield call.api


def _pair(text: str) -> tuple[str, str]:
    """`API=URL`, or `URL` for all. Raises InvalidInput for what is no address."""
    name, equals, url = text.partition("=")
    if not equals or "/" in name:
        name, url = "", text
    if not url.startswith(("http://", "https://")):
        problem = Problem(
            place="--against", found=text, wanted="URL or API=URL, with http or https"
        )
        raise InvalidInput("that is no address", problems=[problem])
    return name, url.rstrip("/")


def read_rehearsable(path: Path, *, workflow_id: str | None, tasks: TaskRegistry) -> Rehearsable:
    """The one workflow of a document, or the one named.

    Raises InvalidDefinition, NotFound, and InvalidInput when it has to be named.
    """
    document = read_document(path, limits=WORKFLOWS)
    text = accept(document, pending(document), by="a rehearsal", at="")
    document = parse_document(text, name=document.name)
    loaded = load_read(document, folder=path.parent, workflow_id=workflow_id, tasks=tasks)
    if len(loaded) != 1:
        names = ", ".join(each.plan.workflow for each in loaded)
        problem = Problem(
            place=path.name, found=f"{len(loaded)} workflows", wanted=f"one of {names}"
        )
        raise InvalidInput("one workflow at a time is rehearsed", problems=[problem])
    survey = read_steps(document, folder=path.parent, tasks=tasks).survey
    return Rehearsable(Program(loaded[0].plan), survey)


def note_rehearsal(path: Path, workflow: str, *, on: date) -> None:
    """Write the day of a rehearsal that went well into the document (`x-rehearsed`)."""
    document = read_document(path, limits=WORKFLOWS)
    workflows = document.value["workflows"]
    index = next(n for n, each in enumerate(workflows) if each.get("workflowId") == workflow)
    editor = Editor(document.text)
    editor.put(("workflows", index), "x-rehearsed", on.isoformat())
    replace_text(path, editor.text)
