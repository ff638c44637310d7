"""Any order, repetition or loss of events: the saga keeps its promises and can always settle.

The machine plays an adversarial world: attempts land, fail, are in doubt, workers die between
intent and outcome, events arrive that do not fit, people act, authors jump. It keeps its own
record of effects at an imaginary API and holds the saga against it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.core import events as e
from orchestrator.core.deciding import decide
from orchestrator.core.plan import WAITING, Effects
from orchestrator.core.saga import Command, Escalate, Perform, Saga, Verify, Wait, current, stuck
from orchestrator.core.states import DONE, FINAL, HAPPENED, Direction, LinkStatus, RunStatus
from orchestrator.errors import IllegalTransition
from tests.sweeps import so_many, sweep
from tests.unit.core.plans import plan, step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = st.lists(
    st.builds(
        step,
        st.just("s"),
        st.sampled_from(Effects),
        undo=st.sampled_from([None, *Effects]),
        verify=st.booleans(),
        attempts=st.integers(1, 3),
    ),
    min_size=1,
    max_size=4,
)
MOST_VISITS = 12
MOVES = st.lists(
    st.builds(
        e.Move, to=st.none() | st.integers(0, 3), limit=st.none() | st.integers(0, 2),
        via=st.none() | st.tuples(st.integers(0, 3), st.integers(0, 1)),
        after_seconds=st.sampled_from([None, 5.0]),
    ),
    max_size=2,
)  # fmt: skip
Key = tuple[int, Direction]


class SagaMachine(RuleBasedStateMachine):
    """One saga and the world around it."""

    @initialize(
        steps=STEPS, pivot=st.none() | st.integers(0, 3), deadline=st.booleans(),
        waits=st.none() | st.integers(0, 3),
    )  # fmt: skip
    def begin(self, steps: list, pivot: int | None, deadline: bool, waits: int | None) -> None:
        named = [
            step(
                f"s{i}", s.call.effects, pivot=i == pivot, attempts=s.call.retry.max_attempts,
                undo=s.compensation.call.effects if s.compensation else None,
                verify=s.call.verify is not None,
            )
            for i, s in enumerate(steps)
        ]  # fmt: skip
        if waits is not None and waits < len(named):
            asks = replace(named[waits].call, api=WAITING, effects=Effects.NONE, verify=None)
            named[waits] = replace(named[waits], call=asks, compensation=None)
        at = NOW + timedelta(hours=1) if deadline else None
        ends = replace(named[-1], last=True)  # what follows is reached by a jump alone
        aside = step("aside", Effects.KEYED)
        whole = replace(plan(*named[:-1], ends, aside), max_visits=MOST_VISITS)
        self.saga = Saga.new(whole, deadline_at=at)
        self.now = NOW
        self.command: Command | None = None
        self.sent: dict[Key, int] = {}  # times the effect of a link was applied, honouring keys
        self.blind: set[Key] = set()  # links whose latest attempt is in doubt
        self.ordered: set[Key] = set()  # links that a person ordered to be repeated
        self.past_pivot = False
        self.undone: list[int] = []  # order in which undos happened
        self.done: list[int] = []  # order in which forward steps happened

    # --- the world ----------------------------------------------------------------------------

    def apply(self, event: e.Event) -> bool:
        before = self.saga
        try:
            decision = decide(before, event, self.now)
        except IllegalTransition:
            assert self.saga is before
            return False
        self.saga, self.command = decision.saga, decision.command
        return True

    def active(self) -> bool:
        return self.saga.status not in FINAL and self.saga.status is not RunStatus.ESCALATED

    @precondition(lambda self: self.active() and not isinstance(self.command, Perform | Verify))
    @rule()
    def a_worker_takes_it_up(self) -> None:
        if isinstance(self.command, Wait):
            self.now = max(self.now, self.command.until)
        assert self.apply(e.Resumed())

    @precondition(
        lambda self: self.active() and isinstance(self.command, Perform)
        and self.saga.call(self.command.step, self.command.direction).is_wait
    )  # fmt: skip
    @rule()
    def it_asks_and_sleeps(self) -> None:
        before = self.saga
        assert self.apply(e.Awaited(until=self.now + timedelta(minutes=10)))
        assert self.saga.status is RunStatus.WAITING
        assert current(self.saga) == current(before)
        assert [s.forward.attempts for s in self.saga.steps] == [
            s.forward.attempts for s in before.steps
        ]

    @precondition(lambda self: self.active() and isinstance(self.command, Perform))
    @rule(
        fate=st.sampled_from(
            ["lands", "lands unseen", "lost", "refused", "busy", "unauthorised", "crash before",
             "crash after", "withdrawn", "unwanted"]
        ),
        moves=MOVES,
    )  # fmt: skip
    def an_attempt(self, fate: str, moves: list[e.Move]) -> None:
        assert isinstance(self.command, Perform)
        key = (self.command.step, self.command.direction)
        call = self.saga.call(*key)
        if call.effects is Effects.UNKEYED:
            assert key not in self.blind or key in self.ordered, "an unkeyed call blindly repeated"
        assert self.apply(e.Began())
        if fate == "withdrawn":
            assert self.apply(e.Withdrawn())
            return
        already = self.sent.get(key, 0) > 0
        lands = fate in ("lands", "lands unseen", "crash after", "unwanted") or (
            already and call.effects is Effects.KEYED and fate == "refused"
        )  # a keyed API replays its first answer
        if lands:
            self.sent[key] = 1 if call.effects is not Effects.UNKEYED else self.sent.get(key, 0) + 1
        self.outcome(key, fate, lands, self.possible(key, moves))

    def possible(self, key: Key, moves: list[e.Move]) -> tuple[e.Move, ...]:
        """Moves to steps of this plan; what is retried is a step that was visited."""
        known, visited = len(self.saga.plan.steps), self.saga.path.steps[: key[0] + 1]
        found = []
        for move in moves:
            to = None if move.to is None else move.to % known
            if to is None or move.limit is None or to not in visited:
                found.append(e.Move(to=to, after_seconds=move.after_seconds))
            else:
                first, more = move.via or (0, 0)
                via = (first % known, min(first % known + more, known - 1)) if move.via else None
                found.append(replace(move, to=to, via=via))
        return tuple(found)

    def outcome(self, key: Key, fate: str, lands: bool, moves: tuple[e.Move, ...]) -> None:
        self.ordered.discard(key)
        self.blind.discard(key)
        if fate in ("crash before", "crash after"):
            self.blind.add(key)
            assert self.apply(e.Resumed())
        elif fate in ("lands unseen", "lost"):
            self.blind.add(key)
            assert self.apply(e.InDoubt(reason=fate, jitter=0.5, moves=moves))
        elif lands:
            accepted = fate != "unwanted"
            if accepted or key[1] is Direction.FORWARD:
                self.note_landed(key)
            self.note_pivot(key, accepted)
            assert self.apply(e.Landed(accepted=accepted, reason="unwanted", moves=moves))
        elif fate == "refused":
            assert self.apply(e.NotLanded(reason="refused", settles_doubt=True, moves=moves))
        else:
            was_blind = self.saga.link(*key).doubt
            if was_blind:
                self.blind.add(key)
            busy = fate == "busy"
            assert self.apply(e.NotLanded(reason=fate, retryable=busy, jitter=0.5, moves=moves))

    def note_landed(self, key: Key) -> None:
        (self.done if key[1] is Direction.FORWARD else self.undone).append(key[0])

    def note_pivot(self, key: Key, accepted: bool) -> None:
        forward = key[1] is Direction.FORWARD
        self.past_pivot |= forward and accepted and self.saga.plan_step(key[0]).pivot

    @precondition(lambda self: self.active() and isinstance(self.command, Verify))
    @rule(answers=st.booleans())
    def a_verification(self, answers: bool) -> None:
        assert isinstance(self.command, Verify)
        key = (self.command.step, self.command.direction)
        if not answers:
            assert self.apply(e.InDoubt(reason="no answer", jitter=0.5))
        elif self.sent.get(key):
            self.blind.discard(key)
            self.note_landed(key)
            self.note_pivot(key, True)
            assert self.apply(e.Landed())
        else:
            self.blind.discard(key)
            assert self.apply(
                e.NotLanded(reason="absent", retryable=True, settles_doubt=True, jitter=0.5)
            )

    @precondition(lambda self: self.active())
    @rule(minutes=st.integers(1, 50))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @precondition(lambda self: self.active() and not isinstance(self.command, Perform | Verify))
    @rule(mode=st.sampled_from(e.CancelMode))
    def somebody_cancels(self, mode: e.CancelMode) -> None:
        past_pivot = self.saga.past_pivot
        assert not (self.apply(e.CancelRequested(mode=mode)) and past_pivot)

    @precondition(lambda self: self.saga.status is RunStatus.ESCALATED)
    @rule(act=st.sampled_from(["retry", "true", "skip", "abandon"]))
    def a_person_acts(self, act: str) -> None:
        at = stuck(self.saga)
        if act == "retry":
            if self.apply(e.Retried()) and at is not None:
                self.ordered.add(at)
            return
        if act == "true" and at is not None:  # the person looks at the API and says what is there
            landed = bool(self.sent.get(at))
            if self.apply(e.Resolved(landed=landed)):
                self.blind.discard(at)
                if landed:
                    self.note_landed(at)
                    self.note_pivot(at, True)
            return
        self.apply(e.Skipped() if act == "skip" else e.Abandoned())

    @rule(event=st.sampled_from([e.Landed(), e.InDoubt(reason="late"), e.Retried(), e.Skipped()]))
    def an_event_that_does_not_fit(self, event: e.Event) -> None:
        """Late or repeated events at a final or escalated run change nothing."""
        if self.saga.status in FINAL:
            assert not self.apply(event)

    # --- the promises ---------------------------------------------------------------------------

    @invariant()
    def undone_in_reverse(self) -> None:
        if not hasattr(self, "saga"):
            return
        order = [self.done.index(i) for i in self.undone]
        assert order == sorted(order, reverse=True), (self.done, self.undone)

    @invariant()
    def a_keyed_effect_happens_once(self) -> None:
        for key, times in getattr(self, "sent", {}).items():
            if self.saga.call(*key).effects is not Effects.UNKEYED:
                assert times <= 1

    @invariant()
    def nothing_before_the_pivot_is_undone_after_it(self) -> None:
        if hasattr(self, "saga") and self.past_pivot and self.undone:
            raise AssertionError("compensated past the pivot")

    @invariant()
    def the_record_never_claims_an_effect_that_is_not_there(self) -> None:
        if not hasattr(self, "saga"):
            return
        for i in range(len(self.saga.steps)):
            for direction in Direction:
                link, key = self.saga.link(i, direction), (i, direction)
                if link.status is LinkStatus.LANDED:
                    assert self.sent.get(key), f"{key} never happened"
                keyed = self.saga.has_call(*key) and self.saga.call(*key).effects is Effects.KEYED
                if link.status is LinkStatus.HANDLED:
                    assert not link.doubt, f"{key} was handled in doubt"
                if link.status in (LinkStatus.FAILED, LinkStatus.HANDLED) and keyed:
                    assert not self.sent.get(key) or key in self.blind, f"{key} happened"

    @invariant()
    def a_compensated_run_leaves_nothing_standing(self) -> None:
        if not hasattr(self, "saga") or self.saga.status is not RunStatus.COMPENSATED:
            return
        for i, state in enumerate(self.saga.steps):
            plan_step = self.saga.plan_step(i)
            if state.forward.status in HAPPENED and plan_step.compensation is not None:
                assert state.undo.status in {
                    LinkStatus.LANDED, LinkStatus.RESOLVED, LinkStatus.NOT_NEEDED,
                    LinkStatus.SKIPPED,
                }  # fmt: skip

    @invariant()
    def a_run_visits_no_more_than_it_may(self) -> None:
        if hasattr(self, "saga"):
            begun = sum(state.forward.attempts > 0 for state in self.saga.steps)
            assert begun < MOST_VISITS + len(self.saga.plan.steps)

    @invariant()
    def the_chain_is_one_way_through_the_plan(self) -> None:
        if hasattr(self, "saga"):
            done = [state.forward.status in DONE for state in self.saga.steps]
            assert done == sorted(done, reverse=True), "a later visit is settled, an earlier is not"
            assert len(self.saga.path.steps) == len(self.saga.steps)

    @invariant()
    def an_escalation_names_where_it_stands(self) -> None:
        command = getattr(self, "command", None)
        if isinstance(command, Escalate):
            assert self.saga.status is RunStatus.ESCALATED
            at = (command.step, command.direction)
            assert command.step is None or stuck(self.saga) == at

    def teardown(self) -> None:
        """Whatever happened, a kind world lets it settle in a bounded number of moves."""
        if not hasattr(self, "saga"):
            return
        for _ in range(300):
            if not self.active():
                return
            if isinstance(self.command, Perform):
                self.an_attempt("lands", [])
            elif isinstance(self.command, Verify):
                self.a_verification(True)
            else:
                self.a_worker_takes_it_up()
        raise AssertionError(f"never settled: {self.saga.status} at {current(self.saga)}")


SagaMachine.TestCase.settings = settings(
    max_examples=so_many(80, whole=250), stateful_step_count=50, deadline=None, print_blob=True
)
TestSagaMachine = sweep(SagaMachine.TestCase)
