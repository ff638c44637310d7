"""Plans as stored, and a cache of what the other modules need of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.core.plan import PLAN_FORMAT, Plan
from orchestrator.store import codec


def dump_plan(plan: Plan) -> str:
    """The plan as text that names its format."""
    return json.dumps(
        {"format": PLAN_FORMAT, "plan": msgspec.to_builtins(plan, enc_hook=_plain)},
        separators=(",", ":"),
    )


def load_plan(stored: str) -> Plan:
    """Inverse of `dump_plan`. Raises UnknownFormat."""
    document = json.loads(stored)
    if document.get("format") != PLAN_FORMAT:
        raise codec.UnknownFormat(
            f"stored plan: found format {document.get('format')!r}; wanted {PLAN_FORMAT}"
        )
    return msgspec.convert(document["plan"], Plan)


def digest_of(plan: Plan) -> str:
    """The plan's own digest, or one of its stored form when its maker gave none."""
    return plan.digest or hashlib.sha256(dump_plan(plan).encode()).hexdigest()


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a plan holds JSON values, not {type(value).__name__}")
