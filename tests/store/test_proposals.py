"""Proposals: one for each thing, one of those who decide on it wins, nobody confirms their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.core.states import RunStatus
from orchestrator.errors import Conflict, NotFound
from orchestrator.ports import (
    ActWrite,
    ClaimedRun,
    Confirmation,
    Decision,
    NewProposal,
    ProposalFilter,
    ProposalOutcome,
    Subject,
)
from orchestrator.store import SqlStore, open_store
from tests.store.making import ME, SURVEYED, escalated, new_id, write
from tests.store.test_waiting import asking
from tests.sweeps import so_many, sweep

OPEN = ProposalFilter()
ALL = ProposalFilter(open_only=False)


@pytest.fixture(
    params=["sqlite_file_url", pytest.param("postgres_url", marks=pytest.mark.postgres)]
)
def where(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def kept(where: str) -> AsyncIterator[SqlStore]:
    store = open_store(where, pool_size=2)
    yield store
    await store.close()


def proposal(run: ClaimedRun, subject_id: str, **changes: Any) -> NewProposal:
    new = NewProposal(
        id=new_id(), run_id=run.run.id, subject=Subject.ESCALATION, subject_id=subject_id,
        act="abandoned", arguments={}, reason="no use", by="ada", via="cli", seconds=60.0,
    )  # fmt: skip
    return replace(new, **changes)


def closing(run: ClaimedRun, escalation_id: str) -> ActWrite:
    ended = write(run, status=RunStatus.ABANDONED, owner="", epoch=run.run.epoch + 1)
    return ActWrite(
        escalation_id=escalation_id, write=ended, expected_epoch=run.run.epoch,
        resolution="abandoned", by="ada", reason="no use",
    )  # fmt: skip


def yes(proposal_id: str, by: str = "bob") -> Confirmation:
    return Confirmation(proposal_id=proposal_id, by=by, reason="seen", via="cli")


async def kinds(store: SqlStore, run: ClaimedRun) -> list[str]:
    return [each.kind for each in await store.audit(run.run.id)]


async def test_proposed_confirmed_done_and_audited(kept: SqlStore) -> None:
    ((known, run),) = await escalated(kept)
    made = await kept.propose(proposal(run, known))
    assert (made.is_open, made.workflow, made.tenant) == (True, "order", "default")
    assert await kept.proposals(OPEN) == [made]
    assert await kept.proposal(made.id[-8:]) == made
    await kept.confirm_act(yes(made.id), closing(run, known))
    done = await kept.proposal(made.id)
    assert (done.outcome, done.closed_by, done.closing_reason) == ("confirmed", "bob", "seen")
    closed = await kept.escalation(known)
    assert (closed.resolution, closed.closed_by) == ("abandoned", "ada")
    assert (await kept.run(run.run.id)).status is RunStatus.ABANDONED
    audit = await kept.audit(run.run.id)
    assert [each.seq for each in audit] == list(range(1, len(audit) + 1))
    told = {each.kind: each for each in audit}
    assert told["proposal.made"].actor == "ada"
    assert told["proposal.confirmed"].actor == "bob"
    assert told["proposal.confirmed"].data["proposed_by"] == "ada"
    assert await kept.proposals(OPEN) == []


@pytest.mark.parametrize("name", ["ada", " Ada ", "ADA"])
async def test_nobody_confirms_their_own(kept: SqlStore, name: str) -> None:
    ((known, run),) = await escalated(kept)
    made = await kept.propose(proposal(run, known))
    with pytest.raises(Conflict, match="what they have proposed"):
        await kept.confirm_act(yes(made.id, name), closing(run, known))
    assert await kept.proposals(OPEN) == [made]
    assert (await kept.escalation(known)).closed_at is None


async def test_one_for_each_thing_until_it_is_refused(kept: SqlStore) -> None:
    ((known, run),) = await escalated(kept)
    first = await kept.propose(proposal(run, known))
    with pytest.raises(Conflict, match="of ada: abandoned"):
        await kept.propose(proposal(run, known, by="bob", act="skipped"))
    refused = await kept.refuse_proposal(first.id, by="ada", reason="a mistake")
    assert (refused.outcome, refused.closed_by) == (ProposalOutcome.REFUSED, "ada")
    with pytest.raises(Conflict, match="refused by ada"):
        await kept.confirm_act(yes(first.id), closing(run, known))
    with pytest.raises(Conflict, match="refused by ada"):
        await kept.refuse_proposal(first.id, by="bob", reason="no")
    second = await kept.propose(proposal(run, known, by="bob", act="skipped"))
    assert [each.id for each in await kept.proposals(ALL)] == [first.id, second.id]


async def test_a_proposal_expires(kept: SqlStore) -> None:
    ((known, run),) = await escalated(kept)
    first = await kept.propose(proposal(run, known, seconds=0.0))
    assert await kept.proposals(OPEN) == [], "nobody has closed it yet, but its time is over"
    with pytest.raises(Conflict, match="whose time is not over"):
        await kept.confirm_act(yes(first.id), closing(run, known))
    assert (await kept.survey(SURVEYED)).lapsed
    assert await kept.lapse_proposals() == [first.id]
    assert not (await kept.survey(SURVEYED)).lapsed
    assert await kept.lapse_proposals() == []
    assert (await kept.proposal(first.id)).outcome is ProposalOutcome.EXPIRED
    second = await kept.propose(proposal(run, known, seconds=0.0))
    third = await kept.propose(proposal(run, known, by="bob"))
    assert (await kept.proposal(second.id)).outcome is ProposalOutcome.EXPIRED
    assert await kept.proposals(OPEN) == [third]
    assert (await kinds(kept, run)).count("proposal.expired") == 2


async def test_what_is_settled_otherwise_is_overtaken(kept: SqlStore) -> None:
    ((known, run),) = await escalated(kept)
    made = await kept.propose(proposal(run, known))
    act = closing(run, known)
    await kept.act(
        known, act.write, expected_epoch=act.expected_epoch, resolution="retried", by="eve",
        reason="r",
    )  # fmt: skip
    assert await kept.proposals(OPEN) == []
    with pytest.raises(Conflict):
        await kept.confirm_act(yes(made.id), act)
    with pytest.raises(Conflict, match="nothing to propose"):
        await kept.propose(proposal(run, known, by="bob"))
    assert await kept.lapse_proposals() == [made.id]
    assert (await kept.proposal(made.id)).outcome is ProposalOutcome.OVERTAKEN


async def test_an_act_that_is_refused_leaves_the_proposal(kept: SqlStore) -> None:
    ((known, run),) = await escalated(kept)
    made = await kept.propose(proposal(run, known))
    stale = replace(closing(run, known), expected_epoch=run.run.epoch + 7)
    with pytest.raises(Conflict, match="moved on"):
        await kept.confirm_act(yes(made.id), stale)
    assert await kept.proposals(OPEN) == [made]
    assert "proposal.confirmed" not in await kinds(kept, run)


async def test_two_approve(kept: SqlStore) -> None:
    run, wait = await asking(kept)
    made = await kept.propose(
        proposal(run, wait.id, subject=Subject.APPROVAL, act="approved", reason="ok")
    )
    decided, redelivery = await kept.confirm_decision(
        yes(made.id), wait.id, Decision.APPROVED, data={"n": 1}
    )
    assert redelivery is not None
    assert decided.answer is not None
    assert (decided.answer["by"], decided.answer["confirmed_by"]) == ("ada", "bob")
    assert await kept.lapse_proposals() == []


async def test_of_many_who_decide_at_once_one_wins(kept: SqlStore) -> None:
    ((known, run),) = await escalated(kept)
    made = await kept.propose(proposal(run, known))
    told = await asyncio.gather(
        *(kept.confirm_act(yes(made.id, by), closing(run, known)) for by in ("bob", "eve", "kim")),
        *(kept.refuse_proposal(made.id, by=by, reason="no") for by in ("ada", "bob")),
        return_exceptions=True,
    )
    lost = [each for each in told if isinstance(each, Conflict)]
    assert len(lost) == len(told) - 1
    ends = [kind for kind in await kinds(kept, run) if kind.startswith("proposal.")]
    assert len(ends) == 2


async def test_unknown_ones(kept: SqlStore) -> None:
    with pytest.raises(NotFound, match="no such proposal"):
        await kept.proposal(new_id())
    ((known, run),) = await escalated(kept)
    with pytest.raises(NotFound, match="no such run"):
        await kept.propose(proposal(run, known, run_id=new_id()))


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["propose", "propose late", "confirm", "refuse", "act", "sweep"]),
        st.sampled_from(["ada", "bob"]),
    ),
    min_size=2, max_size=9,
)  # fmt: skip


class Play:
    """One escalation, two people, and what should come of it."""

    def __init__(self, store: SqlStore, run: ClaimedRun, known: str) -> None:
        self.store, self.run, self.known = store, run, known
        self.latest: str | None = None
        self.by, self.state, self.closed = "", "none", False
        self.won = 0

    async def tried(self, step: str, by: str) -> bool:
        latest = self.latest or new_id()
        try:
            match step:
                case "propose" | "propose late":
                    seconds = 60.0 if step == "propose" else 0.0
                    new = proposal(self.run, self.known, by=by, seconds=seconds)
                    self.latest = (await self.store.propose(new)).id
                case "confirm":
                    await self.store.confirm_act(yes(latest, by), closing(self.run, self.known))
                case "refuse":
                    await self.store.refuse_proposal(latest, by=by, reason="r")
                case "act":
                    act = closing(self.run, self.known)
                    await self.store.act(
                        self.known, act.write, expected_epoch=act.expected_epoch,
                        resolution="retried", by=by, reason="r",
                    )  # fmt: skip
                case _:
                    await self.store.lapse_proposals()
        except (Conflict, NotFound):
            return False
        return True

    def expected(self, step: str, by: str) -> bool:
        """Whether it should go well; what then holds is noted."""
        is_open = self.state == "open" and not self.closed
        match step:
            case "propose" | "propose late" if not self.closed and not is_open:
                self.by, self.state = by, "open" if step == "propose" else "late"
            case "confirm" if is_open and by != self.by:
                self.state, self.closed, self.won = "confirmed", True, self.won + 1
            case "refuse" if is_open:
                self.state = "refused"
            case "act" if not self.closed:
                self.closed, self.won = True, self.won + 1
            case "sweep":
                pass
            case _:
                return False
        return True


@sweep
@settings(
    max_examples=so_many(10, whole=30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(acts=ACTS)
def test_whatever_people_do_in_any_order(sqlite_file_url: str, acts: list[tuple[str, str]]) -> None:
    async def play() -> None:
        store = open_store(sqlite_file_url, pool_size=2)
        try:
            await store.deregister(ME)
            ((known, run),) = await escalated(store)
            world = Play(store, run, known)
            for step, by in acts:
                assert await world.tried(step, by) is world.expected(step, by), (step, by)
            found = await kinds(store, run)
            made = found.count("proposal.made")
            assert found.count("proposal.confirmed") == (world.state == "confirmed")
            assert ((await store.escalation(known)).closed_at is not None) is world.closed
            assert world.won <= 1
            await store.lapse_proposals()
            after = await kinds(store, run)
            ends = [kind for kind in after if kind.startswith("proposal.") and kind[9:] != "made"]
            still = world.state == "open" and not world.closed
            assert len(ends) == made - still, "each ends once"
        finally:
            await store.close()

    asyncio.run(play())
