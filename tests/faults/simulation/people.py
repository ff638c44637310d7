"""People who cancel and pause runs and decide about dead letters, truthfully, in all weathers.

An operator looks at the API some seconds after the letter came, when nothing is on its way to it
any more, and says what is there. What is said to be done is done, what is said to be absent is
absent; what is there and nobody can take back is left standing on purpose, or the run is abandoned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.core.events import CancelMode
from orchestrator.core.states import Direction, LinkStatus
from orchestrator.errors import Conflict, NotFound, Unavailable
from orchestrator.ports import EscalationFilter, EscalationRecord, NewPause
from orchestrator.service.escalations import Escalations
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.runs import Runs
from orchestrator.testing.loop import Process
from tests.faults.ledger.book import DO, PLAIN, UNDO, Asked
from tests.faults.simulation.broker import BrokerLink
from tests.faults.simulation.house import House
from tests.faults.workload import RunSeed

LOOKS_EVERY = (0.5, 3.0)
LOOKS_AFTER_SECONDS = 6.0  # longer than the API takes for anything
CANCELS_EVERY_NTH = 5
CANCELLED_WITHIN = (0.0, 10.0)
PAUSE_SECONDS = 0.5
STOPS_EVERY_NTH = 3
OPERATORS = ("ada", "bob")
PAUSES_EVERY = (1.0, 6.0)
PAUSED_FOR = (0.0, 8.0)


class People:
    """All who have to do with the runs of one house."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._book = house.desk.book
        house.on_acknowledged.append(self._may_cancel)
        self.acts = self.cancels = self.pauses = 0

    def come(self) -> None:
        """The operators begin their work; it never ends."""
        for name in OPERATORS:
            person = Process(self._house.loop, name)
            person.start(self._operate(name))
        person = Process(self._house.loop, "supervisor")
        person.start(self._supervise())

    # --- cancels ----------------------------------------------------------------------------------

    def _may_cancel(self, _: RunSeed, run_id: str) -> None:
        chance = self._house.chance
        if chance.randrange(CANCELS_EVERY_NTH) == 0:
            mode = CancelMode.UNDO if chance.randrange(STOPS_EVERY_NTH) else CancelMode.STOP
            person = Process(self._house.loop, "client")
            person.start(self._cancel(run_id, mode, chance.uniform(*CANCELLED_WITHIN)))

    async def _cancel(self, run_id: str, mode: CancelMode, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        house = self._house
        store = house.backing.view(house.weather, house.loop)
        programs = house.programs_of(store)
        link = BrokerLink(house.broker, house.weather, house.loop)
        runs = Runs(store, programs, Redeliverer(link, programs))
        while True:
            try:
                await runs.cancel(run_id, mode=mode, reason="not wanted any more", by="client")
            except (Conflict, NotFound):
                return
            except Unavailable:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self.cancels += 1
            house.note("cancel wished", run_id, mode)
            return

    # --- pauses -----------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        """Pause something for a while, again and again."""
        house = self._house
        store = house.backing.view(house.weather, house.loop)
        while True:
            await asyncio.sleep(house.chance.uniform(*PAUSES_EVERY))
            try:
                made = await store.pause(self._some_pause())
                self.pauses += 1
                house.note("paused", made.run_id or "", made.scope)
                await asyncio.sleep(house.chance.uniform(*PAUSED_FOR))
                await store.end_pause(made.id, by="cleo", reason="over")
            except (Conflict, NotFound, Unavailable) as error:
                house.note("supervisor failed", repr(error))

    def _some_pause(self) -> NewPause:
        """Of a run, of those of a shape, or of all; it ends by itself if nobody ends it."""
        chance = self._house.chance
        known = sorted(self._house.run_ids.values())
        run = chance.choice(known) if known and chance.random() < 0.6 else None
        shape = chance.choice(self._house.options.shapes).plan.workflow
        return NewPause(
            id=self._house.new_id(), by="cleo", reason="to see", run_id=run,
            workflow=shape if run is None and chance.random() < 0.5 else None,
            also_undoing=chance.random() < 0.3, seconds=PAUSED_FOR[1] + 1.0,
        )  # fmt: skip

    # --- dead letters -----------------------------------------------------------------------------

    async def _operate(self, name: str) -> None:
        """Take the next letter from the queue or from the table, decide, again."""
        house = self._house
        store = house.backing.view(house.weather, house.loop)
        programs = house.programs_of(store)
        link = BrokerLink(house.broker, house.weather, house.loop)
        desk = Escalations(store, link.letters, programs, Redeliverer(link, programs))
        while True:
            await asyncio.sleep(house.chance.uniform(*LOOKS_EVERY))
            try:
                letter = await self._next(desk, name)
                if letter is not None:
                    await self._decide(desk, letter, name)
            except (Conflict, NotFound, Unavailable) as error:
                house.note("operator failed", name, repr(error))

    async def _next(self, desk: Escalations, name: str) -> EscalationRecord | None:
        """Mostly from the queue; sometimes the oldest of the table, which may be another's."""
        if self._house.chance.random() < 0.7:
            return await desk.claim_next(by=name)
        known = await desk.list(EscalationFilter(limit=5))
        return self._house.chance.choice(known) if known else None

    async def _decide(self, desk: Escalations, letter: EscalationRecord, name: str) -> None:
        house = self._house
        age = (await house.backing.view().now() - letter.opened_at).total_seconds()
        await asyncio.sleep(max(LOOKS_AFTER_SECONDS - age, 0.0))
        act = await self._choice(desk, letter, name)
        await act
        self.acts += 1
        house.note("decided", letter.run_id, name)

    async def _choice(
        self, desk: Escalations, letter: EscalationRecord, name: str
    ) -> Awaitable[object]:
        """An honest act, any one of those that are possible."""
        chance, store = self._house.chance, self._house.backing.view()

        def retry() -> Awaitable[object]:
            return desk.retry(letter.id, by=name, reason="it may go better")

        def abandon() -> Awaitable[object]:
            return desk.abandon(letter.id, by=name, reason="it stays as it is")

        def skip() -> Awaitable[object]:
            return desk.skip(letter.id, by=name, reason="the effect may stand")

        def resolve(*, landed: bool) -> Callable[[], Awaitable[object]]:
            return lambda: desk.resolve(letter.id, by=name, reason="seen", landed=landed)

        if letter.step is None:
            return retry()
        steps, run = await store.steps(letter.run_id), await store.run(letter.run_id)
        forward = letter.direction is Direction.FORWARD
        link = steps[letter.step].forward if forward else steps[letter.step].undo
        there = self._is_there(run.idempotency_key, f"s{letter.step + 1}", letter.direction)
        if there:
            return resolve(landed=True)()
        if forward and link.link.status is LinkStatus.UNKNOWN:
            return chance.choice((retry, retry, resolve(landed=False), abandon))()
        return chance.choice((retry, abandon) if forward else (retry, skip, abandon))()

    def _is_there(self, run: str, step: str, direction: Direction) -> bool:
        asked = Asked(
            route=PLAIN, run=run, step=step, question=True,
            direction=DO if direction is Direction.FORWARD else UNDO,
        )  # fmt: skip
        return self._book.answer(asked, key=None, digest="").status == 200
