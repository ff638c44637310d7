"""Each target is told once that a run asks, that it still asks, and that it got no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from orchestrator.ports import ClaimedRun, WaitRecord
from orchestrator.ports.notices import Notice, Untold
from orchestrator.service.links import LinkSigner
from orchestrator.service.notifying import Invitations, Notifier
from orchestrator.service.urgency import Urgency
from orchestrator.store import SqlStore, open_store
from tests.store.making import ME, claimed, escalated
from tests.store.test_proposals import proposal
from tests.store.test_waiting import approval, asking, asleep, decide, sleep, wait

TARGETS = ["chat", "ops"]
SIGNER = LinkSigner(key="k" * 32, public_url="https://flows.example.com/")


@pytest.fixture
async def stores(url: str) -> AsyncIterator[list[SqlStore]]:
    """Those of three workers on one database."""
    made = [open_store(url, pool_size=2) for _ in range(3)]
    yield made
    for each in made:
        await each.close()


class Heard:
    """A target that takes what it is told, unless it does not want to."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.wants = True

    async def send(self, notice_id: str, body: Any) -> None:
        if not self.wants:
            raise Untold("not now")
        self.told.append((notice_id, body))

    async def aclose(self) -> None:
        """Nothing is kept open."""

    def ids(self) -> list[str]:
        return [notice_id for notice_id, _ in self.told]


async def execute(store: SqlStore, statement: str) -> None:
    await store._database.write(lambda tx: tx.change(text(statement)))


async def due_again(store: SqlStore) -> None:
    await execute(
        store,
        "UPDATE wait_notices SET due_at = (SELECT opened_at FROM waits WHERE id = wait_id)",
    )


async def taken(store: SqlStore) -> list[Notice]:
    await store.add_notices(TARGETS)
    return await store.take_notices(TARGETS, most_attempts=30, limit=20)


async def reminded(store: SqlStore, run: ClaimedRun) -> WaitRecord:
    """A worker looks at the run, since the time to remind has come."""
    await asyncio.sleep(0.01)
    (due,) = await store.take_due()
    (again,) = await store.claim([(run.run.id, due.epoch)], owner=ME)
    return (await sleep(store, again, approval(again))).wait


async def test_of_all_workers_one_tells_each_target_that_a_run_asks(
    stores: list[SqlStore],
) -> None:
    _, asked = await asking(stores[0])
    await asleep(stores[0])  # for a signal: nobody is asked
    targets = {name: Heard() for name in TARGETS}
    notifiers = [Notifier(each, targets, Urgency()) for each in stores]
    await asyncio.gather(*(each.one_pass() for each in notifiers * 2))
    await due_again(stores[0])
    await asyncio.gather(*(each.one_pass() for each in notifiers))
    for name, target in targets.items():
        assert target.ids() == [f"{asked.id}.asked.{name}"]
        assert target.told[0][1]["type"] == "approval.asked"


async def test_what_is_not_taken_comes_again_until_it_is_decided(stores: list[SqlStore]) -> None:
    store, heard = stores[0], Heard()
    _, asked = await asking(store)
    heard.wants = False
    notifier = Notifier(store, {"ops": heard}, Urgency())
    await notifier.one_pass()
    heard.wants = True
    await notifier.one_pass()
    assert heard.ids() == [], "not at once"
    await due_again(store)
    await notifier.one_pass()
    assert heard.ids() == [f"{asked.id}.asked.ops"]
    _, other = await asking(store)
    heard.wants = False
    await notifier.one_pass()
    await decide(store, other.id)
    heard.wants = True
    await due_again(store)
    await notifier.one_pass()
    assert len(heard.told) == 1
    await due_again(store)
    left = await taken(store)
    assert [(each.about.id, each.target) for each in left] == [(asked.id, "chat")]


async def test_each_reminder_is_told_and_of_several_the_last(stores: list[SqlStore]) -> None:
    store = stores[0]
    (run,) = await claimed(store)
    await sleep(store, run, approval(run, remind_seconds=0.001))
    assert {each.occasion for each in await taken(store)} == {"asked"}
    await reminded(store, run)
    first = await taken(store)
    assert [(each.occasion, each.number) for each in first] == [("reminded", 1)] * 2
    assert await taken(store) == []
    await reminded(store, run)
    await due_again(store)
    found = await taken(store)
    assert {(each.occasion, each.number) for each in found} == {("asked", 0), ("reminded", 2)}
    assert found[-1].id.endswith(f".reminded-2.{found[-1].target}")


async def test_that_nobody_answered_is_told(stores: list[SqlStore]) -> None:
    store = stores[0]
    over = await store.now() - timedelta(seconds=1)
    (one, other) = await claimed(store, 2)
    late = (await sleep(store, one, approval(one, expires_at=over))).wait
    await sleep(store, other, wait(other, expires_at=over))  # for a signal
    found = await taken(store)
    assert [(each.about.id, each.occasion) for each in found] == [(late.id, "expired")] * 2
    await execute(store, "DELETE FROM runs")
    assert await taken(store) == []


async def test_a_notice_says_where_to_decide(stores: list[SqlStore]) -> None:
    store = stores[0]
    until = await store.now() + timedelta(hours=5)
    (run,) = await claimed(store)
    asks = {"message": "pay 7?", "roles": ["approver"], "show": {"card": "4111"}, "remind": 0.001}
    new = replace(approval(run, remind_seconds=0.001, expires_at=until), asked=asks)
    asked = (await sleep(store, run, new)).wait
    invitations = Invitations(SIGNER, console="https://x", decides_as={"ops": "On call"})
    notifier = Notifier(store, {}, Urgency(), invitations=invitations)
    told = {each.target: notifier.body(each) for each in await taken(store)}
    chat, ops = told["chat"]["data"], told["ops"]["data"]
    assert (chat["message"], chat["roles"], chat["page"]) == (
        "pay 7?", ["approver"], f"https://x/approvals/{asked.id}",
    )  # fmt: skip
    assert "link" not in chat
    assert "4111" not in str(told)
    assert ops["decides_as"] == "On call"
    head, _, token = ops["link"].rpartition("/")
    assert head == "https://flows.example.com/approve"
    assert SIGNER.read(token) == {
        "wait": asked.id, "for": "On call", "until": int(until.timestamp()),
    }  # fmt: skip
    assert told["ops"]["timestamp"] == asked.opened_at.isoformat()
    await reminded(store, run)
    (again, _) = await taken(store)
    then = notifier.body(again)["timestamp"]
    assert asked.opened_at.isoformat() < then < (await store.now()).isoformat()


async def test_that_a_second_person_is_wanted_is_told_unless_a_job_says_so(
    stores: list[SqlStore],
) -> None:
    store = stores[0]
    (one, run), (two, other), (three, third) = await escalated(store, 3)
    made = await store.propose(proposal(run, one))
    await store.propose(proposal(other, two, via="job"))
    decided = await store.propose(proposal(third, three))
    await store.refuse_proposal(decided.id, by="bob", reason="no")
    heard = Heard()
    invitations = Invitations(SIGNER, console="https://x/console", decides_as={})
    notifiers = [
        Notifier(each, {"ops": heard}, Urgency(), invitations=invitations) for each in stores
    ]
    await asyncio.gather(*(each.one_pass() for each in notifiers * 2))
    told = {each: body for each, body in heard.told if body["type"] == "proposal.opened"}
    assert [*told] == [f"{made.id}.ops"]
    data = told[f"{made.id}.ops"]["data"]
    assert (data["proposed_by"], data["act"], data["about_id"], data["page"]) == (
        "ada", "abandoned", one, "https://x/console/proposals",
    )  # fmt: skip
    escalations = [body for _, body in heard.told if body["type"] == "escalation.opened"]
    assert {body["data"]["page"] for body in escalations} == {
        f"https://x/console/escalations/{known}" for known in (one, two, three)
    }
