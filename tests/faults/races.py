"""People who act at the same moment on one run, in every order that their transactions can have.

The run is one of a simulated house, brought to the moment by the real engine. Time stands still
while they act: each turn of one of them is one transaction. Afterwards the house goes on until the
run has settled, and is judged.

    for race in every_order(Moment(seed=…, status=RunStatus.ESCALATED), {"ada": …, "bob": …}):
        assert race.winners == …

Whatever an actor awaits other than the store would not come to an end here, and is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.states import RunStatus
from orchestrator.definitions.programs import Programs
from orchestrator.errors import Conflict
from orchestrator.ports import AuditRecord, EscalationRecord, Hint, RunRecord, WaitRecord
from orchestrator.service.escalations import Escalations
from orchestrator.service.four_eyes import FourEyes
from orchestrator.service.links import Links, LinkSigner
from orchestrator.service.pausing import Pausing
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.runs import Runs
from orchestrator.service.waiting import Waiting
from orchestrator.testing.loop import VirtualLoop
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.store import Moment as Side
from orchestrator.testing.quiet import quiet
from tests.faults.simulation.backing import MemoryBacking
from tests.faults.simulation.broker import Broker
from tests.faults.simulation.house import House, Options
from tests.faults.simulation.judging import judge
from tests.faults.workload import RunSeed

LINK_KEY = "a key of the tests, that is long enough"
REACHED_WITHIN_SECONDS = 60.0
SETTLES_WITHIN_SECONDS = 10.0
_COMMUTE = {"now", "workflow_by_id"}
"""Nothing that anybody does meanwhile changes what they answer, so they are no turns."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When they act: as soon as the run has this status and nobody has it in hand."""

    seed: RunSeed
    status: RunStatus


class Desk:
    """What one person acts through, over a store of their own."""

    def __init__(self, house: House, run_id: str) -> None:
        assert isinstance(house.backing, MemoryBacking)
        self.store = MemoryStore(house.backing.database, line=_turn)
        self.run_id = run_id
        programs = Programs(self._load)
        broker = Straight(house.broker)
        wakes = Redeliverer(broker, programs)
        self.escalations = Escalations(self.store, broker, programs, wakes)
        self.runs = Runs(self.store, programs, wakes)
        alone = FourEyes(None, programs, new_id=house.new_id)
        self.waiting = Waiting(self.store, wakes, max_data_bytes=10_000, four_eyes=alone)
        self.links = Links(
            self.store, self.waiting, LinkSigner(key=LINK_KEY, public_url="http://localhost")
        )
        self.pausing = Pausing(self.store, wakes, new_id=house.new_id)

    async def _load(self, workflow_id: str) -> Any:
        return (await self.store.workflow_by_id(workflow_id)).plan


Act = Callable[[Desk], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Race:
    """What came of one order."""

    order: tuple[str, ...]  # whose turn it was, turn by turn
    answers: Mapping[str, Any]  # what each was answered: a value, or the Conflict
    run: RunRecord  # when all had acted
    audit: Sequence[AuditRecord]
    escalations: Sequence[EscalationRecord]
    waits: Sequence[WaitRecord]
    ended: RunRecord  # when the house had gone on
    effects: tuple[str, ...]  # "s1", and "s1'" for its undo, in order, when it had gone on
    broken: tuple[str, ...]  # promises

    @property
    def winners(self) -> list[str]:
        """Those who were not refused."""
        return [name for name, answer in self.answers.items() if not isinstance(answer, Conflict)]

    def refusal(self, name: str) -> str:
        """What somebody was told who was refused."""
        answer = self.answers[name]
        assert isinstance(answer, Conflict), f"{name} was not refused: {answer}"
        return str(answer)

    def told(self, *kinds: str) -> list[tuple[str, str]]:
        """Audit records of these kinds, as (kind, by whom)."""
        return [(each.kind, each.actor) for each in self.audit if each.kind in kinds]


def every_order(
    moment: Moment, acts: Mapping[str, Act], *, prepare: Act | None = None
) -> Iterator[Race]:
    """One race for each order. `prepare` is done first, before anybody's turn."""
    prefixes: list[tuple[str, ...]] = [()]
    while prefixes:
        yield _raced(moment, acts, prepare, prefixes.pop(), prefixes)


def _raced(
    moment: Moment,
    acts: Mapping[str, Act],
    prepare: Act | None,
    prefix: tuple[str, ...],
    others: list[tuple[str, ...]],
) -> Race:
    with quiet(0) as errors:
        loop = VirtualLoop()
        options = Options(
            workers=2, shapes=(moment.seed.shape,), latency=(0.01, 0.01), answered=False
        )
        house = House(loop, 0, MemoryBacking(loop), options)
        try:
            found = loop.run_until_complete(_play(house, moment, acts, prepare, prefix, others))
            house.close()
            verdict = loop.run_apart(judge(house, [moment.seed], secrets=False, errors=errors))
        finally:
            loop.close()
    broken = tuple(f"{each.invariant}: {each.detail}" for each in verdict.violations)
    return Race(**found, broken=broken)


async def _play(
    house: House,
    moment: Moment,
    acts: Mapping[str, Act],
    prepare: Act | None,
    prefix: tuple[str, ...],
    others: list[tuple[str, ...]],
) -> dict[str, Any]:
    await house.open()
    await asyncio.sleep(0.1)
    house.submit([moment.seed])
    run_id = await _come_to(house, moment)
    if prepare is not None:
        _through(_started(prepare, house, run_id))
    order, answers = _in_turns(
        {name: _started(act, house, run_id) for name, act in acts.items()}, prefix, others
    )
    store = house.backing.view()
    found = {
        "order": order, "answers": answers, "run": await store.run(run_id),
        "audit": await store.audit(run_id), "escalations": await store.escalations_of(run_id),
        "waits": await store.waits_of(run_id),
    }  # fmt: skip
    await asyncio.sleep(SETTLES_WITHIN_SECONDS)
    effects = tuple(
        each.step + ("'" if each.direction == "undo" else "")
        for each in house.writer.records().effects
    )
    return {**found, "ended": await store.run(run_id), "effects": effects}


async def _come_to(house: House, moment: Moment) -> str:
    store = house.backing.view()
    while house.loop.time() < REACHED_WITHIN_SECONDS:
        await asyncio.sleep(0.05)
        for run_id in house.run_ids.values():
            run = await store.run(run_id)
            if run.status is moment.status and run.owner is None:
                return run_id
    raise AssertionError(f"the run never came to be {moment.status}")


# --- turns ----------------------------------------------------------------------------------------


class _Turn:
    """Yields once: somebody's next transaction may begin."""

    def __await__(self) -> Generator[Any, None, None]:
        yield self


def _turn(side: Side, call: str) -> Awaitable[None] | None:
    return _Turn() if side == "before" and call not in _COMMUTE else None


@dataclass
class _Actor:
    """One who acts, between two turns."""

    work: Coroutine[Any, Any, Any]
    answer: Any = field(default=None)
    is_through: bool = False

    def go_on(self) -> None:
        """Up to the next turn, or to the end."""
        try:
            asked = self.work.send(None)
        except StopIteration as end:
            self.answer, self.is_through = end.value, True
        except Conflict as refused:
            self.answer, self.is_through = refused, True
        else:
            assert isinstance(asked, _Turn), f"{self.work} waits for {asked}"


def _started(act: Act, house: House, run_id: str) -> _Actor:
    """Right before the first transaction."""

    async def whole() -> Any:
        return await act(Desk(house, run_id))

    actor = _Actor(work=whole())
    actor.go_on()
    return actor


def _through(actor: _Actor) -> None:
    while not actor.is_through:
        actor.go_on()
    assert not isinstance(actor.answer, Conflict), actor.answer


def _in_turns(
    actors: Mapping[str, _Actor], prefix: tuple[str, ...], others: list[tuple[str, ...]]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Play this beginning of an order and any end of it; the other ends are noted in `others`."""
    order: tuple[str, ...] = ()
    while going := [name for name, actor in actors.items() if not actor.is_through]:
        if len(order) < len(prefix):
            chosen = prefix[len(order)]
        else:
            chosen, *rest = going
            others.extend((*order, name) for name in rest)
        actors[chosen].go_on()
        order += (chosen,)
    return order, {name: actor.answer for name, actor in actors.items()}


class Straight:
    """The broker without a way to it. Implements HintPublisher and DeadLetterQueue."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def publish(self, items: Sequence[Hint | EscalationRecord]) -> None:
        """Hints, or messages of escalations."""
        for each in items:
            if isinstance(each, Hint):
                self._broker.put(each)
            else:
                self._broker.letters.append(each.id)

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """See HintPublisher."""
        return self._broker.depth(queues)

    async def take_next(self) -> str | None:
        """See DeadLetterQueue."""
        return self._broker.letters.pop(0) if self._broker.letters else None

    async def remove(self, escalation_ids: Sequence[str]) -> None:
        """See DeadLetterQueue."""
        gone = set(escalation_ids)
        self._broker.letters = [known for known in self._broker.letters if known not in gone]

    async def listed(self) -> list[str]:
        """See DeadLetterQueue."""
        return list(self._broker.letters)
