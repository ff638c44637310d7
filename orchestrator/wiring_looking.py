"""The store for what people look at, and the looks themselves, built from the settings."""

from __future__ import annotations

from contextlib import AsyncExitStack

from orchestrator.settings import Settings
from orchestrator.store import Looks, SqlStore


def open_looking(
    settings: Settings, store: SqlStore, stack: AsyncExitStack, *, pool_wait_seconds: float
) -> tuple[SqlStore, Looks]:
    """Without a replica the store itself, and looks that change nothing. Raises InvalidSetting."""
    if not settings.database_read_url:
        return store, Looks(None)
    replica = store.replica(
        settings.database_read_url, max_lag_seconds=settings.database_read_max_lag_seconds,
        pool_wait_seconds=pool_wait_seconds,
    )  # fmt: skip
    stack.push_async_callback(replica.close)
    return store.looked_at(replica), Looks(replica)
