"""The shapes of the workload as published workflows."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.store import migrate, open_store
from tests.faults.workload import SHAPES, Shape


async def publish(database: str, shapes: Sequence[Shape] = SHAPES) -> None:
    """The newest schema, and the shapes as published workflows, of a database by its URL."""
    await migrate(database)
    store = open_store(database, pool_size=1)
    try:
        for shape in shapes:
            await store.publish(shape.plan, document=shape.name, by="bench")
    finally:
        await store.close()
