"""Whatever happens to a run, what it does is one chain, and each link names the one before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.plan import LOCAL, Effects, Plan
from orchestrator.core.saga import Command, Escalate, Finish, Perform, Saga, Verify, previous
from orchestrator.core.states import Direction
from orchestrator.errors import IllegalTransition
from orchestrator.ports import hop_id_of, hop_ids
from tests.unit.core.plans import plan, step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
At = tuple[int, Direction]

OUTCOMES = st.sampled_from(
    [
        e.Landed(), e.Landed(), e.Landed(), e.Landed(accepted=False, reason="other than wanted"),
        e.NotLanded(reason="no", settles_doubt=True),
        e.NotLanded(reason="busy", retryable=True),
        e.InDoubt(reason="silence"),
        e.Withdrawn(), e.Landed(moves=(e.Move(to=0),)), e.Landed(moves=(e.Move(),)),
        e.NotLanded(reason="no", settles_doubt=True, moves=(e.Move(to=0, limit=1, via=(0, 0)),)),
    ]
)  # fmt: skip
ACTS = st.sampled_from(
    [e.Retried(), e.Resolved(), e.Resolved(landed=False), e.Skipped(), e.Abandoned()]
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 5))
    pivot = draw(st.integers(0, 2 * count))  # often none
    effects, undos = st.sampled_from(Effects), st.sampled_from([None, *Effects])
    steps = [
        step(
            f"s{n}", draw(effects), undo=draw(undos), verify=draw(st.booleans()), pivot=n == pivot
        )
        for n in range(count)
    ]  # fmt: skip
    here = draw(st.sets(st.integers(0, count - 1), max_size=2))
    for n in here:  # these call nothing
        nothing = replace(steps[n].call, api=LOCAL, effects=Effects.NONE)
        steps[n] = replace(steps[n], call=nothing, compensation=None, pivot=False)
    return replace(plan(*steps), max_visits=8)


class Walk:
    """Drives a saga with drawn events, noting each link when it is begun for the first time."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.saga = Saga.new(data.draw(plans()))
        self.command: Command | None = None
        self.begun: list[At] = []

    def apply(self, event: e.Event) -> None:
        decision = decide(self.saga, event, NOW)
        self.saga, self.command = decision.saga, decision.command

    def go(self) -> None:
        self.apply(e.Resumed())
        for _ in range(60):
            match self.command:
                case Perform(step=number, direction=direction):
                    self.perform((number, direction))
                case Verify():
                    self.apply(self.data.draw(st.sampled_from([e.Landed(), e.InDoubt(reason="?")])))
                case Escalate():
                    self.act()
                case Finish():
                    return
                case _:
                    self.apply(e.Resumed())

    def perform(self, at: At) -> None:
        if self.saga.call(*at).is_local and at[0] > 0:  # done at once, and nobody is told
            self.apply(e.Began())
            return self.apply(e.Landed())
        if at not in self.begun:
            assert previous(self.saga, at) == (self.begun[-1] if self.begun else None)
        if self.data.draw(st.integers(0, 9)) == 0 and self.cancelled():
            return None
        if at not in self.begun:
            self.begun.append(at)
        unsure = at[1] is Direction.FORWARD or self.saga.link(*at).doubt
        if not unsure and self.data.draw(st.booleans()):
            return self.apply(e.NotNeeded(reason="nothing there"))
        self.apply(e.Began())
        return self.apply(self.data.draw(OUTCOMES))

    def cancelled(self) -> bool:
        try:
            self.apply(e.CancelRequested())
        except IllegalTransition:
            return False
        return True

    def act(self) -> None:
        try:
            self.apply(self.data.draw(ACTS))
        except IllegalTransition:
            self.apply(e.Retried())


@given(st.data())
def test_each_link_follows_the_one_begun_before_it(data: st.DataObject) -> None:
    """The parent of a message is the message before it, also over waits, doubts and people."""
    walk = Walk(data)
    walk.go()
    assert len(set(walk.begun)) == len(walk.begun)


@given(st.data())
def test_the_ids_of_a_chain_are_its_own(data: st.DataObject) -> None:
    """No two links share an id, no two runs either; the first link's is the run's."""
    walk = Walk(data)
    walk.go()
    ids = {hop_id_of(run, at) for run in ("run-1", "run-2") for at in [*walk.begun, None]}
    assert len(ids) == 2 * (len(walk.begun) + 1)
    assert hop_ids("run-1", Saga.new(walk.saga.plan)) == ("run-1", None)
