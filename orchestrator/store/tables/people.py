"""What people and others outside are asked, decide and send, and who they are."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from orchestrator.store.tables.columns import ID, INSTANT, metadata, partial, words
from orchestrator.store.tables.conditions import ASKING, HOLDS, OPEN, UNCLAIMED

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
    partial("escalations_one_open", "run_id", where=OPEN, unique=True),
    partial("escalations_open", "id", where=OPEN),
    partial("escalations_unclaimed", "id", where=UNCLAIMED),
    words("escalations_by_detail", "detail"),
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
    partial("waits_open_approvals", "id", where=ASKING),
    partial("waits_holding", "run_id", where="closed_at IS NULL AND attempt = 0"),
    partial("waits_expired", "closed_at", where="outcome = 'expired' AND asks = 'approval'"),
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
    partial("proposals_one_open", "run_id", "subject_id", where=OPEN, unique=True),
    partial("proposals_open", "id", where=OPEN),
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
    partial("pauses_one_active", "scope", where=HOLDS, unique=True),
    partial("pauses_of_runs", "run_id", where=f"{HOLDS} AND run_id IS NOT NULL"),
    partial("pauses_of_many", "id", where=f"{HOLDS} AND run_id IS NULL"),
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
    partial("jobs_running", "touched_at", where="state = 'running'"),
)

job_items = Table(
    "job_items",
    metadata,
    Column("job_id", ID, primary_key=True),
    Column("item", ID, primary_key=True),
    Column("state", Text, nullable=False),
    Column("outcome", Text, nullable=False, server_default=""),
    Column("at", INSTANT),
    partial("job_items_pending", "job_id", "item", where="state = 'pending'"),
    sqlite_with_rowid=False,
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
