"""Two charges, both or none, at two look-alikes of a payment API that we did not write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import RunStatus
from orchestrator.demo.payments import DOCUMENT, KEY
from orchestrator.service.submitting import Submission
from tests.integration.stripe.stack import ROOT, settle, stack

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

LOCAL = Path(__file__).parent / "local"


async def listed(url: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(url, raise_for_status=True) as answer,
    ):
        data: list[dict[str, Any]] = (await answer.json(content_type=None))["data"]
        return data


def payment(order_id: str, *, deposit: str = "tok_visa", balance: str = "tok_visa") -> Submission:
    return Submission(
        workflow="payments",
        idempotency_key=order_id,
        inputs={
            "order_id": order_id,
            "email": "ada@example.org",
            "deposit": 1_000,
            "balance": 9_000,
            "deposit_source": deposit,
            "balance_source": balance,
        },
    )


async def test_cards_of_every_kind(stripe_mock: str, tmp_path: Path) -> None:
    environment = {"ORCHESTRATOR_API_STRIPE_BASE_URL": stripe_mock, "STRIPE_KEY": KEY}
    async with stack(tmp_path, ROOT / "config", [DOCUMENT], environment) as services:
        runs = await settle(
            services,
            [
                payment("good"),
                # Too many requests: certainly no effect, so it is sent again.
                payment("busy", deposit="tok_429|tok_visa"),
                payment("declined", balance="tok_chargeDeclined"),
                payment("at-once", deposit="tok_chargeDeclined"),
                payment("disputed", deposit="tok_createDispute", balance="tok_chargeDeclined"),
                # A server error does not tell whether the card was charged, however often asked.
                payment("doubtful", balance="tok_500"),
            ],
        )
        escalations = {one.run_id: one for one in await services.escalations.list()}
    assert {key: run.status for key, run in runs.items()} == {
        "good": RunStatus.SUCCEEDED,
        "busy": RunStatus.SUCCEEDED,
        "declined": RunStatus.COMPENSATED,
        "at-once": RunStatus.COMPENSATED,
        "disputed": RunStatus.ESCALATED,
        "doubtful": RunStatus.ESCALATED,
    }
    disputed, doubtful = escalations[runs["disputed"].id], escalations[runs["doubtful"].id]
    assert (disputed.reason, disputed.step_id) == (EscalationReason.COMPENSATION_FAILED, "deposit")
    assert (doubtful.reason, doubtful.step_id) == (EscalationReason.IN_DOUBT, "balance")

    charges = [c for c in await listed(f"{stripe_mock}/v1/charges") if c["status"] == "succeeded"]
    names = ("good", "busy", "declined", "at-once", "disputed", "doubtful")
    ours = [c for c in charges if c["description"].split()[0] in names]
    assert Counter(c["description"] for c in ours) == {
        "good deposit": 1,
        "good balance": 1,
        "busy deposit": 1,
        "busy balance": 1,
        "declined deposit": 1,
        "disputed deposit": 1,
        "doubtful deposit": 1,
    }
    refunds = {c["description"]: len(c["refunds"]["data"]) for c in ours}
    assert [name for name, count in refunds.items() if count] == ["declined deposit"]
    assert refunds["declined deposit"] == 1


@pytest.mark.long
def test_the_demo_on_the_payment_world(stripe_mock: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from orchestrator.cli.main import run; run()"]
    options = ["--world", "stripe", "--runs", "100", "--concurrency", "50", "--json"]
    done = subprocess.run(
        [*command, "--state-dir", str(tmp_path / "state"), "demo", *options],
        cwd=ROOT, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["runs"], result["succeeded"]) == (100, 85)
    assert result["escalated"] == 3
    assert result["orphaned_effects"] == result["duplicate_effects"] == 0


async def test_without_keys_nothing_is_charged_or_refunded_twice(
    localstripe: str, tmp_path: Path
) -> None:
    environment = {"ORCHESTRATOR_API_LOCALSTRIPE_BASE_URL": localstripe, "STRIPE_KEY": KEY}
    cards = {
        "pm_card_visa": RunStatus.SUCCEEDED,
        "pm_card_chargeCustomerFail": RunStatus.COMPENSATED,
    }
    submissions = [
        Submission(
            workflow="two-charges",
            idempotency_key=f"{card}-{number}",
            inputs={"order_id": f"{card}-{number}", "second_card": card},
        )
        for card in cards
        for number in range(20)
    ]
    async with stack(tmp_path, LOCAL, ["two-charges.arazzo.yaml"], environment) as services:
        runs = await settle(services, submissions)
    for key, run in runs.items():
        assert run.status is cards[key.rpartition("-")[0]], (key, run.cause)

    charges = await listed(f"{localstripe}/v1/charges?limit=100")
    refunds = Counter(r["charge"] for r in await listed(f"{localstripe}/v1/refunds?limit=100"))
    succeeded = {c["id"]: c["description"] for c in charges if c["status"] == "succeeded"}
    by_order = Counter(succeeded.values())
    assert set(refunds.values()) == {1}, "a charge was refunded twice"
    for key in runs:
        good = key.startswith("pm_card_visa")
        assert by_order[key] == (2 if good else 1), key
    assert {succeeded[charge] for charge in refunds} == {
        key for key in runs if not key.startswith("pm_card_visa")
    }
