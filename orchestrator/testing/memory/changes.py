"""What operators have changed of APIs, and accepted of what was derived."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import uuid_utils

from orchestrator.errors import Conflict, Problem
from orchestrator.ports import Acceptance, ApiChange, ApiOverride, NewAcceptance, NewApiChange
from orchestrator.store.codec import storable
from orchestrator.testing.memory.tables import MemoryDatabase


def change(database: MemoryDatabase, new: NewApiChange) -> ApiOverride:
    """Make it and record it. Raises Conflict when somebody else was first."""
    known = database.api_overrides.get(new.api)
    version = 0 if known is None else known.version
    if version != new.expected_version:
        problem = Problem(
            place=f"API {new.api}", found=f"change {version}",
            wanted=f"change {new.expected_version}",
        )  # fmt: skip
        raise Conflict("somebody else has changed the API in between", problems=[problem])
    now = database.clock()
    made = ApiOverride(api=new.api, version=version + 1, settings=new.settings, changed_at=now)
    database.api_overrides[new.api] = made
    database.api_changes.setdefault(new.api, []).append(
        ApiChange(
            api=new.api, version=version + 1, kind=new.kind, at=now, by=storable(new.by),
            reason=storable(new.reason), before=_kept(new.before), after=_kept(new.after),
        )
    )  # fmt: skip
    return made


def accept(database: MemoryDatabase, new: Sequence[NewAcceptance]) -> list[Acceptance]:
    """Note who has accepted what."""
    now = database.clock()
    noted = [
        Acceptance(
            id=str(uuid_utils.uuid7()), workflow=each.workflow, step=each.step,
            digest=each.digest, compensation=_kept(each.compensation), at=now,
            by=storable(each.by), reason=storable(each.reason),
        )
        for each in new
    ]  # fmt: skip
    database.acceptances += noted
    return noted


def _kept(values: object) -> dict[str, object]:
    """As it comes back from a column of JSON."""
    return msgspec.json.decode(msgspec.json.encode(values), type=dict[str, object])
