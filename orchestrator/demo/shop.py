"""The world of the checkout workflow: a shop's records on a Kinto server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.states import RunStatus
from orchestrator.demo.desk import USER as DESK
from orchestrator.demo.desk import ReviewDesk
from orchestrator.demo.kinto import PASSWORD, KintoClient
from orchestrator.demo.reconcile import FORWARD, Expected, Record, RunView, Verdict, reconcile
from orchestrator.demo.seeding import Order, seed_orders
from orchestrator.demo.views import standing_records, stuck_record
from orchestrator.demo.world import open_shop, read_world, record_path
from orchestrator.demo.worlds import OPERATOR, WayOut
from orchestrator.embedded.process import Child
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import EscalationRecord
from orchestrator.service.escalations import Escalations

OWNER = "shop-owner"
DOCUMENT = "checkout.arazzo.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """Implements World."""

    child: Child
    workflow: str = "checkout"
    ways_out: Sequence[WayOut] = tuple(WayOut)

    def environment(self) -> Mapping[str, str]:
        """See World."""
        return {
            "ORCHESTRATOR_API_KINTO_BASE_URL": self.child.spec.address,
            "KINTO_PASSWORD": PASSWORD,
        }

    def seed(self, count: int, *, seed: int, prefix: str) -> Sequence[Order]:
        """See World."""
        return seed_orders(count, seed=seed, prefix=prefix)

    def named(self, escalation: EscalationRecord, order_id: str) -> frozenset[Record]:
        """See World."""
        return standing_records(escalation)

    async def open(self) -> None:
        """See World."""
        async with self._client(OWNER) as owner:
            await open_shop(owner)

    async def meanwhile(self) -> None:
        """See World."""
        async with self._client(DESK) as desk:
            await ReviewDesk(desk).work()

    async def act(
        self, escalations: Escalations, escalation: EscalationRecord, way: WayOut, order_id: str
    ) -> Expected:
        """See World. Raises Conflict when the record has changed once more."""
        record = _stuck(escalation)
        one, name = escalation.id, "/".join(record)
        match way:
            case WayOut.RETRY:
                version = await self._remove(record)
                reason = f"removed {name} by hand at {version}, agreed with the review desk"
                await escalations.retry(one, by=OPERATOR, reason=reason)
            case WayOut.RESOLVE:
                version = await self._remove(record)
                reason = f"{name} is gone since {version}; checked at the server"
                await escalations.resolve(one, by=OPERATOR, reason=reason)
            case WayOut.SKIP:
                reason = f"the review desk keeps {name}; the rest is to be undone"
                await escalations.skip(one, by=OPERATOR, reason=reason)
                return Expected(status=RunStatus.COMPENSATED, kept=frozenset({record}))
            case WayOut.ABANDON:
                reason = "the customer has come to terms with the shop; all of it stays"
                await escalations.abandon(one, by=OPERATOR, reason=reason)
                return Expected(status=RunStatus.ABANDONED)
        return Expected(status=RunStatus.COMPENSATED)

    async def reconcile(
        self,
        orders: Sequence[Order],
        views: Mapping[str, RunView],
        expected: Mapping[str, Expected],
    ) -> Verdict:
        """See World."""
        async with self._client(OWNER) as owner:
            state = await read_world(owner)
        others = frozenset([await self._name_of(user) for user in (OWNER, DESK, OPERATOR)])
        return reconcile(orders, views, state, effects=FORWARD, expected=expected, others=others)

    async def _name_of(self, user: str) -> str:
        async with self._client(user) as client:
            return await client.whoami()

    async def _remove(self, record: Record) -> str:
        """Delete exactly the version that was looked at; answers the server's ETag of the deed."""
        path = record_path(*record)
        async with self._client(OPERATOR) as client:
            _, _, seen = await client.call("GET", path)
            condition = {"If-Match": seen.get("ETag", "")}
            status, body, done = await client.call("DELETE", path, headers=condition)
        if status not in {200, 404}:
            problem = Problem(place=path, found=f"{status} {body}", wanted="200 or 404")
            raise Conflict("the record could not be removed by hand", problems=[problem])
        return done.get("ETag", "an earlier time")

    def _client(self, user: str) -> KintoClient:
        return KintoClient(self.child.spec.address, user=user)


def _stuck(escalation: EscalationRecord) -> Record:
    record = stuck_record(escalation)
    if record is None:
        problem = Problem(
            place=f"escalation {escalation.id}",
            found=f"{escalation.reason}: {escalation.detail}",
            wanted="an undo that the server refused",
        )
        raise Conflict("not an escalation of the kind that the demo makes", problems=[problem])
    return record
