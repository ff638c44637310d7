"""`/v1/runs`: start runs, look at them, wait for them, cancel them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from orchestrator.api import bulk, reading, shapes
from orchestrator.api.asking import (
    SAYS_SOMETHING,
    TEXT,
    Age,
    Asker,
    Cursor,
    IfMatch,
    Limit,
    RunId,
    Streaming,
    Tenant,
    Use,
    check_match,
    hidden,
)
from orchestrator.api.looking import LookingRoute
from orchestrator.api.moments import Moment
from orchestrator.api.plan_shapes import DryRunShape, DryRunWish
from orchestrator.api.problems import documented
from orchestrator.api.proposal_shapes import EditWish, ProposalShape
from orchestrator.api.story_shapes import StoryShape
from orchestrator.api.wishes import submission_of
from orchestrator.core.events import CancelMode
from orchestrator.core.maps import ItemOutcome
from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.definitions.attribute_texts import MOST_ATTRIBUTES, parse_pairs
from orchestrator.errors import NotFound, Problem, RefusedError, Unavailable
from orchestrator.ports import Role, RunFilter, RunRecord
from orchestrator.ports.dry_runs import Simulation
from orchestrator.service.rerunning import Rerun
from orchestrator.service.where import LONGEST_TEXT
from orchestrator.wiring_services import Services

router = APIRouter(route_class=LookingRoute, prefix="/v1/runs", tags=["runs"])
log = structlog.get_logger(__name__)

LONGEST_WAIT = 60.0
KEEP_ALIVE = 15.0
"""Seconds between signs of life on a stream, so that proxies leave it open."""
MOST_RECORDS = 1000

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1, max_length=200, pattern=TEXT,
        description="The same key with the same request is the same run; with another, 409.",
    ),
]  # fmt: skip
Traceparent = Annotated[
    str | None,
    Header(
        description="The trace within which the run is wanted (W3C Trace Context). What is none is"
        " left out."
    ),
]


Tracestate = Annotated[
    list[str] | None,
    Header(description="What tracing systems keep beside it (W3C Trace Context)."),
]


async def visible_run(run_id: RunId, who: Asker, services: Use) -> RunRecord:
    """The run; another tenant's does not exist for who asks. Raises NotAllowed, NotFound."""
    who.require(Role.VIEWER)
    try:
        run = await services.runs.get(run_id)
    except NotFound:
        raise hidden("run", run_id) from None
    if not who.sees(run.tenant):
        raise hidden("run", run_id)
    return run


async def operator(who: Asker) -> None:
    """Raises NotAllowed for who is none; before anything is looked up."""
    who.require(Role.OPERATOR)


Run = Annotated[RunRecord, Depends(visible_run)]
AttributesAre = Annotated[
    list[str] | None,
    Query(
        max_length=MOST_ATTRIBUTES,
        description="NAME=VALUE; of several, all have to hold.", examples=["customer=42"],
    ),
]  # fmt: skip


def attributes_of(given: list[str] | None) -> dict[str, str] | None:
    """As a filter takes them. Raises InvalidInput."""
    return parse_pairs("query attribute", given) if given else None


WaitSeconds = Annotated[
    float, Query(ge=0, le=LONGEST_WAIT, description="Answer when it has settled, or after these.")
]


# --- start ----------------------------------------------------------------------------------------


@router.post(
    "",
    operation_id="submitRun",
    status_code=201,
    responses={
        200: {"description": "The key was used before, for this run", "model": shapes.Submitted},
        **documented(404, 409),
    },
)
async def submit_run(
    wish: shapes.Submit,
    who: Asker,
    services: Use,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    traceparent: Traceparent = None,
    tracestate: Tracestate = None,
    wait: WaitSeconds = 0.0,
) -> shapes.Submitted:
    """Start one run. It is accepted for good when this is answered: at once, or with `wait` once
    it has settled or after these seconds, with the run as it is then.
    """
    who.require(Role.SUBMITTER)
    try:
        wanted = submission_of(wish, who, idempotency_key, traceparent, ",".join(tracestate or ()))
        (accepted,) = await services.submitter.submit([wanted])
    except RefusedError as error:
        raise _of_the_only_one(error) from error
    response.headers["Location"] = f"/v1/runs/{accepted.run_id}"
    if accepted.repeated:
        response.status_code = 200
    run = await _as_it_ends(services, accepted.run_id, wait) if wait else None
    return shapes.Submitted(run_id=accepted.run_id, repeated=accepted.repeated, run=run)


@router.post(
    ":bulk",
    operation_id="submitRuns",
    response_class=bulk.Lines,
    max_body_size=bulk.LARGEST_BODY,
    responses={
        200: {
            "description": "One line for each line, in order: `{line, run_id, repeated}` or "
            "`{line, problem}`",
            "content": {bulk.MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        **documented(415),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                bulk.MEDIA_TYPE: {
                    "schema": {"type": "string"},
                    "example": '{"workflow": "checkout", "inputs": {"order": "o-1"}, '
                    '"idempotency_key": "o-1"}\n',
                }
            },
        }
    },
)
async def submit_runs(request: Request, who: Asker, services: Use) -> bulk.Lines:
    """Start many runs: one JSON object a line, as for one run, with its `idempotency_key` in it.

    Lines are accepted while they arrive, a thousand at a time; each is answered for itself, so a
    line that is refused holds up no other. Repeat with the same keys whatever was not answered.
    """
    who.require(Role.SUBMITTER)
    bulk.require_lines(request.headers.get("content-type", ""))
    answers = bulk.answers(bulk.lines(request.stream()), who, services.submitter)
    return bulk.Lines(answers)


@router.post(
    ":plan",
    operation_id="planRun",
    response_model_exclude_unset=True,
    responses=documented(404, 409),
)
async def plan_run(wish: DryRunWish, who: Asker, services: Use) -> DryRunShape:
    """Tell what a run would send, and what would undo it: a dry run. Nothing is kept or counted.

    With `simulate` it is played to its end: its requests in order, how it ends, and with `fail_at`
    what would be undone. With `dry_run_reads` what only reads is asked; that is why whoever may
    only see runs may not ask for it.
    """
    who.require(Role.SUBMITTER)
    wanted = submission_of(wish, who, None)
    how = Simulation(fail_at=wish.fail_at, recorded=wish.recorded)
    return DryRunShape.of(await services.dry_runs.of(wanted, wish.mode, how))


def _of_the_only_one(error: RefusedError) -> RefusedError:
    """The same error; its places need not say which of the submissions is meant."""
    problems = [
        Problem(
            place=_place(each.place.removeprefix("submission 0, ")), found=each.found,
            wanted=each.wanted,
        )
        for each in error.problems
    ]  # fmt: skip
    return type(error)(error.message, problems=problems)


def _place(place: str) -> str:
    """A pointer into the inputs as one into the body."""
    return f"body /inputs{place}" if place.startswith("/") else place


# --- look -----------------------------------------------------------------------------------------


@router.get("", operation_id="listRuns")
async def list_runs(
    who: Asker,
    services: Use,
    *,
    status: Annotated[list[RunStatus] | None, Query(description="Any of these.")] = None,
    workflow: Annotated[str | None, Query(max_length=200, pattern=TEXT)] = None,
    tenant: Tenant = None,
    actor: Annotated[
        str | None, Query(max_length=200, pattern=TEXT, description="Who submitted it.")
    ] = None,
    rerun_of: Annotated[
        str | None, Query(max_length=200, pattern=TEXT, description="Took over what this one did.")
    ] = None,
    parent: Annotated[
        str | None, Query(max_length=200, pattern=TEXT, description="Begun by a step of this one.")
    ] = None,
    attribute: AttributesAre = None,
    text: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=LONGEST_TEXT,
            pattern=SAYS_SOMETHING,
            description="What is known of it: the beginning of its id or of an attribute's value, "
            "its workflow, its idempotency key, or words of why it failed.",
        ),
    ] = None,
    since: Annotated[Moment, Query(description="Accepted then or later.")] = None,
    until: Annotated[Moment, Query(description="Accepted before.")] = None,
    older_than_seconds: Age = None,
    younger_than_seconds: Age = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> shapes.Page[shapes.RunSummary]:
    """A page of runs, newest first."""
    who.require(Role.VIEWER)
    found = await services.runs.list(RunFilter(
        status=frozenset(status) if status else None, workflow=workflow,
        tenant=who.tenant_of(tenant), actor=actor, rerun_of=rerun_of,
        parent=parent,
        attributes=attributes_of(attribute),
        text=text, since=since, until=until, before=cursor, limit=limit + 1,
        older_than_seconds=older_than_seconds, younger_than_seconds=younger_than_seconds,
    ))  # fmt: skip
    page = await reading.run_summaries(services, found[:limit])
    return shapes.Page(items=page, next=page[-1].id if len(found) > limit else None)


@router.get("/counts", operation_id="countRuns")
async def count_runs(
    who: Asker,
    services: Use,
    since: Annotated[Moment, Query(description="Leave out ended runs accepted before.")] = None,
) -> shapes.Counts:
    """How many runs are in each status."""
    who.require(Role.VIEWER)
    who.require_all_tenants()
    counts = await services.runs.count_by_status(since=since)
    return shapes.Counts(since=since, runs=counts)


@router.get("/{run_id}", operation_id="showRun", responses={304: {}, **documented(404)})
async def show_run(
    run: Run,
    services: Use,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
    wait: WaitSeconds = 0.0,
) -> shapes.RunDetail:
    """One run; with `wait`, once it has settled or after these seconds, whatever comes first."""
    if wait:
        run = await settled(services, run, wait)
    tag = reading.run_tag(run)
    response.headers["ETag"] = tag
    if if_none_match is not None and tag in if_none_match:
        response.status_code = 304
    return await reading.run_detail(services, run)


@router.get("/{run_id}/chain", operation_id="showChain", responses=documented(404))
async def show_chain(run: Run, services: Use) -> shapes.Chain:
    """Its steps and undos, each with its attempts."""
    return reading.chain(await services.runs.show(run.id))


@router.get("/{run_id}/items", operation_id="listItems", responses=documented(404))
async def list_items(
    run: Run,
    services: Use,
    *,
    step: Annotated[
        str | None,
        Query(max_length=200, pattern=TEXT, description="Of which step; without, of its only map."),
    ] = None,
    outcome: Annotated[ItemOutcome | None, Query(description="Only these.")] = None,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1, description="Items above this index.")] = -1,
    limit: Limit = 50,
) -> shapes.Page[shapes.ItemShape]:
    """Items of a map over data that have begun, by index; `next` is the `after` of what follows."""
    found = await services.runs.items(
        run.id, step=step, outcome=outcome, after=after, limit=limit + 1
    )
    page = await reading.items(services, found[:limit])
    return shapes.Page(items=page, next=str(page[-1].index) if len(found) > limit else None)


@router.get("/{run_id}/story", operation_id="explainRun", responses=documented(404))
async def explain_run(run: Run, services: Use) -> StoryShape:
    """What happened to it in plain words, told from its audit: each call, wait, undo and act."""
    return reading.story(await services.explaining.explain(run.id))


@router.get("/{run_id}/audit", operation_id="showAudit", responses=documented(404))
async def show_audit(
    run: Run,
    services: Use,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Records above this seq.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_RECORDS)] = MOST_RECORDS,
) -> shapes.Page[shapes.AuditShape]:
    """What happened to it, oldest first; `next` is the `after` of the page that follows."""
    found = await services.runs.audit(run.id, after=after, limit=limit + 1)
    page = [shapes.AuditShape.model_validate(each) for each in found[:limit]]
    return shapes.Page(items=page, next=str(page[-1].seq) if len(found) > limit else None)


@router.get(
    "/{run_id}/events",
    operation_id="followRun",
    response_class=EventSourceResponse,
    responses=documented(404),
    dependencies=[Streaming],
)
async def follow_run(
    run: Run,
    services: Use,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**31 - 1)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Its audit as server-sent events, while it happens, until the run has settled.

    An event's id is its record's `seq`; who comes back with Last-Event-ID misses nothing. The last
    event is `settled`, with the run.
    """
    seen = last_event_id or 0
    while True:
        run = await services.runs.get(run.id)
        for record in await services.runs.audit(run.id, after=seen):
            seen = record.seq
            shape = shapes.AuditShape.model_validate(record)
            yield ServerSentEvent(data=shape, event="audit", id=str(seen))
        if run.status in SETTLED and seen >= run.audit_seq:
            detail = await reading.run_detail(services, run)
            yield ServerSentEvent(data=detail, event="settled", id=str(seen))
            return
        if await services.watch.changed(run.id, after=seen, seconds=KEEP_ALIVE) is None:
            yield ServerSentEvent(comment="still here")


# --- act ------------------------------------------------------------------------------------------


@router.post(
    "/{run_id}/cancel",
    operation_id="cancelRun",
    status_code=202,
    responses=documented(404, 409, 412),
    dependencies=[Depends(operator)],
)
async def cancel_run(
    run: Run, wish: shapes.Cancel, who: Asker, services: Use, if_match: IfMatch = None
) -> shapes.RunDetail:
    """Ask for its end. What was done is undone, unless `mode` is `stop`."""
    if wish.mode is CancelMode.STOP:
        who.require(Role.ADMIN)
    held = check_match(if_match, reading.run_tag(run), "the run")
    asked = await services.runs.cancel(
        run.id, mode=wish.mode, reason=wish.reason, by=who.name, seen=run if held else None
    )
    return await reading.run_detail(services, asked)


@router.post(
    "/{run_id}/rerun",
    operation_id="rerunRun",
    status_code=201,
    responses={
        200: {"description": "It was run again from there before", "model": shapes.Submitted},
        **documented(404, 409),
    },
    dependencies=[Depends(operator)],
)
async def rerun_run(
    run: Run,
    wish: shapes.RerunWish,
    who: Asker,
    services: Use,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> shapes.Submitted:
    """A new run from a step on, which takes over what this one did before; it has to have ended."""
    accepted = await services.rerunning.rerun(
        Rerun(
            run_id=run.id, step=wish.step, by=who.name, reason=wish.reason, version=wish.version,
            repeat_effects=wish.repeat_effects, key=idempotency_key,
        )
    )  # fmt: skip
    response.headers["Location"] = f"/v1/runs/{accepted.run_id}"
    if accepted.repeated:
        response.status_code = 200
    return shapes.Submitted(run_id=accepted.run_id, repeated=accepted.repeated)


@router.post(
    "/{run_id}/edit",
    operation_id="editRun",
    status_code=202,
    responses=documented(404, 409),
    dependencies=[Depends(operator)],
)
async def edit_run(run: Run, wish: EditWish, who: Asker, services: Use) -> ProposalShape:
    """Propose other values for a step that has not begun; an approver has to confirm them."""
    proposal = await services.editing.propose(
        run.id, wish.step, wish.set, by=who.name, reason=wish.reason, via="rest"
    )
    return ProposalShape.model_validate(proposal)


async def _as_it_ends(services: Services, run_id: str, seconds: float) -> shapes.RunDetail | None:
    """None: it cannot be read. That says nothing against its having been accepted."""
    try:
        run = await settled(services, await services.runs.get(run_id), seconds)
        return await reading.run_detail(services, run)
    except Unavailable as error:
        log.warning("run.not_awaited", run=run_id, why=str(error))
        return None


async def settled(services: Services, run: RunRecord, seconds: float) -> RunRecord:
    """The run once it has settled, or as it is when time is over."""
    loop_time = asyncio.get_running_loop().time
    until = loop_time() + seconds
    while run.status not in SETTLED and (left := until - loop_time()) > 0:
        if await services.watch.changed(run.id, after=run.audit_seq, seconds=left) is None:
            break
        run = await services.runs.get(run.id)
    return run
