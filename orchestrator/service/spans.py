"""The spans of a run, made from what its commits have recorded: nothing is measured beside that.

    run                          from acceptance to the first settling; its parent is the submitter
      receive default.forward    until a worker took it up
      STEP / undo STEP           a link, from its first intent to its last outcome
        gate API                 kept before the gate, or parked by it
        METHOD LABEL             an attempt; after one that was lost with its worker, a link to it
        wait ANSWER|RETRY|PAUSE
      resumed                    what came of a person's decision about an escalation, to the next
        …                        settling; linked to what it goes on from

A link's spans are told of once the run has left it, and the run's own once the segment has ended:
so no span is told of twice with different ends, what a span has a link to is told of before it or
with it, and of a run under way its parent alone is missing. Attributes keep to OpenTelemetry's
semantic conventions where these have a name; all others begin with `orchestrator.`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from orchestrator.core.exchange import Outcome
from orchestrator.core.plan import Plan
from orchestrator.core.states import FINAL, Direction, RunStatus
from orchestrator.core.tracing import (
    TraceContext,
    attempt_span_id,
    context_of,
    is_failure,
    span_id,
)
from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    RunRecord,
    StepRecord,
    queue_name,
)
from orchestrator.ports.tracing import AttributeValue, Span, SpanEvent, SpanKind
from orchestrator.service.chronicle import GATE, Pause, Segment, Try, Visit, segments_of

Attributes = dict[str, AttributeValue]
TASK = "TASK"
_DOUBT = timedelta(milliseconds=1)
"""An attempt's own times and those of the journal come from one clock, one after the other."""


class Traced:
    """All that is known of a run, to make spans of."""

    def __init__(
        self,
        run: RunRecord,
        plan: Plan,
        steps: Sequence[StepRecord],
        attempts: Sequence[AttemptRecord],
        audit: Sequence[AuditRecord],
        *,
        broker: str,
    ) -> None:
        self._run, self._plan, self._steps = run, plan, steps
        self._attempts, self._broker = attempts, broker
        self.segments = segments_of(run.created_at, audit)
        self.upto = audit[-1].seq if audit else 0
        """The last record of the audit that is known."""
        self._looked = (
            audit[0].data.get("looked", ()) if audit else ()
        )  # by an agent, see `looking`
        self._context: TraceContext = context_of(run.id, run.traceparent, run.tracestate)
        self._root = span_id(run.id, "run")

    @property
    def has_ended(self) -> bool:
        """Nothing more is to come."""
        last = self.segments[-1] if self.segments else None
        return last is not None and last.last_seq is not None and last.status in FINAL

    def spans(self, *, told: int) -> list[Span]:
        """Those that the audit's records after `told` have brought to their end."""
        return [
            span for segment in self.segments
            if segment.last_seq is None or segment.last_seq > told
            for seq, span in self._of_segment(segment) if seq > told
        ]  # fmt: skip

    # --- a segment --------------------------------------------------------------------------------

    def _of_segment(self, segment: Segment) -> list[tuple[int, Span]]:
        """Each with the record of the audit that has brought it to its end; the segment's own span
        first, if it has ended."""
        own, found = self._segment_id(segment.number), list[tuple[int, Span]]()
        visited = {visit.at for visit in segment.visits}
        if segment.number == 0 and segment.first_worker_at is not None:
            received = self._received(segment.first_worker_at, own)
            found.append((segment.first_worker_seq, received))
        for visit in segment.visits:
            if visit.left_seq is not None:
                spans = self._of_visit(visit, segment, own)
                found += [(visit.left_seq, span) for span in spans]
        if segment.last_seq is None:
            return found
        for pause in segment.pauses:
            if pause.at not in visited:  # it never came to that link in this segment
                found.append((segment.last_seq, self._waited(pause, own)))
        head = _around(self._head(segment, own), [span for _, span in found])
        return [(segment.last_seq, head), *found]

    def _segment_id(self, number: int) -> str:
        return self._root if number == 0 else span_id(self._run.id, "resumed", number)

    def _head(self, segment: Segment, own: str) -> Span:
        first, run = segment.number == 0, self._run
        attributes: Attributes = {
            "orchestrator.run.id": run.id,
            "orchestrator.run.status": segment.status,
            "orchestrator.workflow.name": run.workflow,
            "orchestrator.workflow.version": run.version,
            "orchestrator.tenant": run.tenant,
            "enduser.id": run.actor,
        }
        events = [
            SpanEvent(at=each.at, name=each.kind, attributes={"orchestrator.actor": each.actor})
            for each in segment.happenings
        ]
        if first and self._looked:
            attributes |= _of_agent(run, self._looked[-1])
            events = [*map(_look, self._looked), *events]
        return self._span(
            own, self._context.parent_id if first else self._root,
            f"run {run.workflow}" if first else f"resumed {run.workflow}",
            segment.begun_at, segment.ended_at,
            attributes=attributes, events=tuple(events),
            links=() if first else (self._segment_id(segment.number - 1),),
            error=_why_failed(segment.status, run.cause),
        )  # fmt: skip

    def _received(self, at: datetime, parent: str) -> Span:
        queue = queue_name(self._run.lane, Direction.FORWARD, urgent=self._run.priority > 0)
        return self._span(
            span_id(self._run.id, "received"), parent, f"receive {queue}", self._run.created_at, at,
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": self._broker, "messaging.operation.name": "receive",
                "messaging.operation.type": "receive", "messaging.destination.name": queue,
                "messaging.message.conversation_id": self._run.id,
            },
        )  # fmt: skip

    # --- a link -----------------------------------------------------------------------------------

    def _visit_id(self, visit: Visit) -> str:
        return span_id(self._run.id, "link", *visit.at, visit.begun_at.isoformat())

    def _of_visit(self, visit: Visit, segment: Segment, parent: str) -> list[Span]:
        own, (position, direction) = self._visit_id(visit), visit.at
        step = self._steps[position]
        call = self._plan.steps[self._plan_index(position)]
        backward = direction is Direction.BACKWARD
        of_link = call.compensation.call if backward and call.compensation else call.call
        attributes: Attributes = {
            "orchestrator.step.id": step.step_id,
            "orchestrator.step.direction": direction,
            "orchestrator.step.iteration": step.iteration,
            "orchestrator.step.attempts": len([each for each in visit.tries if not each.withdrawn]),
            "orchestrator.api": of_link.api,
            "orchestrator.operation": of_link.label,
        }
        failed = visit.outcome in ("NotLanded", "InDoubt") or not visit.outcome
        link = self._span(
            own, parent, f"undo {step.step_id}" if backward else step.step_id,
            visit.begun_at, visit.ended_at, attributes=attributes,
            error=(visit.reason or visit.outcome or "no outcome is known") if failed else None,
        )  # fmt: skip
        found = [self._waited(each, own) for each in segment.pauses if each.at == visit.at]
        if not (of_link.is_answered or of_link.is_local):
            for each in visit.tries:
                if not each.withdrawn:
                    found += self._of_try(each, visit, own, of_link.label, of_link.api)
            found += self._verifications(visit, segment, own, of_link.label)
        return [_around(link, found), *found]

    def _plan_index(self, position: int) -> int:
        path = self._run.path
        return position if path is None else path.steps[position]

    def _of_try(self, one: Try, visit: Visit, parent: str, label: str, api: str) -> Iterator[Span]:
        record = self._record_of(one, visit)
        own = attempt_span_id(self._run.id, *visit.at, one.begun_at)
        begun = one.begun_at if record is None else record.started_at
        ended = (one.ended_at or begun) if record is None else record.finished_at
        if one.waited_seconds:
            since = begun - timedelta(seconds=one.waited_seconds)
            yield self._gate(span_id(self._run.id, "gate", own), parent, api, since, begun)
        lost = record is None and not one.outcome
        attributes: Attributes = {
            "orchestrator.attempt.number": one.number, "orchestrator.worker": one.worker,
        }  # fmt: skip
        attributes |= self._http(visit, record)
        attributes |= _server(one.base)
        if one.number > 1 and "http.request.method" in attributes:
            attributes["http.request.resend_count"] = one.number - 1
        method = attributes.get("http.request.method")
        error = "lost with its worker" if lost else _why_not(record, one)
        if error is not None:
            attributes["error.type"] = _error_type(record, lost=lost)
        before = one.lost_before
        yield self._span(
            own, parent, f"{method} {label}" if method else label, begun, ended,
            kind=SpanKind.CLIENT if method else SpanKind.INTERNAL, attributes=attributes,
            links=() if before is None else (attempt_span_id(self._run.id, *visit.at, before),),
            error=error,
        )  # fmt: skip

    def _verifications(
        self, visit: Visit, segment: Segment, parent: str, label: str
    ) -> Iterator[Span]:
        for record in self._attempts:
            inside = segment.begun_at <= record.finished_at <= segment.ended_at + _DOUBT
            if record.kind == "verify" and (record.step, record.direction) == visit.at and inside:
                error = None if record.outcome is not Outcome.UNKNOWN else record.reason
                attributes: Attributes = {"orchestrator.worker": record.worker}
                if record.status_code is not None:
                    attributes["http.response.status_code"] = record.status_code
                yield self._span(
                    span_id(self._run.id, "verify", record.id), parent, f"verify {label}",
                    record.started_at, record.finished_at, kind=SpanKind.CLIENT,
                    attributes=attributes, error=error,
                )  # fmt: skip

    def _record_of(self, one: Try, visit: Visit) -> AttemptRecord | None:
        """The row of an attempt: of its link, and begun between its intent and its end."""
        if one.ended_at is None:
            return None
        for record in self._attempts:
            of_link = record.kind == "call" and (record.step, record.direction) == visit.at
            if of_link and one.begun_at <= record.started_at <= one.ended_at:
                return record
        return None

    def _http(self, visit: Visit, record: AttemptRecord | None) -> Attributes:
        step = self._steps[visit.at[0]]
        request = (step.forward if visit.at[1] is Direction.FORWARD else step.undo).request
        if request is None or request.method == TASK:
            return {}
        # Without the query: what an API takes there is often somebody's.
        found: Attributes = {
            "http.request.method": request.method, "url.path": request.target.partition("?")[0],
        }  # fmt: skip
        if record is not None and record.status_code is not None:
            found["http.response.status_code"] = record.status_code
        return found

    # --- waits ------------------------------------------------------------------------------------

    def _waited(self, pause: Pause, parent: str) -> Span:
        api = ""
        if pause.at is not None:
            plan_step = self._plan.steps[self._plan_index(pause.at[0])]
            undo = plan_step.compensation
            forward = pause.at[1] is Direction.FORWARD or undo is None
            api = plan_step.call.api if forward or undo is None else undo.call.api
        own = span_id(self._run.id, "wait", pause.begun_at.isoformat())
        if pause.why == GATE:
            return self._gate(own, parent, api, pause.begun_at, pause.ended_at, parked=True)
        return self._span(own, parent, f"wait {pause.why}", pause.begun_at, pause.ended_at)

    def _gate(
        self, own: str, parent: str, api: str, begun: datetime, ended: datetime, *,
        parked: bool = False,
    ) -> Span:  # fmt: skip
        return self._span(
            own, parent, f"gate {api}", begun, ended,
            attributes={"orchestrator.api": api, "orchestrator.gate.parked": parked},
        )  # fmt: skip

    def _span(
        self, own: str, parent: str | None, name: str, begun: datetime, ended: datetime, *,
        kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, AttributeValue] | None = None,
        events: tuple[SpanEvent, ...] = (), links: tuple[str, ...] = (), error: str | None = None,
    ) -> Span:  # fmt: skip
        return Span(
            trace_id=self._context.trace_id, state=self._context.state, span_id=own,
            parent_id=parent, name=name,
            begun_at=begun, ended_at=max(begun, ended), kind=kind, attributes=attributes or {},
            events=events, links=links, error=error,
        )  # fmt: skip


def _of_agent(run: RunRecord, choice: Mapping[str, Any]) -> Attributes:
    """To an agent, a workflow is a tool that it calls."""
    model = {"gen_ai.request.model": choice["model"]} if "model" in choice else {}
    return {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": run.workflow,
        "gen_ai.tool.call.id": run.id, "gen_ai.agent.name": run.actor, **model,
    }  # fmt: skip


def _look(look: Mapping[str, Any]) -> SpanEvent:
    """What it did before; not what it asked, which is content."""
    if "chose" in look:
        tool, shown = "execute", look["chose"]
    else:
        tool = "describe" if "described" in look else "search"
        shown = look["described"] if tool == "describe" else ", ".join(look["found"])
    return SpanEvent(
        at=datetime.fromisoformat(look["at"]), name=f"agent.{tool}",
        attributes={"gen_ai.tool.name": tool, "orchestrator.workflows": shown},
    )  # fmt: skip


def _around(span: Span, below: Sequence[Span]) -> Span:
    """The span, as long as what happened below it: clocks differ by a little, and who is kept
    before the gate has not begun yet.
    """
    return replace(
        span, begun_at=min([span.begun_at, *(each.begun_at for each in below)]),
        ended_at=max([span.ended_at, *(each.ended_at for each in below)]),
    )  # fmt: skip


def _server(base: str) -> Attributes:
    parts = urlsplit(base)
    if parts.hostname is None:
        return {}
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname, "server.port": port}


def _why_failed(status: RunStatus, cause: str) -> str | None:
    return (cause or status) if is_failure(status) else None


def _why_not(record: AttemptRecord | None, one: Try) -> str | None:
    if record is not None:
        return None if record.outcome is Outcome.LANDED else record.reason or record.outcome
    return None if one.outcome == "Landed" else one.reason or one.outcome


def _error_type(record: AttemptRecord | None, *, lost: bool) -> str:
    if lost:
        return "worker_lost"
    if record is None:
        return "not_sent"
    return str(record.outcome if record.status_code is None else record.status_code)
