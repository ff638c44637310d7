"""A run that is moved at any wait, as often as anybody likes, and fails at last: all is undone.

In the reverse order of completion, each step by the undo of the version that did it.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import events as e
from orchestrator.core import journal
from orchestrator.core.deciding import decide
from orchestrator.core.joining import joined, own_steps
from orchestrator.core.plan import Plan, PlanStep
from orchestrator.core.saga import Perform, Saga
from orchestrator.core.states import Direction, RunStatus
from tests.sweeps import so_many, sweep
from tests.unit.core.plans import call, plan, step
from tests.unit.core.test_saga import NOW, REFUSED

NAMES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True)
HOW = st.sampled_from(["parked", "retried"])
LEGS = st.lists(
    st.tuples(NAMES, st.integers(0, 4), HOW, st.integers(0, 4), st.booleans()),
    min_size=1, max_size=4,
)  # fmt: skip


def made(name: str, version: int) -> PlanStep:
    plain = step(name)
    assert plain.compensation is not None
    undo = replace(plain.compensation, call=call(f"{name}.undo.v{version}"))
    return replace(plain, compensation=undo)


class Played:
    """A saga, its journal, and what it did, by version."""

    def __init__(self, whole: Plan) -> None:
        self.first, self.saga, self.entries = whole, Saga.new(whole), list[dict]()
        self.plans: dict[str, Plan] = {}
        self.command = None
        self.did: list[str] = []

    def on(self, *events: e.Event) -> None:
        for event in events:
            decision = decide(self.saga, event, NOW)
            self.entries.append(journal.entry(event, NOW, decision.command))
            self.saga, self.command = decision.saga, decision.command

    def lands(self, version: int) -> None:
        assert isinstance(self.command, Perform)
        self.did.append(f"{self.saga.plan_step(self.command.step).id}.undo.v{version}")
        self.on(e.Began(), e.Landed())

    def comes_to_wait(self, how: str) -> None:
        """Without the effect of the step at which it stands."""
        assert isinstance(self.command, Perform)
        if how == "retried":
            self.on(e.Began(), e.NotLanded(reason="503", retryable=True, jitter=0.5))
        else:
            self.on(e.Parked(until=NOW))

    def moves(self, new: Plan, version: int, at: int, *, paused: bool) -> None:
        both = joined(new, version, self.saga.plan, version - 1)
        self.plans[f"to-{version}"] = both
        if paused:
            self.on(e.PauseRequested())
        self.on(e.Migrated(to=f"to-{version}", step=at % len(new.steps), plan=both))
        if paused:
            self.on(e.Unpaused())
        self.on(e.Resumed())


@sweep
@settings(max_examples=so_many(50, whole=150), deadline=None)
@given(legs=LEGS, last=NAMES)
def test_each_step_is_undone_by_its_own_version(legs: list, last: list[str]) -> None:
    version = 1
    run = Played(plan(*(made(name, version) for name in legs[0][0])))
    run.on(e.Resumed())
    for number, (_, before, how, at, paused) in enumerate(legs):
        ahead = (
            len(run.saga.steps)
            - len(run.did)
            - sum(state.forward.status == "handled" for state in run.saga.steps)
        )
        for _ in range(min(before, ahead - 1)):
            run.lands(version)
        run.comes_to_wait(how)
        names = legs[number + 1][0] if number + 1 < len(legs) else last
        version += 1
        new = plan(*(made(name, version) for name in names))
        run.moves(new, version, at, paused=paused)
        assert [each.id for each in own_steps(run.saga.plan)] == names
    while len(run.saga.steps) > 1 + sum(
        s.forward.status in ("landed", "handled") for s in run.saga.steps
    ):
        run.lands(version)
    assert isinstance(run.command, Perform)
    run.on(e.Began(), REFUSED)
    undone = []
    while isinstance(run.command, Perform):
        undone.append(run.saga.call(run.command.step, Direction.BACKWARD).label)
        run.on(e.Began(), e.Landed())
    assert run.saga.status is RunStatus.COMPENSATED
    assert undone == run.did[::-1]
    keys = [(run.saga.plan_step(p).id, run.saga.iteration(p)) for p in range(len(run.saga.steps))]
    assert len(set(keys)) == len(keys), "two requests with one key"
    assert journal.replay(run.first, run.entries, plans=run.plans) == run.saga
