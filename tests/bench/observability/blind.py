"""An engine that keeps no audit: for workers of `bench observability` alone, to compare with.

Importing it (workers do, as a module of tasks) takes out what a worker does for the audit of its
runs: records, journal, what they say of calls, and their hash chain. Such runs cannot be replayed
or proved. No setting of the product does this.
"""

from __future__ import annotations

from typing import Any

from orchestrator.engine.standing import Standing

_NOTHING: dict[str, Any] = {}


def _no_record(standing: Standing, *_: object) -> None:
    standing._journal.clear()


def _no_evidence(*_: object) -> dict[str, Any]:
    return _NOTHING


for _name in ("audit", "audit_intent", "audit_outcome", "_note_journal"):
    setattr(Standing, _name, _no_record)
setattr(Standing, "_evidence", _no_evidence)  # noqa: B010 - as those above
