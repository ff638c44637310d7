"""All tables and indexes, as the newest migration leaves them.

Times are `timestamptz` on PostgreSQL and whole microseconds since 1970 (UTC) on SQLite: both are
exact, compare by value and index well. Payloads are JSON text in an envelope that names its format
(see `codec`), the same on both. Ids compare byte by byte (collation "C"): UUIDv7 sort by age.

    workflows    one row per published version; immutable
    workflow_aliases  one row per name that a version of a workflow has now: `stable`, `canary`
    workflow_alias_changes  one row per change of one; append-only
    runs         one row per run: the saga's state, its owner and epoch. The truth
    run_attributes  one row per attribute by which a run is looked up
    run_steps    one row per link (position, direction) that something has happened to
    attempts     one row per finished attempt; append-only
    audit        one row per thing that happened; append-only, numbered by run without gaps
    audit_checkpoints  one row per signed statement of how far the chains of audit had come
    audit_anchors      one row per run whose chain had changed until such a checkpoint
    audit_deletions    one row per run that was deleted because it was old
    archive_batches    one row per set of ended runs that are in files together
    archived_runs      one row per run that is in such a batch and still here
    escalations  the dead letters; at most one open per run
    code_waits   one row per run that waits for a worker with the function of its next step
    workers      one row per worker process, with its heartbeat
    api_overrides  one row per API that was ever changed at run time: what holds instead of its file
    api_changes    one row per such change; append-only, numbered by API without gaps
    agent_policies  one row per software agent (or `*`: all of a tenant) that has rules
    agent_policy_changes  one row per such change; append-only, numbered by agent without gaps
    agent_uses     one row per run and policy under which it was accepted
    agent_spending what is spent under a policy: one row per day or month, and runs or currency
    pauses         one row per pause of a run, workflow, tenant or all; ended, never deleted
    access_keys    one row per key to the network's face, with its secret's digest alone
    waits          one row per answer that a run waits, or has waited, for
    signals        one row per signal that was sent to a run; numbered by run without gaps
    acceptances    one row per derived compensation that a person has accepted; append-only
    notices        one row per escalation and target that is to be told of it
    wait_notices   the same of approvals: one per wait, occasion and target
    proposal_notices  the same of proposals
    slo_counts     good and bad events of an objective: one row per minute or hour that had any
    slo_marks      one row per objective of a workflow: until when its events are counted
    slo_alarms     one row per incident: an error budget that burned too fast
    alarm_notices  one row per alarm and target that is to be told of it
    advances       how many requests APIs were let have: one row for some hundredths of a rate
    api_windows    what a worker saw of an operation of an API in five minutes, or all in an hour
    schedules      one row per schedule, with its next time; deleted, it stays
    schedule_changes  one row per change of one; append-only, numbered by schedule without gaps
    firings        one row per time of a schedule, and what became of it
    search_vectors one row per text of a workflow and model of search; made anew when it is gone
    maps           one row per map over data: how many of its items have begun, run and ended
    map_values     one row per thousand items of a map, as they were given
    map_items      one row per item that has begun: its run, and what became of it
    traces         one row per settled run whose trace is to be told of, now or later
    jobs           one row per act on many things at once: who wants what, and how far it has come
    job_items      one row per such thing, and what came of it

Rows of run_attributes, run_steps, attempts and audit are only ever written by a statement that has
just found and locked their run, so they carry no foreign key: checking it again for each row would
take half the time of a commit. Nor do runs to their workflow version, which is asked for before
they are accepted and which nobody deletes: PostgreSQL would look it up and lock it for each row.
SQLite still does.

Where an unowned run stands decides which partial index holds it:

    announced    a hint should be on the broker: `published_at` is set    runs_announced
    sleeping     waiting or parked, nobody told yet: `published_at` NULL  runs_sleeping
    at rest      paused, escalated or final                               runs_by_standing

No index knows `status`, which changes while a run is on its way: `standing`, worked out from it,
stays `due` from pending over running to compensating, and PostgreSQL can then write the new row
beside the old one without touching an index (a heap-only update).

Lists go through `runs_by_standing`, `runs_by_tenant`, `runs_by_workflow` and
`run_attributes_by_value`: what they hold beside the id is filtered within the index, however few of
a million runs are wanted. It never changes, so a run on its way touches none of them.

On PostgreSQL attempts and audit are partitioned by their run's id, that is by the time at which the
run was accepted: see `partitions`.
"""

from __future__ import annotations

from orchestrator.store.tables.agents import (
    agent_policies,
    agent_policy_changes,
    agent_spending,
    agent_uses,
)
from orchestrator.store.tables.aliases import workflow_alias_changes, workflow_aliases
from orchestrator.store.tables.apis import advances, api_changes, api_overrides, api_windows
from orchestrator.store.tables.archiving import archive_batches, archived_runs
from orchestrator.store.tables.auditing import audit_anchors, audit_checkpoints, audit_deletions
from orchestrator.store.tables.code_waits import code_waits
from orchestrator.store.tables.columns import metadata
from orchestrator.store.tables.conditions import (
    ANNOUNCED,
    ASIDE,
    ASKING,
    AT_REST,
    CHILD,
    DUE,
    FAILED,
    HELD,
    HOLDING,
    HOLDS,
    IN_FORCE,
    OPEN,
    OWNED,
    SLEEPING,
    STANDING,
    STOPPED,
    TIMED,
    UNCLAIMED,
    UNDER_WAY,
    UNENDED,
    UNTOLD,
    WORDS,
)
from orchestrator.store.tables.finding import search_vectors
from orchestrator.store.tables.maps import map_items, map_values, maps
from orchestrator.store.tables.notices import alarm_notices, notices, proposal_notices, wait_notices
from orchestrator.store.tables.people import (
    acceptances,
    access_keys,
    escalations,
    job_items,
    jobs,
    pauses,
    proposals,
    signals,
    waits,
)
from orchestrator.store.tables.runs import (
    attempts,
    audit,
    run_attributes,
    run_steps,
    runs,
    traces,
    workers,
    workflows,
)
from orchestrator.store.tables.schedules import firings, schedule_changes, schedules
from orchestrator.store.tables.slos import slo_alarms, slo_counts, slo_marks

__all__ = [
    "ANNOUNCED",
    "ASIDE",
    "ASKING",
    "AT_REST",
    "CHILD",
    "DUE",
    "FAILED",
    "HELD",
    "HOLDING",
    "HOLDS",
    "IN_FORCE",
    "OPEN",
    "OWNED",
    "SLEEPING",
    "STANDING",
    "STOPPED",
    "TIMED",
    "UNCLAIMED",
    "UNDER_WAY",
    "UNENDED",
    "UNTOLD",
    "WORDS",
    "acceptances",
    "access_keys",
    "advances",
    "agent_policies",
    "agent_policy_changes",
    "agent_spending",
    "agent_uses",
    "alarm_notices",
    "api_changes",
    "api_overrides",
    "api_windows",
    "archive_batches",
    "archived_runs",
    "attempts",
    "audit",
    "audit_anchors",
    "audit_checkpoints",
    "audit_deletions",
    "code_waits",
    "escalations",
    "firings",
    "job_items",
    "jobs",
    "map_items",
    "map_values",
    "maps",
    "metadata",
    "notices",
    "pauses",
    "proposal_notices",
    "proposals",
    "run_attributes",
    "run_steps",
    "runs",
    "schedule_changes",
    "schedules",
    "search_vectors",
    "signals",
    "slo_alarms",
    "slo_counts",
    "slo_marks",
    "traces",
    "wait_notices",
    "waits",
    "workers",
    "workflow_alias_changes",
    "workflow_aliases",
    "workflows",
]
