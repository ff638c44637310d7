"""Every operation of the REST face, with what is needed to ask it: one entry for each.

A new route needs an entry in OPERATIONS, or three tests fail: its least role, whether it belongs to
all tenants, and for each status that it documents by itself how that is provoked: a function that
arranges things (runs, escalations, …) and gives what to ask. Statuses that follow from an
operation's form (400, 401, 403, 404, 412, 413, 422, 428, 429, 503) are provoked for all alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import httpx

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.guarding import Policy
from orchestrator.core.plan_json import with_digest
from orchestrator.core.saga import Link
from orchestrator.core.schedules import Rhythm, Schedule
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.definitions.agent_policies import DEFAULT_TENANT
from orchestrator.ports import (
    Agent,
    EscalationFilter,
    JobOrder,
    LinkWrite,
    NewEscalation,
    NewProposal,
    Role,
    Subject,
)
from orchestrator.service.pausing import Scope
from tests.integration.api.conftest import INPUTS, Face
from tests.integration.api.documented import Documented
from tests.store.making import AT, landed, new_id

WHY = {"reason": "x"}
ANY = {"if-match": "*"}
LINES = {"content-type": "application/x-ndjson"}
NOBODY = "01939c5e-7f2a-7c11-9f4e-0c2f5a1b9d10"
OURS = "acme"
"""The tenant of all that is arranged."""
OTHERS = "zeta"
KINDS = frozenset({"run_id", "escalation_id", "job_id", "approval_id", "pause_id", "proposal_id"})
"""Parts of paths that name a thing which belongs to a tenant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What is sent: parts of the path, a body (bytes are sent as they are), headers, a query."""

    ids: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=lambda: ANY)
    params: Mapping[str, Any] = field(default_factory=dict)


Arrange = Callable[[Face], Awaitable[Ask]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """Who may ask (None: everybody), and how each status of its own comes about; success first."""

    least: Role | None
    provoked: Mapping[int, Arrange]
    of_all_tenants: bool = False
    elsewhere: int | None = None
    """What a key of another tenant is told where the body names things, and the path does not."""

    @property
    def success(self) -> int:
        """The status of an ask that is in order."""
        return next(iter(self.provoked))


def plain(**ask: Any) -> Arrange:
    """Nothing has to be arranged."""

    async def arrange(_: Face) -> Ask:
        return Ask(**ask)

    return arrange


# --- what is arranged -----------------------------------------------------------------------------


def run(body: Any = None, *, ended: bool = False, **ask: Any) -> Arrange:
    async def arrange(face: Face) -> Ask:
        run_id = await face.accepted(tenant=OURS)
        if ended:
            taken = await face.claimed(run_id)
            await face.write(taken, status=RunStatus.COMPENSATED, release=True)
        return Ask(ids={"run_id": run_id}, body=body, **ask)

    return arrange


def escalation(
    body: Any = None, *, claimed: bool = False, closed: bool = False, ask: Mapping[str, Any] = ANY
) -> Arrange:
    async def arrange(face: Face) -> Ask:
        known, _ = await face.stuck(tenant=OURS)
        if claimed:
            await face.services.escalations.claim(known, by="bob")
        if closed:
            await face.services.escalations.abandon(known, by="bob", reason="x")
        return Ask(ids={"escalation_id": known}, body=body, headers=ask)

    return arrange


async def under_four_eyes(face: Face) -> dict[str, Any]:
    """What a run of a workflow with the rule is accepted with."""
    plan = with_digest(replace(face.version.plan, four_eyes={"hours": 1}))
    version, _ = await face.store.publish(plan, document="d", by="root")
    return {"workflow_id": version.id, "version": version.version, "tenant": OURS}


def proposal(body: Any = None, *, refused: bool = False) -> Arrange:
    async def arrange(face: Face) -> Ask:
        known, run_id = await face.stuck(tenant=OURS)
        made = await face.store.propose(NewProposal(
            id=new_id(), run_id=run_id, subject=Subject.ESCALATION, subject_id=known,
            act="abandoned", arguments={}, reason="x", by="bob", via="cli", seconds=60,
        ))  # fmt: skip
        if refused:
            await face.services.proposals.refuse(made.id, by="bob", reason="x")
        return Ask(ids={"proposal_id": made.id}, body=body)

    return arrange


def stuck_undo(body: Any, *, guarded: bool = False) -> Arrange:
    async def arrange(face: Face) -> Ask:
        of = await under_four_eyes(face) if guarded else {"tenant": OURS}
        taken = await face.claimed(await face.accepted(**of))
        opened = NewEscalation(
            id=new_id(), reason="compensation_failed", detail="refused", step=0,
            direction=Direction.BACKWARD, context={},
        )  # fmt: skip
        undo = LinkWrite(
            step=0, direction=Direction.BACKWARD, finished_at=AT,
            link=Link(status=LinkStatus.FAILED, attempts=1, first_started_at=AT),
            request=FrozenRequest(method="POST", target="/x", body=b'{"amount":9}'),
        )  # fmt: skip
        await face.write(
            taken, status=RunStatus.ESCALATED, direction=Direction.BACKWARD, release=True,
            links=(landed(), undo), escalation=opened,
        )  # fmt: skip
        return Ask(ids={"escalation_id": opened.id}, body=body)

    return arrange


def approval(body: Any = None, *, decided: bool = False) -> Arrange:
    async def arrange(face: Face) -> Ask:
        roles = ["operator"]
        wait = await face.asking(asked={"message": "pay?", "roles": roles}, tenant=OURS)
        if decided:
            client = await face.asker(Role.ADMIN)
            url = f"/v1/approvals/{wait.id}/decide"
            await client.post(url, json={"decision": "approved"}, headers=ANY)
        return Ask(ids={"approval_id": wait.id}, body=body)

    return arrange


def mapped() -> Arrange:
    async def arrange(face: Face) -> Ask:
        wait = await face.mapping(tenant=OURS)
        return Ask(ids={"run_id": wait.run_id})

    return arrange


def pause(*, ended: bool = False) -> Arrange:
    async def arrange(face: Face) -> Ask:
        pausing = face.services.pausing
        made = await pausing.pause(
            Scope(run_id=await face.accepted(tenant=OURS)), by="bob", reason="x"
        )
        if ended:
            await pausing.resume(made.id, by="bob", reason="x")
        return Ask(ids={"pause_id": made.id}, body=WHY)

    return arrange


def job(body: Any = None, *orders: JobOrder) -> Arrange:
    async def arrange(face: Face) -> Ask:
        known, _ = await face.stuck(tenant=OURS)
        which = EscalationFilter(tenant=OURS, ids=(known,))
        made = await face.services.jobs.start("escalations.retry", which, by="bob", reason="x")
        for order in orders:
            await face.services.jobs.order(made.id, order, by="bob", reason="x")
        return Ask(ids={"job_id": made.id}, body=body)

    return arrange


def bulk(**more: Any) -> Arrange:
    async def arrange(face: Face) -> Ask:
        known, _ = await face.stuck(tenant=OURS)
        return Ask(body={"act": "retry", "where": {"ids": [known]}, **WHY}, **more)

    return arrange


def one_of_many(body: Mapping[str, Any]) -> Arrange:
    """A run that waits, named by its id."""

    async def arrange(face: Face) -> Ask:
        run_id = (await face.asking(tenant=OURS)).run_id
        return Ask(body={**body, "where": {"ids": [run_id]}}, headers={})

    return arrange


def migrated() -> Arrange:
    """A run that waits at its first step, asked to go on by another version."""

    async def arrange(face: Face) -> Ask:
        run_id = (await face.asking(tenant=OURS)).run_id
        plan = replace(face.version.plan, title=f"{face.version.plan.title}, renewed", digest="")
        version, _ = await face.store.publish(with_digest(plan), document="", by="bob")
        return Ask(ids={"run_id": run_id}, body={"to": version.version, **WHY})

    return arrange


def many_runs(*, key: str | None = None) -> Arrange:
    """With a key: one that was used for another act."""

    async def arrange(face: Face) -> Ask:
        where = {"ids": [await face.accepted(tenant=OURS)]}
        headers = {} if key is None else {"idempotency-key": key}
        if key is not None:
            client = await face.asker(Role.ADMIN)
            wish = {"act": "pause", "where": where, **WHY}
            await client.post("/v1/runs:act", json=wish, headers=headers)
        return Ask(body={"act": "cancel", "where": where, **WHY}, headers=headers)

    return arrange


def held(body: Any, *, is_held: bool) -> Arrange:
    async def arrange(face: Face) -> Ask:
        now = (await face.services.apis.show("kinto")).held is not None
        if now is not is_held:
            act = face.services.apis.hold if is_held else face.services.apis.release
            await act("kinto", by="bob", reason="x")
        return Ask(ids={"api": "kinto"}, body=body)

    return arrange


SUBMIT = {"workflow": "payments", "inputs": INPUTS}


async def not_a_recording(face: Face) -> Ask:
    """A run that goes on."""
    run_id = await face.accepted(tenant=OURS)
    return Ask(body=SUBMIT | {"tenant": OURS, "mode": "simulate", "recorded": run_id})


def submitted(key: str, *, otherwise: bool) -> Arrange:
    async def arrange(face: Face) -> Ask:
        client = await face.asker(Role.ADMIN)
        await client.post("/v1/runs", json=SUBMIT, headers={"idempotency-key": key})
        body = {**SUBMIT, "inputs": {**INPUTS, "deposit": 101}} if otherwise else SUBMIT
        return Ask(body=body, headers={"idempotency-key": key})

    return arrange


def rerun(*, twice: bool) -> Arrange:
    async def arrange(face: Face) -> Ask:
        step = face.version.plan.steps[0].id
        key = {"idempotency-key": new_id()}
        asked = await run({"step": step, **WHY}, ended=True, headers=key)(face)
        if twice:
            client = await face.asker(Role.ADMIN)
            url = f"/v1/runs/{asked.ids['run_id']}/rerun"
            await client.post(url, json=asked.body, headers=key)
        return asked

    return arrange


def seen_already() -> Arrange:
    async def arrange(face: Face) -> Ask:
        asked = await run()(face)
        client = await face.asker(Role.ADMIN)
        tag = (await client.get(f"/v1/runs/{asked.ids['run_id']}")).headers["etag"]
        return Ask(ids=asked.ids, headers={"if-none-match": tag})

    return arrange


def paused(*, twice: bool) -> Arrange:
    async def arrange(face: Face) -> Ask:
        run_id = await face.accepted(tenant=OURS)
        if twice:
            await face.services.pausing.pause(Scope(run_id=run_id), by="bob", reason="x")
        return Ask(body={"run_id": run_id, **WHY})

    return arrange


def bulk_key_of_another() -> Arrange:
    async def arrange(face: Face) -> Ask:
        asked = await bulk(headers={"idempotency-key": "another"})(face)
        client = await face.asker(Role.ADMIN)
        other = {**asked.body, "act": "abandon"}
        await client.post("/v1/escalations:bulk", json=other, headers=asked.headers)
        return asked

    return arrange


async def _policed(face: Face, *, stopped: bool, policy: bool = True) -> Ask:
    """In every tenant: the name is looked for in that of whoever asks."""
    name, policies = new_id(), face.services.policies
    for agent in (Agent(tenant, name) for tenant in (OURS, OTHERS, DEFAULT_TENANT)):
        if policy:
            await policies.set(agent, Policy(), by="bob", reason="x")
        if stopped:
            await policies.stop(agent, by="bob", reason="x")
    return Ask(ids={"agent": name}, headers={})


async def _scheduled(face: Face, *, paused: bool, there: bool) -> Ask:
    """In every tenant: the name is looked for in that of whoever asks."""
    name, schedules = new_id(), face.services.schedules
    wanted = Schedule(
        workflow=face.version.workflow, rhythm=Rhythm(cron="0 3 * * *"), inputs=INPUTS
    )
    for tenant in (OURS, OTHERS, DEFAULT_TENANT):
        if there:
            await schedules.set(tenant, name, wanted, by="bob", reason="x")
        if paused:
            await schedules.pause(tenant, name, by="bob", reason="x")
    return Ask(ids={"name": name}, headers={})


async def with_alias(face: Face) -> Ask:
    """One that nobody else has set."""
    alias = f"a-{new_id()}"
    await face.services.aliases.set(WORKFLOW["name"], alias, 1, by="bob")
    return Ask(ids={**WORKFLOW, "alias": alias}, body=WHY, headers={})


async def without_alias(_: Face) -> Ask:
    """One that was never set."""
    return Ask(ids={**WORKFLOW, "alias": "nowhere"}, body=WHY, headers={})


def scheduled(
    body: Any = None, *, paused: bool = False, there: bool = True, **more: Any
) -> Arrange:
    async def arrange(face: Face) -> Ask:
        return replace(await _scheduled(face, paused=paused, there=there), body=body, **more)

    return arrange


def scheduled_so(*, there: bool = True, **more: Any) -> Arrange:
    """Asked to be of the workflow that there is."""

    async def arrange(face: Face) -> Ask:
        wanted = {"workflow": face.version.workflow, "cron": "0 4 * * *", "inputs": INPUTS}
        asked = await _scheduled(face, paused=False, there=there)
        return replace(asked, body={"schedule": wanted, **WHY}, **more)

    return arrange


BACK = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z", "dry_run": True}


def policed(
    body: Any = None, *, stopped: bool = False, policy: bool = True, **more: Any
) -> Arrange:
    async def arrange(face: Face) -> Ask:
        return replace(await _policed(face, stopped=stopped, policy=policy), body=body, **more)

    return arrange


# --------------------------------------------------------------------------------------------------

WORKFLOW = {"name": "payments", "version": "1"}
NOTHING = {"name": "nothing", "version": "1"}
YES = {"decision": "approved"}
VIEWER, SUBMITTER, OPERATOR, ADMIN = Role.VIEWER, Role.SUBMITTER, Role.OPERATOR, Role.ADMIN
TO_APIS = {"of_all_tenants": True}
CHANGE = {"set": {"concurrency": 3}, **WHY}

OF_CUSTOMER = {"attribute": "customer=42"}
RULES = {"policy": {"allow": ["pay*"]}, **WHY}

EDIT = {"step": "deposit", "set": {"amount": 70}, **WHY}

OPERATIONS: dict[str, Operation] = {
    "isAlive": Operation(least=None, provoked={200: plain()}),
    "isReady": Operation(least=None, provoked={200: plain()}),
    "showMe": Operation(least=VIEWER, provoked={200: plain()}),
    "showMetrics": Operation(least=VIEWER, provoked={200: plain()}, of_all_tenants=True),
    # workflows
    "listWorkflows": Operation(least=VIEWER, provoked={200: plain()}),
    "showWorkflow": Operation(
        least=VIEWER, provoked={200: plain(ids=WORKFLOW), 404: plain(ids=NOTHING)}
    ),
    "listVersions": Operation(
        least=VIEWER, provoked={200: plain(ids=WORKFLOW), 404: plain(ids=NOTHING)}
    ),
    "listChanges": Operation(
        least=VIEWER,
        provoked={200: plain(ids=WORKFLOW, params={"since": 1}), 404: plain(ids=NOTHING)},
    ),
    "listAliases": Operation(
        least=VIEWER, provoked={200: plain(ids=WORKFLOW), 404: plain(ids=NOTHING)}
    ),
    "setAlias": Operation(
        least=OPERATOR, of_all_tenants=True,
        provoked={
            200: plain(ids={**WORKFLOW, "alias": "stable"}, body={"version": 1}),
            404: plain(ids={**WORKFLOW, "alias": "stable"}, body={"version": 99}),
        },
    ),
    "removeAlias": Operation(
        least=OPERATOR, of_all_tenants=True,
        provoked={
            200: with_alias, 409: without_alias,
            404: plain(ids={**NOTHING, "alias": "stable"}, body=WHY),
        },
    ),
    "showInsights": Operation(
        least=VIEWER, provoked={200: plain(ids=WORKFLOW), 404: plain(ids=NOTHING)},
        of_all_tenants=True,
    ),
    "showDocument": Operation(
        least=VIEWER, provoked={200: plain(ids=WORKFLOW), 404: plain(ids=NOTHING)}
    ),
    "listTools": Operation(least=SUBMITTER, provoked={200: plain()}),
    # runs
    "submitRun": Operation(
        least=SUBMITTER,
        provoked={
            201: plain(body=SUBMIT), 200: submitted("twice", otherwise=False),
            404: plain(body={"workflow": "nothing"}), 409: submitted("other", otherwise=True),
        },
    ),
    "planRun": Operation(
        least=SUBMITTER,
        provoked={
            200: plain(body=SUBMIT), 404: plain(body={"workflow": "nothing"}),
            409: not_a_recording,
        },
    ),
    "submitRuns": Operation(
        least=SUBMITTER,
        provoked={
            200: plain(body=b"{}\n", headers=LINES),
            413: plain(body=b"{}\n", headers={**LINES, "content-length": str(5 * 2**30)}),
            415: plain(body=b"{}\n", headers={"content-type": "text/plain"}),
        },
    ),
    "listRuns": Operation(least=VIEWER, provoked={200: plain()}),
    "countRuns": Operation(least=VIEWER, provoked={200: plain()}, of_all_tenants=True),
    "showRun": Operation(least=VIEWER, provoked={200: run(), 304: seen_already()}),
    "showChain": Operation(least=VIEWER, provoked={200: run()}),
    "explainRun": Operation(least=VIEWER, provoked={200: run()}),
    "listItems": Operation(least=VIEWER, provoked={200: mapped()}),
    "showAudit": Operation(least=VIEWER, provoked={200: run()}),
    "followRun": Operation(least=VIEWER, provoked={200: run(ended=True)}),
    # the audit of many
    "explainRuns": Operation(least=VIEWER, provoked={200: plain(params=OF_CUSTOMER)}),
    "exportAudit": Operation(least=VIEWER, provoked={200: plain()}),
    "eraseRun": Operation(least=ADMIN, provoked={200: run(WHY, ended=True), 409: run(WHY)}),
    "eraseRuns": Operation(
        least=ADMIN, provoked={200: plain(body={"attributes": {"customer": "none"}, **WHY})}
    ),
    # acts on runs
    "cancelRun": Operation(least=OPERATOR, provoked={202: run(WHY), 409: run(WHY, ended=True)}),
    "rerunRun": Operation(
        least=OPERATOR,
        provoked={
            201: rerun(twice=False), 200: rerun(twice=True), 409: run({"step": "deposit", **WHY})
        },
    ),
    "checkRerun": Operation(
        least=VIEWER,
        provoked={200: run(params={"step": "deposit"}), 404: run(params={"step": "none"})},
    ),
    "checkMigration": Operation(
        least=VIEWER, provoked={200: run(params={"to": 1}), 404: run(params={"to": 99})}
    ),
    "migrateRun": Operation(
        least=OPERATOR,
        provoked={200: migrated(), 409: run({"to": 1, **WHY}), 404: run({"to": 99, **WHY})},
    ),
    "checkRuns": Operation(
        least=VIEWER,
        provoked={
            200: plain(body={"act": "migrate", "where": {"workflow": "none"}, "version": 4}),
            404: one_of_many({"act": "migrate", "version": 99}),
        },
    ),
    "editRun": Operation(
        least=OPERATOR, provoked={202: run(EDIT), 409: run(EDIT, ended=True)}
    ),
    "countRunsToActOn": Operation(
        least=VIEWER, provoked={200: plain(body={"act": "cancel", "where": {"workflow": "none"}})}
    ),
    "actOnRuns": Operation(
        least=OPERATOR,
        provoked={
            202: many_runs(), 409: many_runs(key="used"),
            404: plain(body={"act": "cancel", "where": {"workflow": "none"}, **WHY}),
        },
        elsewhere=404,
    ),
    # pauses
    "listPauses": Operation(least=VIEWER, provoked={200: plain()}),
    "pause": Operation(
        least=OPERATOR,
        provoked={
            201: paused(twice=False),
            404: plain(body={"run_id": NOBODY, **WHY}), 409: paused(twice=True),
        },
        elsewhere=404,
    ),
    "resume": Operation(least=OPERATOR, provoked={200: pause(), 409: pause(ended=True)}),
    # schedules
    "listSchedules": Operation(least=VIEWER, provoked={200: plain()}),
    "showSchedule": Operation(least=VIEWER, provoked={200: scheduled()}),
    "setSchedule": Operation(
        least=OPERATOR,
        provoked={
            200: scheduled_so(),
            404: scheduled_so(there=False, headers={"if-match": '"1"'}),
            412: scheduled_so(headers={"if-match": '"2"'}),
        },
    ),
    "pauseSchedule": Operation(
        least=OPERATOR, provoked={200: scheduled(WHY), 409: scheduled(WHY, paused=True)}
    ),
    "resumeSchedule": Operation(
        least=OPERATOR, provoked={200: scheduled(WHY, paused=True), 409: scheduled(WHY)}
    ),
    "deleteSchedule": Operation(least=ADMIN, provoked={200: scheduled(WHY)}),
    "triggerSchedule": Operation(least=OPERATOR, provoked={200: scheduled()}),
    "backfillSchedule": Operation(least=OPERATOR, provoked={200: scheduled(BACK)}),
    # agents
    "listAgents": Operation(least=VIEWER, provoked={200: plain()}),
    "showAgent": Operation(least=VIEWER, provoked={200: policed()}),
    "listAgentChanges": Operation(least=VIEWER, provoked={200: policed()}),
    "setAgentPolicy": Operation(
        least=ADMIN,
        provoked={
            200: policed(RULES),
            404: policed(RULES, policy=False, headers={"if-match": '"1"'}),
            412: policed(RULES, headers={"if-match": '"2"'}),
        },
    ),
    "stopAgent": Operation(
        least=OPERATOR, provoked={200: policed(WHY), 409: policed(WHY, stopped=True)},
    ),
    "allowAgent": Operation(
        least=OPERATOR, provoked={200: policed(WHY, stopped=True), 409: policed(WHY)},
    ),
    "removeAgentPolicy": Operation(
        least=ADMIN, provoked={200: policed(WHY), 409: policed(WHY, stopped=True)}
    ),
    # approvals
    "listApprovals": Operation(least=VIEWER, provoked={200: plain()}),
    "showApproval": Operation(least=VIEWER, provoked={200: approval()}),
    "decideApproval": Operation(
        least=OPERATOR, provoked={200: approval(YES), 409: approval(YES, decided=True)}
    ),
    "linkApproval": Operation(
        least=OPERATOR,
        provoked={201: approval({"name": "Ada"}), 409: approval({"name": "Ada"}, decided=True)},
    ),
    "sendSignal": Operation(
        least=SUBMITTER, provoked={202: run({"n": 1}), 409: run({"n": 1}, ended=True)}
    ),
    "listWaits": Operation(least=VIEWER, provoked={200: run()}),
    # escalations
    "listEscalations": Operation(least=VIEWER, provoked={200: plain()}),
    "showEscalation": Operation(least=VIEWER, provoked={200: escalation()}),
    "briefEscalation": Operation(least=VIEWER, provoked={200: escalation()}),
    "claim": Operation(
        least=OPERATOR, provoked={200: escalation(), 409: escalation(claimed=True)}
    ),
    "assign": Operation(
        least=OPERATOR,
        provoked={200: escalation({"to": "bob"}), 409: escalation({"to": "bob"}, closed=True)},
    ),
    "comment": Operation(least=OPERATOR, provoked={200: escalation({"text": "x"})}),
    "release": Operation(
        least=OPERATOR, provoked={200: escalation(claimed=True), 409: escalation()}
    ),
    "retry": Operation(
        least=OPERATOR, provoked={
            200: escalation(WHY), 409: escalation(WHY, closed=True),
            202: stuck_undo({"corrections": {"/amount": 8}, **WHY}, guarded=True),
        },
    ),
    "resolve": Operation(
        least=OPERATOR,
        provoked={
            200: stuck_undo(WHY), 202: stuck_undo(WHY, guarded=True),
            409: escalation(WHY, closed=True),
        },
    ),
    "skip": Operation(
        least=OPERATOR,
        provoked={
            200: stuck_undo(WHY), 202: stuck_undo(WHY, guarded=True),
            409: escalation(WHY, closed=True),
        },
    ),
    "abandon": Operation(
        least=OPERATOR,
        provoked={
            200: escalation(WHY), 202: stuck_undo(WHY, guarded=True),
            409: escalation(WHY, closed=True),
        },
    ),
    # proposals
    "listProposals": Operation(least=VIEWER, provoked={200: plain()}),
    "showProposal": Operation(least=VIEWER, provoked={200: proposal()}),
    "confirmProposal": Operation(
        least=OPERATOR, provoked={200: proposal({}), 409: proposal({}, refused=True)}
    ),
    "refuseProposal": Operation(
        least=OPERATOR, provoked={200: proposal(WHY), 409: proposal(WHY, refused=True)}
    ),
    "countEscalations": Operation(
        least=VIEWER, provoked={200: plain(body={"where": {"api": "none"}})}
    ),
    "actOnEscalations": Operation(
        least=OPERATOR,
        provoked={
            202: bulk(), 409: bulk_key_of_another(),
            404: plain(body={"act": "retry", "where": {"api": "none"}, **WHY}),
        },
        elsewhere=404,
    ),
    # jobs
    "listJobs": Operation(least=VIEWER, provoked={200: plain()}),
    "showJob": Operation(least=VIEWER, provoked={200: job()}),
    "listJobItems": Operation(least=VIEWER, provoked={200: job()}),
    "pauseJob": Operation(
        least=OPERATOR, provoked={200: job(WHY), 409: job(WHY, JobOrder.CANCEL)}
    ),
    "resumeJob": Operation(
        least=OPERATOR, provoked={200: job(WHY, JobOrder.PAUSE), 409: job(WHY, JobOrder.CANCEL)}
    ),
    "cancelJob": Operation(
        least=OPERATOR, provoked={200: job(WHY), 409: job(WHY, JobOrder.CANCEL)}
    ),
    # APIs, workers, queues
    "listApis": Operation(least=VIEWER, provoked={200: plain()}, of_all_tenants=True),
    "showGate": Operation(least=VIEWER, provoked={200: plain()}, of_all_tenants=True),
    "showApi": Operation(
        least=VIEWER, of_all_tenants=True,
        provoked={200: plain(ids={"api": "kinto"}), 404: plain(ids={"api": "nothing"})},
    ),
    "showImpact": Operation(
        least=VIEWER, of_all_tenants=True,
        provoked={200: plain(ids={"api": "stripe"}), 404: plain(ids={"api": "nothing"})},
    ),
    "changeApi": Operation(
        least=ADMIN, of_all_tenants=True,
        provoked={
            200: plain(ids={"api": "kinto"}, body=CHANGE),
            404: plain(ids={"api": "nothing"}, body=CHANGE),
            409: plain(ids={"api": "stripe"}, body={"reset": ["concurrency"], **WHY}),
        },
    ),
    "holdApi": Operation(
        least=OPERATOR, of_all_tenants=True,
        provoked={
            200: held(WHY, is_held=False), 409: held(WHY, is_held=True),
            404: plain(ids={"api": "nothing"}, body=WHY),
        },
    ),
    "releaseApi": Operation(
        least=OPERATOR, of_all_tenants=True,
        provoked={
            200: held(WHY, is_held=True), 409: held(WHY, is_held=False),
            404: plain(ids={"api": "nothing"}, body=WHY),
        },
    ),
    "listWorkers": Operation(least=VIEWER, provoked={200: plain()}, of_all_tenants=True),
    "showSlos": Operation(least=VIEWER, provoked={200: plain()}, of_all_tenants=True),
    "showApiHealth": Operation(least=VIEWER, provoked={200: plain()}, of_all_tenants=True),
    "listQueues": Operation(least=VIEWER, provoked={200: plain()}, of_all_tenants=True),
}  # fmt: skip


async def send(client: httpx.AsyncClient, operation: Documented, ask: Ask) -> httpx.Response:
    """Send it; what the ask does not name is nobody's."""
    ids = {**dict.fromkeys(operation.names, NOBODY), "name": "paid", **ask.ids}
    url = operation.path.format_map({name: quote(part) for name, part in ids.items()})
    given: dict[str, Any] = (
        {"content": ask.body} if isinstance(ask.body, bytes)
        else {} if ask.body is None
        else {"json": ask.body}
    )  # fmt: skip
    return await client.request(
        operation.method, url, headers=ask.headers, params=ask.params, **given
    )
