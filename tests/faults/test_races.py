"""Two act at once: in every order one wins, the other is told clearly, and it is audited."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.ports import Decision, WaitOutcome
from orchestrator.service.pausing import Scope
from tests.faults.races import Desk, Moment, Race, every_order
from tests.faults.workload import BY_NAME, PAID, RunSeed, Shape

# The first step is done, the second refused, and so is the undo of the first.
STUCK = RunSeed(name="k1-000001-f2-u1", shape=BY_NAME["short"])
ASKS, WAITS = BY_NAME["approved"], BY_NAME["told"]
UNDOING, STOPPING = CancelMode.UNDO, CancelMode.STOP


def asleep(shape: Shape) -> Moment:
    return Moment(seed=RunSeed(name="k1-000001", shape=shape), status=RunStatus.WAITING)


def sound(race: Race) -> bool:
    """No promise was broken, and the run has come to an end or to a person.

    Which end that has to be depends on who won: each test says it.
    """
    broken = [each for each in race.broken if not each.startswith("unexpected_endings")]
    assert broken == [], race.order
    assert race.ended.status in FINAL | {RunStatus.ESCALATED}, race.order
    return True


# --- two operators, one escalation ----------------------------------------------------------------


async def retry(desk: Desk, by: str) -> Any:
    return await desk.escalations.retry(await open_one(desk), by=by, reason="again")


async def skip(desk: Desk, by: str) -> Any:
    return await desk.escalations.skip(await open_one(desk), by=by, reason="it may stand")


async def abandon(desk: Desk, by: str) -> Any:
    return await desk.escalations.abandon(await open_one(desk), by=by, reason="enough")


async def resolve(desk: Desk, by: str) -> Any:
    return await desk.escalations.resolve(await open_one(desk), by=by, reason="by hand")


async def claim(desk: Desk, by: str) -> Any:
    return await desk.escalations.claim(await open_one(desk), by=by)


async def open_one(desk: Desk) -> str:
    """As both see it on their screens, before either acts."""
    (only,) = (each.id for each in desk.store.database.escalations.values())
    return only


RESOLUTIONS = {retry: "retried", skip: "skipped", abandon: "abandoned", resolve: "resolved"}
PAIRS = list(itertools.combinations_with_replacement(RESOLUTIONS, 2))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(act.__name__ for act in pair))
def test_of_two_decisions_one_lands(pair: Sequence[Any]) -> None:
    first, second = pair
    acts = {"ada": partial(first, by="ada"), "bob": partial(second, by="bob")}
    won = set()
    for race in every_order(Moment(seed=STUCK, status=RunStatus.ESCALATED), acts):
        (winner,) = race.winners
        (loser,) = {"ada", "bob"} - {winner}
        resolution = RESOLUTIONS[acts[winner].func]
        assert f"closed ({resolution}) by {winner}" in race.refusal(loser)
        decided = race.told(*(f"operator.{each}" for each in RESOLUTIONS.values()))
        assert decided == [(f"operator.{resolution}", winner)]
        (letter,) = race.escalations
        assert (letter.closed_by, letter.resolution) == (winner, resolution)
        assert sound(race)
        won.add(winner)
    assert won == {"ada", "bob"}


def test_of_two_who_take_one_has_it() -> None:
    acts = {"ada": partial(claim, by="ada"), "bob": partial(claim, by="bob")}
    races = list(every_order(Moment(seed=STUCK, status=RunStatus.ESCALATED), acts))
    for race in races:
        (winner,) = race.winners
        (loser,) = {"ada", "bob"} - {winner}
        assert f"claimed by {winner}" in race.refusal(loser)
        assert race.told("escalation.claimed") == [("escalation.claimed", winner)]
        assert race.escalations[0].claimed_by == winner
        assert sound(race)
    assert {race.winners[0] for race in races} == {"ada", "bob"}


# --- one approval ---------------------------------------------------------------------------------


class Follower:
    """Follows a link that was made before; whoever has it acts in the name of whom it is for."""

    def __init__(self) -> None:
        self.token = ""

    async def make(self, desk: Desk) -> None:
        (wait,) = await desk.waiting.approvals()
        address = await desk.links.make(wait.id, name="eve", lives=timedelta(hours=1))
        self.token = address.rpartition("/")[2]

    async def follow(self, desk: Desk, decision: Decision) -> Any:
        return await desk.links.decide(self.token, decision, reason="by the link")


async def decide(desk: Desk, decision: Decision, by: str) -> Any:
    (wait,) = desk.store.database.waits.values()
    return await desk.waiting.decide(wait.id, decision, by=by, via="cli", reason="so be it")


@pytest.mark.parametrize("second", list(Decision))
def test_a_link_that_is_used_twice_decides_once(second: Decision) -> None:
    link = Follower()
    acts = {
        "first": partial(link.follow, decision=Decision.APPROVED),
        "again": partial(link.follow, decision=second),
    }
    for race in every_order(asleep(ASKS), acts, prepare=link.make):
        (winner,) = race.winners
        (loser,) = acts.keys() - {winner}
        outcome = race.answers[winner].outcome
        assert f"{outcome} by eve (via link) at" in race.refusal(loser)
        assert race.told("approval.decided") == [("approval.decided", "eve")]
        assert [each.outcome for each in race.waits] == [outcome]
        _ends_as_decided(race, outcome)


def test_a_link_and_a_colleague_decide_once() -> None:
    link = Follower()
    acts = {
        "eve": partial(link.follow, decision=Decision.REJECTED),
        "ada": partial(decide, decision=Decision.APPROVED, by="ada"),
    }
    won = set()
    for race in every_order(asleep(ASKS), acts, prepare=link.make):
        (winner,) = race.winners
        won.add(winner)
        (loser,) = acts.keys() - {winner}
        assert f"by {winner} (via" in race.refusal(loser)
        assert race.told("approval.decided") == [("approval.decided", winner)]
        _ends_as_decided(race, race.answers[winner].outcome)
    assert won == {"eve", "ada"}


def _ends_as_decided(race: Race, outcome: WaitOutcome | None) -> None:
    assert sound(race)
    approved = outcome is WaitOutcome.APPROVED
    assert race.effects == (("s1", "s3") if approved else ("s1", "s1'")), race.order
    wanted = RunStatus.SUCCEEDED if approved else RunStatus.COMPENSATED
    assert race.ended.status is wanted


async def cancel(desk: Desk, mode: CancelMode = UNDOING) -> Any:
    return await desk.runs.cancel(desk.run_id, mode=mode, reason="not wanted", by="cleo")


@pytest.mark.parametrize("mode", list(CancelMode))
def test_who_cancels_wins_over_who_approves_unless_the_run_has_ended(mode: CancelMode) -> None:
    """A decision that comes later is refused; one that came before is kept, and the run ends."""
    acts = {
        "ada": partial(decide, decision=Decision.APPROVED, by="ada"),
        "cleo": partial(cancel, mode=mode),
    }
    seen = set()
    for race in every_order(asleep(ASKS), acts):
        assert "cleo" in race.winners
        if "ada" in race.winners:
            assert race.told("approval.decided") == [("approval.decided", "ada")]
        else:
            assert "its run is to be cancelled" in race.refusal("ada")
            assert race.told("approval.decided") == []
        seen.add(len(race.winners))
        assert race.told("run.cancel_requested") == [("run.cancel_requested", "cleo")]
        assert sound(race)
        assert "s3" not in race.effects
        if mode is STOPPING:
            assert (race.ended.status, race.effects) == (RunStatus.ABANDONED, ("s1",))
        else:
            assert (race.ended.status, race.effects) == (RunStatus.COMPENSATED, ("s1", "s1'"))
    assert seen == {1, 2}


# --- one signal -----------------------------------------------------------------------------------


async def send(desk: Desk, key: str, by: str, n: int = 1) -> Any:
    return await desk.waiting.send_signal(
        desk.run_id, PAID, key=key, data={"n": n}, by=by, via="rest"
    )


def test_a_signal_that_is_sent_twice_is_one() -> None:
    acts = {name: partial(send, key="k", by=name) for name in ("bank", "its retry")}
    for race in every_order(asleep(WAITS), acts):
        repeated = sorted(answer.repeated for answer in race.answers.values())
        assert repeated == [False, True]
        assert len(race.told("signal.received")) == 1
        assert race.effects == ("s1", "s3")
        assert sound(race)


def test_of_two_signals_with_one_key_and_other_data_one_counts() -> None:
    acts = {f"bank {n}": partial(send, key="k", by=f"bank {n}", n=n) for n in (1, 2)}
    won = set()
    for race in every_order(asleep(WAITS), acts):
        (winner,) = race.winners
        won.add(winner)
        (loser,) = acts.keys() - {winner}
        assert "other data" in race.refusal(loser)
        assert [each.answer for each in race.waits] == [race.answers[winner].signal.data]
        assert sound(race)
    assert len(won) == 2


def test_of_two_signals_one_answers_and_one_is_kept() -> None:
    acts = {f"bank {n}": partial(send, key=str(n), by=f"bank {n}", n=n) for n in (1, 2)}
    for race in every_order(asleep(WAITS), acts):
        taken = [each.signal.wait_id for each in race.answers.values()]
        assert sorted(each is None for each in taken) == [False, True]
        assert len(race.told("signal.received")) == 2
        assert race.effects == ("s1", "s3")
        assert sound(race)


@pytest.mark.parametrize("mode", list(CancelMode))
def test_a_signal_does_not_outrun_a_cancel(mode: CancelMode) -> None:
    acts = {"bank": partial(send, key="k", by="bank"), "cleo": partial(cancel, mode=mode)}
    for race in every_order(asleep(WAITS), acts):
        assert "cleo" in race.winners
        assert "s3" not in race.effects
        assert sound(race)


# --- pauses ---------------------------------------------------------------------------------------


async def pause(desk: Desk, by: str) -> Any:
    return await desk.pausing.pause(Scope(run_id=desk.run_id), by=by, reason="an incident")


async def resume(desk: Desk, by: str) -> Any:
    (made,) = desk.store.database.pauses
    return await desk.pausing.resume(made.id, by=by, reason="over")


def test_of_two_who_pause_one_does() -> None:
    acts = {"ada": partial(pause, by="ada"), "bob": partial(pause, by="bob")}
    for race in every_order(asleep(WAITS), acts):
        (winner,) = race.winners
        (loser,) = acts.keys() - {winner}
        assert winner in race.refusal(loser)
        assert race.run.status is RunStatus.PAUSED
        assert race.told("run.paused") == [("run.paused", winner)]


def test_of_two_who_resume_one_does() -> None:
    acts = {"ada": partial(resume, by="ada"), "bob": partial(resume, by="bob")}

    async def paused(desk: Desk) -> None:
        await pause(desk, "eve")

    for race in every_order(asleep(WAITS), acts, prepare=paused):
        (winner,) = race.winners
        (loser,) = acts.keys() - {winner}
        assert winner in race.refusal(loser)
        assert len(race.told("run.resumed")) == 1
        assert (race.run.status, race.ended.status) == (RunStatus.WAITING, RunStatus.WAITING)


@pytest.mark.parametrize("other", ["signal", "cancel"])
def test_nothing_is_lost_between_a_pause_and_its_end(other: str) -> None:
    """Whoever else acts meanwhile: the run goes on to its right end when the pause is over."""

    async def paused_and_over(desk: Desk) -> Any:
        made = await pause(desk, "eve")
        return await desk.pausing.resume(made.id, by="eve", reason="over")

    rival: Any = cancel if other == "cancel" else partial(send, key="k", by="bank")
    acts = {"eve": paused_and_over, "rival": rival}
    for race in every_order(asleep(WAITS), acts):
        assert race.winners == ["eve", "rival"]
        assert sound(race)
        assert race.effects == (("s1", "s1'") if other == "cancel" else ("s1", "s3")), race.order
