"""All tables and indexes, as the newest migration leaves them.

Times are `timestamptz` on PostgreSQL and whole microseconds since 1970 (UTC) on SQLite: both are
exact, compare by value and index well. Payloads are JSON text in an envelope that names its format
(see `codec`), the same on both. Ids compare byte by byte (collation "C"): UUIDv7 sort by age.

    workflows    one row per published version; immutable
    runs         one row per run: the saga's state, its owner and epoch. The truth
    run_attributes  one row per attribute by which a run is looked up
    run_steps    one row per link (position, direction) that something has happened to
    attempts     one row per finished attempt; append-only
    audit        one row per thing that happened; append-only, numbered by run without gaps
    audit_checkpoints  one row per signed statement of how far the chains of audit had come
    audit_anchors      one row per run whose chain had changed until such a checkpoint
    audit_deletions    one row per run that was deleted because it was old
    escalations  the dead letters; at most one open per run
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

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)

ID = Text().with_variant(Text(collation="C"), "postgresql")
INSTANT = BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")
BIG = BigInteger().with_variant(Integer(), "sqlite")

DUE = "status IN ('pending', 'running', 'compensating')"
TIMED = "status IN ('waiting', 'parked')"
STANDING = (
    f"CASE WHEN {DUE} THEN 'due' WHEN {TIMED} THEN 'timed' ELSE status END"  # which the rest keep
)
UNENDED = "standing NOT IN ('succeeded', 'compensated', 'abandoned')"
ASIDE = "(direction = 'backward' OR path IS NOT NULL OR rerun_of IS NOT NULL)"
"""Where a run stands is told by its links alone, not by its row: see `standings`."""
UNDER_WAY = "standing IN ('due', 'timed')"
AT_REST = "standing NOT IN ('due', 'timed')"
ANNOUNCED = f"owner IS NULL AND published_at IS NOT NULL AND {UNDER_WAY}"
SLEEPING = "owner IS NULL AND published_at IS NULL AND standing = 'timed'"
OWNED = "owner IS NOT NULL"
OPEN = "closed_at IS NULL"
ASKING = "closed_at IS NULL AND asks = 'approval'"
HOLDS = "ended_at IS NULL"
HOLDING = "waits.closed_at IS NULL AND waits.attempt = 0"
"""Of an approval without which its run does not begin: see `holding`."""
WORDS = r"to_tsvector('simple', regexp_replace(left({0}, 2000), '[\W_]+', ' ', 'g'))"
"""Of a text, on PostgreSQL: letters and digits alone, so that all see the same words in it. What
follows 2000 characters is not looked for."""
FAILED = "cause <> ''"
UNCLAIMED = "closed_at IS NULL AND claimed_by IS NULL"

IN_FORCE = f"{HOLDS} AND (pauses.until IS NULL OR pauses.until > {{now}})"
_AND_ITS_WAY = (
    "(pauses.also_undoing OR (runs.direction = 'forward'"
    " AND runs.cancel_wish IS NULL AND runs.cancel IS NULL))"
)
STOPPED = (
    f"(EXISTS (SELECT 1 FROM pauses WHERE {IN_FORCE} AND pauses.run_id IS NULL"
    " AND (pauses.workflow IS NULL OR pauses.workflow = runs.workflow)"
    " AND (pauses.tenant IS NULL OR pauses.tenant = runs.tenant)"
    f" AND {_AND_ITS_WAY})"
    f" OR EXISTS (SELECT 1 FROM pauses WHERE {IN_FORCE} AND pauses.run_id = runs.id"
    f" AND {_AND_ITS_WAY}))"
)
"""Whether a pause stops the row of `runs` at hand. One that goes back, or is to be cancelled, is
stopped by those alone that say so."""
HELD = f"EXISTS (SELECT 1 FROM waits WHERE waits.run_id = runs.id AND {HOLDING})"
"""Whether the row of `runs` at hand waits for a person before it begins."""

# Inserts leave half of each page free, so that a row's next version finds room beside it: a run is
# written seven times, a link twice. Tables are no larger for it, since less is left behind. They
# are vacuumed by what has changed, not by what has been kept for years.
HOT = {
    "fillfactor": "50",
    "autovacuum_vacuum_threshold": "10000",
    "autovacuum_vacuum_scale_factor": "0.05",
}
BY_RUN = "RANGE (run_id)"


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    condition = text(where)
    return Index(name, *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


def _words(name: str, column: str, **more: Any) -> Index:
    """On PostgreSQL alone; SQLite goes through the texts themselves."""
    words = text(WORDS.format(column))
    return Index(name, words, postgresql_using="gin", **more).ddl_if(dialect="postgresql")


workflows = Table(
    "workflows",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("published_at", INSTANT, nullable=False),
    Column("published_by", Text, nullable=False),
    Column("operations", Text),  # what the APIs say about those that it calls
    UniqueConstraint("name", "version"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("workflow_id", ID, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("inputs_digest", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("standing", Text, Computed(STANDING)),
    Column("direction", Text, nullable=False),
    Column("step", Integer),  # of the plan: where it stood when last written, for its next hint
    Column("epoch", BIG, nullable=False),
    Column("owner", ID),
    Column("claims", Integer, nullable=False),
    Column("hop_id", ID),
    Column("parent_hop_id", ID),
    Column("wake_at", INSTANT),
    Column("deadline_at", INSTANT),
    Column("published_at", INSTANT),
    Column("cancel", Text),  # taken up by the engine
    Column("cancel_wish", Text),  # asked for by somebody
    Column("cancel_reason", Text, nullable=False, server_default=""),
    Column("cause", Text, nullable=False, server_default=""),
    Column("outputs", Text),
    Column("created_at", INSTANT, nullable=False),
    Column("started_at", INSTANT),
    Column("settled_at", INSTANT),
    Column("audit_seq", Integer, nullable=False),
    # Audit records that others than the owner wrote since its claim. The owner numbers its own
    # without knowing of them, so this is added to its numbers.
    Column("audit_shift", Integer, nullable=False, server_default="0"),
    Column("write_number", Integer, nullable=False, server_default="0"),
    Column("edits", Text),  # step -> name -> value, for steps that had not begun
    Column("path", Text),  # its way through the plan once it has left the straight one
    # The run whose first steps it took over, and whose they may be to undo.
    Column("rerun_of", ID),
    Column("audit_head", LargeBinary),  # of its audit's chain, see core/chain
    Column("traceparent", Text),  # with which it was submitted
    UniqueConstraint("tenant", "idempotency_key"),
    _partial("runs_announced", "published_at", "lane", "direction", where=ANNOUNCED),
    _partial("runs_sleeping", "wake_at", "lane", "direction", where=SLEEPING),
    _partial("runs_aside", "id", where=f"{ASIDE} AND {UNENDED}"),
    _partial("runs_reruns", "rerun_of", "id", where="rerun_of IS NOT NULL"),
    _partial("runs_owned", "owner", "lane", "direction", where=OWNED),
    _partial("runs_by_standing", "standing", "id", "workflow", "tenant", where=AT_REST),
    _partial("runs_settled", "settled_at", where="settled_at IS NOT NULL"),
    # Only runs that fail are in it. What is new waits in a short list: a long one would be sorted
    # in by whoever happens to fill it.
    _words(
        "runs_by_cause",
        "cause",
        postgresql_where=text(FAILED),
        postgresql_with={"gin_pending_list_limit": "256"},
    ),
    Index("runs_by_tenant", "tenant", "id", "workflow"),
    Index("runs_by_workflow", "workflow", "id", "tenant"),
    postgresql_with=HOT,
)

run_attributes = Table(
    "run_attributes",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("name", ID, primary_key=True),
    Column("value", ID, nullable=False),
    Column("tenant", Text, nullable=False),
    # Newest first of one value; `tenant` is compared within the index.
    Index("run_attributes_by_value", "value", "name", "run_id", "tenant"),
    sqlite_with_rowid=False,
)

run_steps = Table(
    "run_steps",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("direction", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("doubt", Boolean, nullable=False),
    Column("first_started_at", INSTANT),
    Column("sequence", Integer),
    Column("request", Text),
    Column("outputs", Text),
    Column("error", Text),
    Column("started_at", INSTANT),
    Column("finished_at", INSTANT),
    sqlite_with_rowid=False,
    postgresql_with=HOT,
)

attempts = Table(
    "attempts",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("id", ID, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("direction", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("status_code", Integer),
    Column("started_at", INSTANT, nullable=False),
    Column("finished_at", INSTANT, nullable=False),
    Column("worker", Text, nullable=False),
    sqlite_with_rowid=False,
    postgresql_partition_by=BY_RUN,
)

audit = Table(
    "audit",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", INSTANT, nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("chain", LargeBinary),  # NULL: older than the chain
    sqlite_with_rowid=False,
    postgresql_partition_by=BY_RUN,
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", INSTANT, nullable=False),
    Column("upto", ID, nullable=False),  # ids of runs up to here are covered by it or one before
    Column("heads", Integer, nullable=False),
    Column("deletions", Integer, nullable=False),
    Column("content", Text, nullable=False),  # over the heads and deletions that are its own
    Column("previous", Text, nullable=False),  # digest of the one before
    Column("digest", Text, nullable=False),
    Column("key_id", Text),
    Column("signature", LargeBinary),
)

audit_anchors = Table(
    "audit_anchors",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("checkpoint", Integer, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("open", Boolean, nullable=False),  # the run's newest, and more may be told of the run
    Index("audit_anchors_checkpoint", "checkpoint", "run_id"),
    _partial("audit_anchors_open", "run_id", where="open"),
    sqlite_with_rowid=False,
)

audit_deletions = Table(
    "audit_deletions",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("checkpoint", Integer),  # NULL: of none yet
    Index("audit_deletions_checkpoint", "checkpoint", "run_id"),
    sqlite_with_rowid=False,
)

escalations = Table(
    "escalations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("run_id", ID, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("step", Integer),
    Column("step_id", Text),
    Column("direction", Text, nullable=False),
    Column("context", Text, nullable=False),
    Column("opened_at", INSTANT, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_at", INSTANT),
    Column("closed_at", INSTANT),
    Column("resolution", Text),
    Column("closed_by", Text),
    Column("closing_reason", Text),
    Column("api", Text),
    Column("claimed_until", INSTANT),
    Column("severity", Text),  # as the workflow says
    Column("due_seconds", Float),
    Index("escalations_run", "run_id"),
    _partial("escalations_one_open", "run_id", where=OPEN, unique=True),
    _partial("escalations_open", "id", where=OPEN),
    _partial("escalations_unclaimed", "id", where=UNCLAIMED),
    _words("escalations_by_detail", "detail"),
)

waits = Table(
    "waits",
    metadata,
    Column("id", ID, primary_key=True),
    Column("run_id", ID, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("step", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step_id", Text, nullable=False),
    Column("asks", Text, nullable=False),
    Column("signal", Text),
    Column("asked", Text, nullable=False),
    Column("opened_at", INSTANT, nullable=False),
    Column("expires_at", INSTANT),
    Column("remind_seconds", Float),
    Column("remind_at", INSTANT),
    Column("reminders", Integer, nullable=False, server_default="0"),
    Column("closed_at", INSTANT),
    Column("outcome", Text),
    Column("answer", Text),  # of an approval; of a signal it stands there
    Column("closed_by", Text),
    Column("via", Text),
    UniqueConstraint("run_id", "step", "attempt"),
    _partial("waits_open_approvals", "id", where=ASKING),
    _partial("waits_holding", "run_id", where="closed_at IS NULL AND attempt = 0"),
    _partial("waits_expired", "closed_at", where="outcome = 'expired' AND asks = 'approval'"),
)

proposals = Table(
    "proposals",
    metadata,
    Column("id", ID, primary_key=True),
    Column("run_id", ID, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("proposed_at", INSTANT, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    Column("closed_at", INSTANT),
    Column("outcome", Text),
    Column("closed_by", Text),
    Column("closing_reason", Text),
    Index("proposals_run", "run_id"),
    _partial("proposals_one_open", "run_id", "subject_id", where=OPEN, unique=True),
    _partial("proposals_open", "id", where=OPEN),
)

signals = Table(
    "signals",
    metadata,
    Column(
        "run_id", ID, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, nullable=False
    ),
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("sent_at", INSTANT, nullable=False),
    Column("sent_by", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("wait_id", ID),  # the wait that it answered
    UniqueConstraint("run_id", "name", "key"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", INSTANT, nullable=False),
    Column("heartbeat_at", INSTANT, nullable=False),
    Column("active_runs", Integer, nullable=False),
    Column("reserved", Integer, nullable=False),
    Column("version", Text, nullable=False),
)

api_overrides = Table(
    "api_overrides",
    metadata,
    Column("api", ID, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("settings", Text, nullable=False),
    Column("changed_at", INSTANT, nullable=False),
)

acceptances = Table(
    "acceptances",
    metadata,
    Column("id", ID, primary_key=True),
    Column("workflow", ID, nullable=False),
    Column("step", ID, nullable=False),
    Column("digest", Text, nullable=False),
    Column("compensation", Text, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("accepted_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("acceptances_workflow", "workflow", "id"),
)

notices = Table(
    "notices",
    metadata,
    Column("escalation_id", ID, ForeignKey("escalations.id", ondelete="CASCADE"), primary_key=True),
    Column("target", ID, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("told_at", INSTANT),
    Column("error", Text, nullable=False),
    _partial("notices_untold", "due_at", where="told_at IS NULL"),
    sqlite_with_rowid=False,
)

proposal_notices = Table(
    "proposal_notices",
    metadata,
    Column("proposal_id", ID, ForeignKey("proposals.id", ondelete="CASCADE"), primary_key=True),
    Column("target", ID, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("told_at", INSTANT),
    Column("error", Text, nullable=False),
    _partial("proposal_notices_untold", "due_at", where="told_at IS NULL"),
    sqlite_with_rowid=False,
)

wait_notices = Table(
    "wait_notices",
    metadata,
    Column("wait_id", ID, ForeignKey("waits.id", ondelete="CASCADE"), primary_key=True),
    Column("occasion", ID, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("target", ID, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("told_at", INSTANT),
    Column("error", Text, nullable=False),
    _partial("wait_notices_untold", "due_at", where="told_at IS NULL"),
    sqlite_with_rowid=False,
)

slo_counts = Table(
    "slo_counts",
    metadata,
    Column("workflow", ID, primary_key=True),
    Column("objective", ID, primary_key=True),  # its kind, and its threshold where it has one
    Column("span", Integer, primary_key=True),  # seconds: 60 or 3600
    Column("start", BigInteger, primary_key=True),  # seconds since 1970
    Column("good", BigInteger, nullable=False),
    Column("bad", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

slo_marks = Table(
    "slo_marks",
    metadata,
    Column("workflow", ID, primary_key=True),
    Column("objective", ID, primary_key=True),
    Column("counted_until", INSTANT, nullable=False),
    sqlite_with_rowid=False,
)

slo_alarms = Table(
    "slo_alarms",
    metadata,
    Column("id", ID, primary_key=True),
    Column("workflow", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("urgency", Text, nullable=False),
    Column("target", Float, nullable=False),
    Column("long_seconds", Integer, nullable=False),
    Column("bad", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("burn_rate", Float, nullable=False),
    Column("opened_at", INSTANT, nullable=False),
    Column("burning_at", INSTANT, nullable=False),
    Column("closed_at", INSTANT),
    _partial("slo_alarms_one_open", "workflow", "kind", "urgency", where=OPEN, unique=True),
)

alarm_notices = Table(
    "alarm_notices",
    metadata,
    Column("alarm_id", ID, ForeignKey("slo_alarms.id", ondelete="CASCADE"), primary_key=True),
    Column("target", ID, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("told_at", INSTANT),
    Column("error", Text, nullable=False),
    _partial("alarm_notices_untold", "due_at", where="told_at IS NULL"),
    sqlite_with_rowid=False,
)

traces = Table(
    "traces",
    metadata,
    Column("run_id", ID, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("due_at", INSTANT),  # NULL: told so far; a person has to decide before there is more
    Column("told", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    _partial("traces_due", "due_at", where="due_at IS NOT NULL"),
    _partial("traces_resting", "run_id", where="due_at IS NULL"),
    sqlite_with_rowid=False,
)

advances = Table(
    "advances",
    metadata,
    Column("api", ID, primary_key=True),
    Column("part", ID, primary_key=True),
    Column("total", BigInteger, primary_key=True),
    Column("upto", BigInteger, nullable=False),
    Column("written_at", INSTANT, nullable=False),
    sqlite_with_rowid=False,
)

api_windows = Table(
    "api_windows",
    metadata,
    Column("api", ID, primary_key=True),
    Column("operation", ID, primary_key=True),
    Column("began", INSTANT, primary_key=True),
    Column("worker", ID, primary_key=True),  # "" when those of several were merged
    Column("calls", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("throttled", BigInteger, nullable=False),
    Column("told", Text, nullable=False),  # buckets of durations, statuses: see core/windows
    Index("api_windows_began", "began"),
    sqlite_with_rowid=False,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("tenant", Text),
    Column("key", Text),
    Column("chosen", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("wanted_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("proposed", Integer, nullable=False, server_default="0"),  # of those that are done
    Column("created_at", INSTANT, nullable=False),
    Column("touched_at", INSTANT, nullable=False),
    Column("ended_at", INSTANT),
    Column("orders", Text, nullable=False),
    Index("jobs_key", "key", unique=True),
    _partial("jobs_running", "touched_at", where="state = 'running'"),
)

job_items = Table(
    "job_items",
    metadata,
    Column("job_id", ID, primary_key=True),
    Column("item", ID, primary_key=True),
    Column("state", Text, nullable=False),
    Column("outcome", Text, nullable=False, server_default=""),
    Column("at", INSTANT),
    _partial("job_items_pending", "job_id", "item", where="state = 'pending'"),
    sqlite_with_rowid=False,
)

api_changes = Table(
    "api_changes",
    metadata,
    Column("api", ID, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
)

agent_policies = Table(
    "agent_policies",
    metadata,
    Column("tenant", ID, primary_key=True),
    Column("agent", ID, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("policy", Text, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("changed_at", INSTANT, nullable=False),
)

agent_policy_changes = Table(
    "agent_policy_changes",
    metadata,
    Column("tenant", ID, primary_key=True),
    Column("agent", ID, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("policy", Text, nullable=False),
)

agent_uses = Table(
    "agent_uses",
    metadata,
    Column("run_id", ID, primary_key=True),
    Column("agent", ID, primary_key=True),  # whose policy: the agent's, or EVERYBODY's
    Column("tenant", ID, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("amount", BigInteger, nullable=False),  # millionths
    Column("currency", Text, nullable=False),
    Column("ended", Text),  # the run's last status, once it was seen to have ended
    Column("intent", Text, nullable=False, server_default=""),  # a digest of what is wanted
    Column("repeats", Integer, nullable=False, server_default="0"),  # the same wish came again
    Index("agent_uses_by_time", "tenant", "agent", "at"),
    Index("agent_uses_by_intent", "intent", "agent", "tenant", "at"),
    _partial("agent_uses_open", "tenant", "agent", "run_id", where="ended IS NULL"),
    sqlite_with_rowid=False,
)

agent_spending = Table(
    "agent_spending",
    metadata,
    Column("tenant", ID, primary_key=True),
    Column("agent", ID, primary_key=True),
    Column("period", ID, primary_key=True),  # `2026-11-29`, `2026-11`
    Column("what", ID, primary_key=True),  # RUNS, or a currency
    Column("spent", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

pauses = Table(
    "pauses",
    metadata,
    Column("id", ID, primary_key=True),
    Column("scope", ID, nullable=False),  # what it is about, as one text: one pause each at a time
    Column("run_id", ID),
    Column("workflow", Text),
    Column("tenant", Text),
    Column("also_undoing", Boolean, nullable=False),
    Column("paused_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", INSTANT, nullable=False),
    Column("until", INSTANT),
    Column("ended_at", INSTANT),
    Column("ended_by", Text),
    Column("ending_reason", Text),
    _partial("pauses_one_active", "scope", where=HOLDS, unique=True),
    _partial("pauses_of_runs", "run_id", where=f"{HOLDS} AND run_id IS NOT NULL"),
    _partial("pauses_of_many", "id", where=f"{HOLDS} AND run_id IS NULL"),
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("tenant", Text),
    Column("digest", Text, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", INSTANT),
    Column("revoked_at", INSTANT),
    Column("revoked_by", Text),
)
