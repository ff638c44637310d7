"""Those who answer runs that wait: signals and decisions, early, late, twice, in all weathers.

Who sends a signal sends it until it is acknowledged, with the same key; of two who decide on one
approval each goes on until an answer says who has decided. What they were told is held against the
tables in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any

from orchestrator.core.states import FINAL
from orchestrator.errors import Conflict, NotFound, Unavailable
from orchestrator.ports import Asks, Decision, Store, WaitRecord
from orchestrator.service.four_eyes import FourEyes
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.waiting import Waiting
from orchestrator.testing.loop import Process
from tests.faults.checker.invariants import Violation
from tests.faults.simulation.broker import BrokerLink
from tests.faults.workload import PAID, Kind, RunSeed, refusals

if TYPE_CHECKING:
    from tests.faults.simulation.house import House

ANSWERS = "answers"
"""What is broken when an answer that was acknowledged is not there, or not the one that counts."""

SENT_WITHIN = (0.0, 12.0)
LOOKS_EVERY = (0.3, 3.0)
AGAIN_AFTER_SECONDS = 0.7
DOUBLED = 0.5  # part of the signals, and of the approvals that two people decide on
DECIDERS = ("dora", "emil")
MAX_DATA_BYTES = 10_000


class Answering:
    """All who answer the runs of one house."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._heard: dict[tuple[str, str], int] = {}  # acknowledged signals: (run, key) -> number
        self._decided: dict[str, set[str]] = {}  # approvals, and who was told to have decided
        house.on_acknowledged.append(self._begin)

    def _begin(self, seed: RunSeed, run_id: str) -> None:
        chance = self._house.chance
        if not seed.shape.asks:
            return
        for number in range(1, _signals(seed) + 1):
            for _ in range(1 + (chance.random() < DOUBLED)):
                self._come("bank", self._send(run_id, f"{seed.name}-{number}", number))
        if Kind.APPROVED in _forward(seed):
            for name in DECIDERS[: 1 + (chance.random() < DOUBLED)]:
                self._come(name, self._decide(run_id, _decision(seed), name))

    def _come(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        Process(self._house.loop, name).start(work)

    def _desk(self) -> tuple[Store, Waiting]:
        house = self._house
        store = house.backing.view(house.weather, house.loop)
        link = BrokerLink(house.broker, house.weather, house.loop)
        programs = house.programs_of(store)
        alone = FourEyes(None, programs, new_id=house.new_id)
        wakes = Redeliverer(link, programs)
        return store, Waiting(store, wakes, max_data_bytes=MAX_DATA_BYTES, four_eyes=alone)

    # --- those who answer -------------------------------------------------------------------------

    async def _send(self, run_id: str, key: str, number: int) -> None:
        house = self._house
        _, waiting = self._desk()
        await asyncio.sleep(house.chance.uniform(*SENT_WITHIN))
        while True:
            try:
                receipt = await waiting.send_signal(
                    run_id, PAID, key=key, data={"n": number}, by="bank", via="rest"
                )
            except (Conflict, NotFound):  # it has turned back, or ended
                return
            except Unavailable:
                await asyncio.sleep(AGAIN_AFTER_SECONDS)
                continue
            self._heard[run_id, key] = receipt.signal.number
            house.note("signal taken", run_id, key)
            return

    async def _decide(self, run_id: str, decision: Decision, name: str) -> None:
        """Look now and then; decide as soon as it is asked."""
        house = self._house
        store, waiting = self._desk()
        while True:
            await asyncio.sleep(house.chance.uniform(*LOOKS_EVERY))
            try:
                if (await store.run(run_id)).status in FINAL:
                    return
                for wait in await waiting.waits_of(run_id):
                    if wait.asks is Asks.APPROVAL and wait.is_open:
                        await self._decide_one(waiting, wait, decision, name)
            except (Conflict, NotFound, Unavailable) as error:
                house.note("decider failed", run_id, name, repr(error))

    async def _decide_one(
        self, waiting: Waiting, wait: WaitRecord, decision: Decision, name: str
    ) -> None:
        await waiting.decide(wait.id, decision, by=name, via="link", reason="seen")
        self._decided.setdefault(wait.id, set()).add(name)
        self._house.note("decided", wait.run_id, name, decision)

    # --- the judge --------------------------------------------------------------------------------

    async def broken(self, store: Store) -> list[Violation]:
        """What people were told, and the tables say otherwise."""
        found = [detail async for detail in self._differences(store)]
        return [Violation(invariant=ANSWERS, run=run, detail=detail) for run, detail in found]

    async def _differences(self, store: Store) -> AsyncIterator[tuple[str, str]]:
        for (run_id, key), number in self._heard.items():
            known = [each.number for each in await store.signals_of(run_id) if each.key == key]
            if known != [number]:
                detail = f"signal {key} was taken as number {number}; the table has {known}"
                yield run_id, detail
        for wait_id, names in self._decided.items():
            wait = await store.wait(wait_id)
            if names != {wait.closed_by}:
                told = ", ".join(sorted(names))
                detail = f"{told} were told to have decided {wait_id}; it is by {wait.closed_by}"
                yield wait.run_id, detail


def _forward(seed: RunSeed) -> list[Kind]:
    return [forward for forward, _ in seed.shape.steps]


def _signals(seed: RunSeed) -> int:
    """How many are sent: as many as it waits for before the step that is refused for good."""
    return _forward(seed)[: refusals(seed.name).forward].count(Kind.TOLD)


def _decision(seed: RunSeed) -> Decision:
    failing = refusals(seed.name).forward
    rejected = failing is not None and _forward(seed)[failing] is Kind.APPROVED
    return Decision.REJECTED if rejected else Decision.APPROVED
