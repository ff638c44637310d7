"""The demo's operator: takes some dead letters and shows each way out of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.states import RunStatus
from orchestrator.demo.kinto import KintoClient
from orchestrator.demo.reconcile import Expected, Record
from orchestrator.demo.views import stuck_record
from orchestrator.demo.world import record_path
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import EscalationRecord
from orchestrator.service.escalations import Escalations

USER = "operator"
LEFT_OPEN = 5
"""At least this many stay escalated, for the reader to try."""
_MOST_ACTS = 8


class WayOut(StrEnum):
    """What can be done about an undo that was refused."""

    RETRY = "retry"  # the obstacle is gone: let the machine try again
    RESOLVE = "resolve"  # done by hand: vouch for it
    SKIP = "skip"  # the effect may stand: undo the rest
    ABANDON = "abandon"  # leave all of it as it is


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """One act, and how its run has to end now."""

    run_id: str
    escalation_id: str
    way: WayOut
    expected: Expected


def choose(open_escalations: Sequence[EscalationRecord]) -> list[tuple[EscalationRecord, WayOut]]:
    """The oldest ones, each way out in turn, as many as may be closed."""
    count = max(0, min(_MOST_ACTS, len(open_escalations) - LEFT_OPEN))
    ways = list(WayOut)
    return [(open_escalations[n], ways[n % len(ways)]) for n in range(count)]


class Clerk:
    """Looks at the record, repairs it at the server where that is the way out, then decides."""

    def __init__(self, escalations: Escalations, client: KintoClient) -> None:
        self._escalations, self._client = escalations, client

    async def act(self, escalation: EscalationRecord, way: WayOut) -> Done:
        """Claim one and end it. Raises Conflict when somebody else has it."""
        await self._escalations.claim(escalation.id, by=USER)
        record = self._record(escalation)
        expected = await self._carry_out(escalation, record, way)
        return Done(
            run_id=escalation.run_id, escalation_id=escalation.id, way=way, expected=expected
        )

    async def _carry_out(
        self, escalation: EscalationRecord, record: Record, way: WayOut
    ) -> Expected:
        one, name = escalation.id, "/".join(record)
        undone = Expected(status=RunStatus.COMPENSATED)
        match way:
            case WayOut.RETRY:
                version = await self._remove(record)
                reason = f"removed {name} by hand at {version}, agreed with the review desk"
                await self._escalations.retry(one, by=USER, reason=reason)
                return undone
            case WayOut.RESOLVE:
                version = await self._remove(record)
                reason = f"{name} is gone since {version}; checked at the server"
                await self._escalations.resolve(one, by=USER, reason=reason)
                return undone
            case WayOut.SKIP:
                reason = f"the review desk keeps {name}; the rest is to be undone"
                await self._escalations.skip(one, by=USER, reason=reason)
                return Expected(status=RunStatus.COMPENSATED, kept=frozenset({record}))
            case WayOut.ABANDON:
                reason = "the customer has come to terms with the shop; all of it stays"
                await self._escalations.abandon(one, by=USER, reason=reason)
                return Expected(status=RunStatus.ABANDONED)

    async def _remove(self, record: Record) -> str:
        """Delete exactly the version that was looked at; answers the server's ETag of the deed."""
        path = record_path(*record)
        _, _, seen = await self._client.call("GET", path)
        status, body, done = await self._client.call(
            "DELETE", path, headers={"If-Match": seen.get("ETag", "")}
        )
        if status not in {200, 404}:
            problem = Problem(place=path, found=f"{status} {body}", wanted="200 or 404")
            raise Conflict("the record could not be removed by hand", problems=[problem])
        return done.get("ETag", "an earlier time")

    def _record(self, escalation: EscalationRecord) -> Record:
        record = stuck_record(escalation)
        if record is None:
            problem = Problem(
                place=f"escalation {escalation.id}",
                found=f"{escalation.reason}: {escalation.detail}",
                wanted="an undo that the server refused",
            )
            raise Conflict("not an escalation of the kind that the demo makes", problems=[problem])
        return record
