"""Workflows, their runs, and all that is written while a run is on its way; who drives them."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from orchestrator.store.tables.columns import (
    BIG,
    BY_RUN,
    HOT,
    ID,
    INSTANT,
    metadata,
    partial,
    words,
)
from orchestrator.store.tables.conditions import (
    ANNOUNCED,
    ASIDE,
    AT_REST,
    CHILD,
    FAILED,
    OWNED,
    SLEEPING,
    STANDING,
    UNENDED,
    UNTOLD,
)

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
    Column("key_id", Text),  # whose signature; null: it is not signed
    Column("signature", LargeBinary),  # Ed25519 over WorkflowVersion.text()
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
    Column("parent_id", ID),  # the run of which a step began it
    Column("wait_id", ID),  # that its end answers, until it has
    Column("depth", Integer),  # of parents above it; null: none
    Column("branch", Text),  # BLOCK/BRANCH; of a run that undoes a block, BLOCK; else null
    Column("whole_id", ID),  # of these: the run of which they are parts, above all such blocks
    Column("fails_fast", Boolean),  # of a branch: the others are cancelled where it fails
    Column("map_id", ID),  # of an item of a map: of which
    Column("item", Integer),  # of these: its index, from 0
    Column("traceparent", Text),  # with which it was submitted
    Column("tracestate", Text),  # the same
    UniqueConstraint("tenant", "idempotency_key"),
    partial("runs_announced", "published_at", "lane", "direction", where=ANNOUNCED),
    partial("runs_sleeping", "wake_at", "lane", "direction", where=SLEEPING),
    partial("runs_aside", "id", where=f"{ASIDE} AND {UNENDED}"),
    partial("runs_reruns", "rerun_of", "id", where="rerun_of IS NOT NULL"),
    partial("runs_children", "parent_id", "id", where=CHILD),
    partial("runs_awaited", "wait_id", where="wait_id IS NOT NULL"),
    partial("runs_untold", "wait_id", where=UNTOLD),
    partial("runs_owned", "owner", "lane", "direction", where=OWNED),
    partial("runs_by_standing", "standing", "id", "workflow", "tenant", where=AT_REST),
    partial("runs_settled", "settled_at", where="settled_at IS NOT NULL"),
    # Only runs that fail are in it. What is new waits in a short list: a long one would be sorted
    # in by whoever happens to fill it.
    words(
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

traces = Table(
    "traces",
    metadata,
    Column("run_id", ID, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("due_at", INSTANT),  # NULL: told so far; a person has to decide before there is more
    Column("told", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text, nullable=False),
    partial("traces_due", "due_at", where="due_at IS NOT NULL"),
    partial("traces_resting", "run_id", where="due_at IS NULL"),
    sqlite_with_rowid=False,
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
