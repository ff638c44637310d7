"""The world of the payments workflow: a payment API's look-alike with real card semantics.

A declined card is refused by the API itself. A charge that its card holder disputes cannot be
refunded: the bank has taken the money back already, so that an undo of it is for people.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from orchestrator.core.states import RunStatus
from orchestrator.demo.reconcile import Expected, Record, RunView, Verdict, reconcile
from orchestrator.demo.seeding import Order, deal_endings
from orchestrator.demo.world import Change, WorldState
from orchestrator.demo.worlds import OPERATOR, WayOut
from orchestrator.embedded.process import Child
from orchestrator.errors import Unavailable
from orchestrator.ports import EscalationRecord
from orchestrator.service.escalations import Escalations

DOCUMENT = "payments.arazzo.yaml"
KEY = "sk_test_demo"
"""The API takes any key of this form."""
EFFECTS = ("deposit", "balance")
_DECLINED = ("tok_chargeDeclined", "tok_chargeDeclinedInsufficientFunds", "tok_chargeCustomerFail")
_GOOD = ("tok_visa", "tok_mastercard", "tok_amex")


@dataclass(frozen=True, kw_only=True, slots=True)
class Payments:
    """Implements World."""

    child: Child
    workflow: str = "payments"
    ways_out: Sequence[WayOut] = (WayOut.RESOLVE, WayOut.SKIP, WayOut.ABANDON)

    def environment(self) -> Mapping[str, str]:
        """See World."""
        return {
            "ORCHESTRATOR_API_STRIPE_BASE_URL": self.child.spec.address,
            "STRIPE_KEY": KEY,
        }

    def seed(self, count: int, *, seed: int, prefix: str) -> Sequence[Order]:
        """See World."""
        return seed_payments(count, seed=seed, prefix=prefix)

    def named(self, escalation: EscalationRecord, order_id: str) -> frozenset[Record]:
        """See World. A customer without charges is no effect: the workflow says why it stays."""
        steps = [item["step"] for item in escalation.context["standing"]]
        return frozenset((step, order_id) for step in steps if step in EFFECTS)

    async def open(self) -> None:
        """See World."""

    async def meanwhile(self) -> None:
        """See World. Disputes are made by the API itself."""
        await asyncio.Event().wait()

    async def act(
        self, escalations: Escalations, escalation: EscalationRecord, way: WayOut, order_id: str
    ) -> Expected:
        """See World. The charge itself cannot be changed by anyone: its dispute decides."""
        stuck = frozenset({(str(escalation.step_id), order_id)})
        match way:
            case WayOut.RESOLVE:
                reason = (
                    "the bank has taken the money back for the card holder: as good as refunded"
                )
                await escalations.resolve(escalation.id, by=OPERATOR, reason=reason)
            case WayOut.SKIP:
                reason = "the dispute is contested; the charge stands until it is decided"
                await escalations.skip(escalation.id, by=OPERATOR, reason=reason)
            case _:
                reason = "left to the dispute as it is"
                await escalations.abandon(escalation.id, by=OPERATOR, reason=reason)
                return Expected(status=RunStatus.ABANDONED)
        return Expected(status=RunStatus.COMPENSATED, kept=stuck)

    async def reconcile(
        self,
        orders: Sequence[Order],
        views: Mapping[str, RunView],
        expected: Mapping[str, Expected],
    ) -> Verdict:
        """See World."""
        charges = await self._charges()
        return reconcile(
            orders, views, state_of(charges),
            effects=EFFECTS, expected=expected, others=frozenset(),
        )  # fmt: skip

    async def _charges(self) -> Sequence[Mapping[str, Any]]:
        """All charges, oldest first. Without a limit the look-alike answers with all of them."""
        url = f"{self.child.spec.address}/v1/charges"
        try:
            async with (
                aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
                session.get(url, raise_for_status=True) as answer,
            ):
                charges: Sequence[Mapping[str, Any]] = (await answer.json())["data"]
                return charges
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable("stripe", url, repr(error)) from error


def seed_payments(count: int, *, seed: int, prefix: str) -> Sequence[Order]:
    """Orders of two charges each, the same for the same arguments."""
    dice = random.Random(f"{seed}/{count}/payments")
    endings = deal_endings(count, dice)
    return [_order(f"{prefix}-{n:06d}", end, dice) for n, end in enumerate(endings, start=1)]


def _order(order_id: str, ending: RunStatus, dice: random.Random) -> Order:
    inputs = {
        "order_id": order_id,
        "email": f"{order_id}@example.org",
        "deposit": dice.randint(10, 99) * 100,
        "balance": dice.randint(100, 999) * 100,
        "deposit_source": dice.choice(_GOOD),
        "balance_source": dice.choice(_GOOD),
    }
    if ending is RunStatus.SUCCEEDED:
        return _with(inputs, {}, ending, None, "both cards are good")
    declined = dice.choice(_DECLINED)
    if ending is RunStatus.ESCALATED:
        wrong = {"deposit_source": "tok_createDispute", "balance_source": declined}
        return _with(inputs, wrong, ending, "balance", "declined after the deposit was disputed")
    step = dice.choice(EFFECTS)
    return _with(inputs, {f"{step}_source": declined}, ending, step, "card declined")


def _with(
    inputs: Mapping[str, Any],
    wrong: Mapping[str, Any],
    ending: RunStatus,
    refused_at: str | None,
    why: str,
) -> Order:
    return Order(
        order_id=inputs["order_id"], inputs={**inputs, **wrong}, ending=ending,
        refused_at=refused_at, why=why,
    )  # fmt: skip


def state_of(charges: Iterable[Mapping[str, Any]]) -> WorldState:
    """Charges that went through as effects, their refunds as undos.

    A charge's description names order and step. The API has one second for its clock's unit, so
    the journal's order is that of its list, refunds last.
    """
    made: list[tuple[str, Record]] = []
    refunded: list[tuple[str, Record]] = []
    live: dict[Record, Mapping[str, Any]] = {}
    for charge in charges:
        if charge["status"] != "succeeded":
            continue
        order_id, _, step = charge["description"].partition(" ")
        made.append(("create", (step, order_id)))
        refunded += [("delete", (step, order_id)) for _ in charge["refunds"]["data"]]
        if not charge["refunded"]:
            live[(step, order_id)] = charge
    journal = enumerate([*made, *reversed(refunded)])
    changes = [
        Change(position=n, action=action, collection=step, record=order_id, user="")
        for n, (action, (step, order_id)) in journal
    ]
    return WorldState(records=live, changes=tuple(changes))
