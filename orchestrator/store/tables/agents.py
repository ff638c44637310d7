"""Policies of software agents, and what is used of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text

from orchestrator.store.tables.columns import ID, INSTANT, metadata, partial

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
    partial("agent_uses_open", "tenant", "agent", "run_id", where="ended IS NULL"),
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
