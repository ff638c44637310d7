"""What a person wants to know before deciding: what each choice leads to, where to look."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import structlog

from orchestrator.core import events as e
from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.plan import Call
from orchestrator.core.previewing import NextLink, preview
from orchestrator.core.redaction import HIDDEN, USUAL, Rules
from orchestrator.core.saga import Saga, stuck
from orchestrator.core.severity import Severity
from orchestrator.core.states import Direction, RunStatus
from orchestrator.definitions.program import Program
from orchestrator.definitions.programs import Programs
from orchestrator.errors import IllegalTransition, InvalidDefinition, RefusedError, Untrusted
from orchestrator.ports import ClaimedRun, EscalationFilter, EscalationRecord, Store, facts_of
from orchestrator.service.escalations import Comment, Escalations
from orchestrator.telemetry import redact

log = structlog.get_logger(__name__)

CHOICES: Mapping[str, e.Event] = {
    "retry": e.Retried(),
    "resolve": e.Resolved(landed=True),
    "resolve without effect": e.Resolved(landed=False),
    "skip": e.Skipped(),
    "abandon": e.Abandoned(),
}
MOST_SIMILAR = 20
_READABLE_AT = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE"})
"""Methods whose address is that of a thing, so that one may look at it there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One way out."""

    name: str
    refused: str | None  # why it cannot be chosen; None: it can
    links: tuple[NextLink, ...] = ()  # the calls that follow, if each goes well
    status: RunStatus | None = None  # how the run ends then
    standing: tuple[str, ...] = ()  # steps whose effects exist then


@dataclass(frozen=True, kw_only=True, slots=True)
class Briefing:
    """All about one escalation."""

    escalation: EscalationRecord
    severity: Severity
    due_at: datetime
    comments: tuple[Comment, ...]
    look: str | None  # a curl command; None: nothing is stuck, or there is nowhere to look
    choices: tuple[Choice, ...] = field(default=())  # none once closed, or without a plan
    similar: int = 0  # other open ones of the same step and reason
    similar_ids: tuple[str, ...] = ()  # the oldest of them


class Briefings:
    """Reads everything that a decision wants. Changes nothing."""

    def __init__(
        self,
        store: Store,
        programs: Programs,
        base_url: Callable[[str], str | None],
        escalations: Escalations,
    ) -> None:
        self._store, self._programs, self._base_url = store, programs, base_url
        self._escalations = escalations

    async def of(self, escalation_id: str) -> Briefing:
        """Raises NotFound."""
        record, claimed = await self._store.escalated_run(escalation_id)
        program = await self._program(claimed)
        saga = claimed.saga((program or Program(claimed.outline())).plan)
        urgency = self._escalations.urgency
        told = Briefing(
            escalation=record, look=None if program is None else self._look(claimed, program, saga),
            severity=urgency.severity(record), due_at=urgency.due_at(record),
            comments=tuple(await self._escalations.comments(record)),
        )  # fmt: skip
        if record.closed_at is not None:
            return told
        now = await self._store.now()
        alike = EscalationFilter(
            workflow=record.workflow, step=record.step_id, reason=record.reason,
            tenant=record.tenant,
        )  # fmt: skip
        count = await self._store.count_things(alike)
        ids = [each.id for each in await self._store.escalations(alike) if each.id != record.id]
        # Of a plan that cannot be read nobody can say what a decision would do: it has to wait.
        choices = CHOICES.items() if program else ()
        return replace(
            told, similar=count - 1,
            choices=tuple(_choice(name, event, saga, now) for name, event in choices),
            similar_ids=tuple(ids[:MOST_SIMILAR]),
        )  # fmt: skip

    async def _program(self, claimed: ClaimedRun) -> Program | None:
        """None where its plan cannot be read."""
        try:
            return await self._programs.get(claimed.run.workflow_id)
        except (InvalidDefinition, Untrusted) as error:
            log.warning("plan.unreadable", run=claimed.run.id, why=str(error))
            return None

    def _look(self, claimed: ClaimedRun, program: Program, saga: Saga) -> str | None:
        at = stuck(saga)
        if at is None:
            return None
        call = saga.call(*at)
        request = _asking(call, at, claimed, program, saga) or _at_the_thing(claimed, at)
        base = self._base_url(call.api) or self._programs.base_url(call.api)
        if request is None or base is None:
            return None
        facts = facts_of(claimed.run, claimed.steps)
        rules = redact.rules()
        found = program.secrets.of_run(facts.inputs, facts.outputs, rules)
        return curl_of(request, base, rules | found)


def curl_of(request: FrozenRequest, base_url: str, rules: Rules = USUAL) -> str:
    """A command that sends this; what is secret in it is hidden, credentials are to be added."""
    parts = urlsplit(request.target)
    query = [
        (name, HIDDEN if rules.is_secret(name) else rules.text(value))
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    url = base_url.rstrip("/") + rules.text(parts.path)
    if query:
        url += f"?{urlencode(query, quote_via=quote)}"
    words = ["curl", "-sS", *(() if request.method == "GET" else ("-X", request.method))]
    for name, value in request.headers:
        words += ["-H", f"{name}: {HIDDEN if rules.is_secret(name) else rules.text(value)}"]
    if request.body:
        words += ["-d", rules.value(request.body.decode(errors="replace"))]
    return shlex.join([*words, url])


def _asking(
    call: Call, at: tuple[int, Direction], claimed: ClaimedRun, program: Program, saga: Saga
) -> FrozenRequest | None:
    """What the call's own verification would ask."""
    step, direction = at
    if call.verify is None or call.verify.task_name is not None:
        return None
    try:
        return program.prepare_verify(
            saga.path.steps[step], direction, facts_of(claimed.run, claimed.steps),
            iteration=claimed.steps[step].iteration,
        )  # fmt: skip
    except RefusedError:  # it needs what this run has not got
        return None


def _at_the_thing(claimed: ClaimedRun, at: tuple[int, Direction]) -> FrozenRequest | None:
    """A look at the address that the stuck request is for."""
    step, direction = at
    record = claimed.steps[step]
    request = (record.forward if direction is Direction.FORWARD else record.undo).request
    if request is None or request.method not in _READABLE_AT:
        return None
    return FrozenRequest(method="GET", target=request.target)


def _choice(name: str, event: e.Event, saga: Saga, now: datetime) -> Choice:
    try:
        seen = preview(saga, event, now)
    except IllegalTransition as refused:
        return Choice(name=name, refused=str(refused))
    return Choice(
        name=name, refused=None, links=seen.links, status=seen.status, standing=seen.standing
    )
