"""`orchestrator migrate`."""

from __future__ import annotations

import asyncio

from orchestrator.cli.output import JsonFlag, answer
from orchestrator.settings import load_settings


def migrate(*, as_json: JsonFlag = False) -> None:
    """Bring the database to this release's tables, and do nothing else.

    Any command does so when it may; where only one user of the database may, this is its command.
    """
    from orchestrator.wiring_services import migrate_only

    done = asyncio.run(migrate_only(load_settings()))
    text = "the database was brought to this release" if done else "the database was there already"
    answer({"migrated": done}, lambda: text, as_json=as_json)
