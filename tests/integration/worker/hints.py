"""Hints for tests."""

from __future__ import annotations

import uuid
from typing import Any

from orchestrator.ports import FORWARD_TASK, Hint


def a_hint(label: str = "checkout.noop", **changes: Any) -> Hint:
    fields = {
        "run_id": str(uuid.uuid4()),
        "epoch": 3,
        "hop_id": str(uuid.uuid4()),
        "parent_hop_id": str(uuid.uuid4()),
        "label": label,
        "task": FORWARD_TASK,
        "queue": "default.forward",
    }
    return Hint(**(fields | changes))
