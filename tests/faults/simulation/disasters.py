"""What befalls whole processes and servers during a storm, at random moments of virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator.testing.loop import Life
from tests.faults.ledger.faults import WEIGHTS
from tests.faults.simulation.house import House
from tests.faults.simulation.weather import Rates
from tests.faults.simulation.worker import Worker

LAST_DISASTER_HEALS_SECONDS = 1.0


async def storm(house: House, rates: Rates, seconds: float) -> None:
    """Bad weather for so long; then all is well again, and whoever is frozen is thawed."""
    chance, weather = house.chance, house.weather
    weather.rates, weather.storming = rates, True
    house.desk.faults.reseed(seed=chance.randrange(1 << 30), rate=rates.api, weights=WEIGHTS)
    over = house.loop.time() + seconds
    while house.loop.time() < over:
        await asyncio.sleep(chance.expovariate(1.0 / rates.disaster_gap))
        _KINDS[chance.randrange(len(_KINDS))](house)
    heal(house)


def heal(house: House) -> None:
    """Everything is well from now on."""
    house.note("disaster", "healed")
    house.weather.calm_down()
    house.desk.faults.heal()
    for worker in list(house.workers):
        house.thaw(worker)


def _kill(house: House) -> None:
    worker = _any(house)
    if worker is not None:
        house.kill(worker)


def _freeze(house: House) -> None:
    worker = _any(house)
    if worker is not None:
        house.freeze(worker)


def _kill_frozen(house: House) -> None:
    frozen = [worker for worker in house.workers if worker.life is Life.FROZEN]
    if frozen:
        house.kill(house.chance.choice(frozen))


def _drain(house: House) -> None:
    worker = _any(house)
    if worker is not None and worker.ready:
        house.note("disaster", "shutdown", worker.name)
        worker.start(worker.drain())


def _store_away(house: House) -> None:
    seconds = house.chance.uniform(0.2, 8.0)
    house.note("disaster", "store away", f"{seconds:.1f} s")
    house.weather.store_away_until = house.loop.time() + seconds


def _broker_away(house: House) -> None:
    seconds = house.chance.uniform(0.2, 6.0)
    house.note("disaster", "broker away", f"{seconds:.1f} s")
    house.weather.broker_away_until = house.loop.time() + seconds


def _empty(house: House) -> None:
    house.note("disaster", "broker emptied")
    house.broker.empty()
    house.limits.flush()
    house.health.flush()


def _purge(house: House) -> None:
    house.note("disaster", "queues purged")
    house.broker.purge()


def _lose_letters(house: House) -> None:
    house.note("disaster", "dead letters emptied")
    house.broker.letters.clear()


def _shuffle(house: House) -> None:
    house.note("disaster", "queues shuffled")
    house.broker.shuffle(house.chance.shuffle)


def _any(house: House) -> Worker | None:
    running = [worker for worker in house.workers if worker.life is Life.RUNNING]
    return house.chance.choice(running) if running else None


_KINDS: tuple[Callable[[House], None], ...] = (
    _kill, _kill, _kill, _freeze, _freeze, _kill_frozen, _drain, _store_away, _broker_away, _empty,
    _purge, _lose_letters, _shuffle,
)  # fmt: skip
