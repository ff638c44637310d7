"""Whether a person has accepted a derived compensation, and as it stands now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from orchestrator.definitions.cursor import Cursor

DERIVED = "x-derived"
_ACCEPTED = "accepted"


def digest_of(compensation: Mapping[str, Any]) -> str:
    """SHA-256 of what would run: the `x-compensation` without `x-derived`, its keys in order."""
    what = {key: value for key, value in compensation.items() if key != DERIVED}
    text = json.dumps(what, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_accepted(compensation: Mapping[str, Any]) -> bool:
    """Whether it may run: written by a person, or accepted and not changed since."""
    derived = compensation.get(DERIVED)
    if derived is None:
        return True
    accepted = derived.get(_ACCEPTED) if isinstance(derived, Mapping) else None
    return isinstance(accepted, Mapping) and accepted.get("digest") == digest_of(compensation)


def check_accepted(at: Cursor) -> None:
    """Note an `x-compensation` that was derived and that nobody has accepted as it stands."""
    derived = at.get(DERIVED)
    if derived is None or not derived.is_object():
        return
    derived.only({"rule", "confidence", "evidence", _ACCEPTED})
    wanted = "orchestrator workflows accept FILE, after a look at it"
    accepted = derived.get(_ACCEPTED)
    if accepted is None:
        rule = derived.value.get("rule")
        derived.bad(wanted, found=f"derived by {rule}, accepted by nobody")
    elif not is_accepted(at.value):
        who = accepted.value.get("by") if isinstance(accepted.value, Mapping) else None
        accepted.bad(wanted, found=f"changed since {who} has accepted it")
