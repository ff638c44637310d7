"""Those who were told that there is room at the gate, and are not in line yet.

A run writes its intent down before it joins the line. When hundreds come at once, all of them would
find the line as short as the first did, and most would have to take their intent back.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from orchestrator.engine.gate_kinds import Kind
from orchestrator.ports import Visit

COMING_SECONDS = 1.0
"""Who has not come by then does not: it was cancelled, or its process has other worries."""


class _Expected(NamedTuple):
    tenant: str
    undo: bool
    kind: Kind
    until: float


class Coming:
    """By run; times are `time.monotonic()`."""

    def __init__(self) -> None:
        self._expected: dict[str, _Expected] = {}  # in the order of their time
        self.undo: Counter[str] = Counter()  # by tenant
        self.new: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._expected)

    def of(self, visit: Visit) -> int:
        """How many of its tenant, undos and new work apart."""
        return self._lane(undo=visit.undo)[visit.tenant]

    def expect(self, visit: Visit, kind: Kind, *, now: float) -> None:
        """It was told that there is room."""
        if visit.run_id:
            self.came(visit.run_id)
            self._expected[visit.run_id] = _Expected(
                visit.tenant, visit.undo, kind, now + COMING_SECONDS
            )
            self._lane(undo=visit.undo)[visit.tenant] += 1
            for scope in kind.scopes:
                scope.coming[visit.tenant] += 1

    def came(self, run_id: str) -> None:
        """It is here, and counted as such."""
        found = self._expected.pop(run_id, None)
        if found is not None:
            for counter in (
                self._lane(undo=found.undo), *(scope.coming for scope in found.kind.scopes)
            ):  # fmt: skip
                counter[found.tenant] -= 1
                if not counter[found.tenant]:
                    del counter[found.tenant]

    def forget_missing(self, *, now: float) -> None:
        """Do not expect those any more who should have come by now."""
        while self._expected:
            run_id, first = next(iter(self._expected.items()))
            if first.until > now:
                return
            self.came(run_id)

    def _lane(self, *, undo: bool) -> Counter[str]:
        return self.undo if undo else self.new
