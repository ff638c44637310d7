"""Rates and slots of APIs in Redis, the same for all processes.

**Slots.** A process leases an allowance and fills it without asking again; the script
(`lease.lua`) keeps the sum of all live allowances within the limit. A lease ends TTL_SECONDS
after its last renewal by the server's clock, and MARGIN_SECONDS earlier by the holder's
monotonic clock, so a holder that cannot renew stops before its slots go to others. A killed
holder's slots are free after TTL_SECONDS. Known price: a request that is still in flight when its
holder has been cut off from Redis for so long is counted again only when the holder is back.

**Rates.** `reserve.lua` hands out start times. Let W be a window, N its amount and H the headroom.
A request with start time s arrives at the API in [s, s+H]: the gate lets nothing leave earlier,
and nothing that would leave late. The script gives request i+N a start of at least s(i)+H+W, so
it arrives at least W after i: no window of length W holds both, hence none holds more than N.
The price is H/(W+H) of the rate: 3.8 % at a window of one second and the usual 40 ms, nothing to
speak of at a minute. A start time that was not used is given back with the next call: it is taken
out of the lists, as if it had never been asked for, and those after it are still a full window
apart from whatever was sent. Where less was sent than the windows allow, starts follow each other a
little more closely until that is made up for.

**Whose turn.** Each process says what it has waiting of each tenant. Its start times and slots are
in proportion to what its tenants are entitled to there, as long as others want the rest: all
tenants get their shares, however their requests lie on the processes.

**Changes.** Processes learn of a changed limit one after the other. Until all have, the stricter
one holds for all: each renewal of a lease carries its holder's limit, and a rate stays in force
until nobody has asked with it for two seconds. One list of moments serves all rates, so a changed
rate counts what was let in before it. Of what the list does not reach back to, all may have come at
its newest moment, which may cost a window.

**Lost memory.** See `generation.lua`. After a wipe no lease grows for TTL_SECONDS; live holders say
what they hold when they renew. Rates of up to SHORT_SECONDS are not used for a full window. For
longer ones start times are counted, and no more are given than an *advance* allows that was written
to the database before (`ports.advances`): so what may be in a window is known there, to a tenth of
the rate, and the list is filled with it. Without advances all windows are waited for. At the first
use ever (nobody remembers another generation) SETTLE_SECONDS must do, in which every live holder
renews; if the database remembers requests, it was a wipe.
A server clock that is set (seen by `ServerClock`, or by reservations in its far future) counts as
a wipe.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from orchestrator.coordination.clock import ServerClock
from orchestrator.errors import Unavailable
from orchestrator.ports import Lease, Mark, Rate, RatedPart, Reservation, TenantWaiting
from orchestrator.ports.advances import Counted, Known

TTL_SECONDS = 4.0
MARGIN_SECONDS = 0.5
RENEW_SECONDS = 0.5
SETTLE_SECONDS = 1.0  # > RENEW_SECONDS
TURN_SECONDS = 1.0  # how long a slot that does not divide evenly stays with one process
HORIZON_SECONDS = 0.2  # how far ahead start times are handed out
SHORT_SECONDS = 10.0  # after a loss of memory windows of at most so long are waited for
MILLION = 1_000_000


@dataclass(slots=True)
class _Right:
    """Slots that this process was last told to be its own."""

    slots: int = 0
    expires: int = 0  # microseconds of the server's clock


@dataclass(slots=True)
class _Known:
    """What this process remembers of one API."""

    generation: str = ""
    distrust: bool = False
    rights: dict[str, _Right] = field(default_factory=dict)  # by scope


@dataclass(slots=True)
class RedisLimits:
    """Implements CountingLimits. One for each process, used by one event loop."""

    redis: Redis
    holder_id: str
    prefix: str = "orchestrator:gate"
    where: str = "the gate's address"  # for errors, without secrets
    _clock: ServerClock = field(default_factory=ServerClock)
    _known: dict[str, _Known] = field(default_factory=dict)
    _lease: AsyncScript = field(init=False)
    _reserve: AsyncScript = field(init=False)

    def __post_init__(self) -> None:
        self._lease = self.redis.register_script(_lua("lease"))
        self._reserve = self.redis.register_script(_lua("reserve"))

    async def lease(
        self, api: str, *, limit: int, wanted: int, held: int, scope: str = ""
    ) -> Lease:
        """See SharedLimits."""
        sent, answer = await self._renew(
            api, scope, limit=limit, wanted=wanted, held=held, told=limit
        )
        turn = int(answer[4]) / 1e6 or RENEW_SECONDS
        return Lease(
            allowance=int(answer[2]),
            share=int(answer[3]),
            valid_until=sent + TTL_SECONDS - MARGIN_SECONDS,
            review_at=sent + min(turn, RENEW_SECONDS),
        )

    async def reserve(
        self,
        api: str,
        *,
        rates: Sequence[Rate],
        count: int,
        waiting: int,
        headroom_seconds: float,
        spacing_seconds: float,
        closest_seconds: float,
        crowd: Sequence[TenantWaiting] = (),
        unused: Sequence[Mark] = (),
        parts: Sequence[RatedPart] = (),
        wanted: Sequence[Sequence[int]] | None = None,
        advances: Mapping[str, Known] | None = None,
    ) -> Reservation:
        """See CountingLimits."""
        books = [_book(rates, spacing_seconds, closest_seconds)]
        books += [_book(part.rates, part.spacing_seconds) for part in parts]
        keys = [self._key(api, "", name) for name in ("queue", "pace", "crowd")]
        for scope, book in zip(("", *(part.key for part in parts)), books, strict=True):
            keys += [self._key(api, scope, name) for name in ("latest", "log", "counted")]
            if advances is not None:
                self._add_advance(book, advances.get(scope, Known()))
        args: list[int | str] = [
            _us(SETTLE_SECONDS), waiting, count, _us(HORIZON_SECONDS), _us(headroom_seconds),
            _json(books), "" if wanted is None else _json(wanted),
            _json(crowd) if crowd else "", _json(_placed(unused, parts)) if unused else "",
        ]  # fmt: skip
        _, answer = await self._call(self._reserve, api, keys, args)
        return Reservation(
            starts=tuple(self._monotonic(start) for start in answer[5]),
            marks=tuple(_marks(answer, parts, wanted)),
            given=tuple(map(int, answer[6])),
            next_at=self._monotonic(answer[2]),
            parts_next_at=tuple(self._monotonic(each) for each in answer[7]),
            share=int(answer[3]) / MILLION,
            waiting_elsewhere=int(answer[4]),
            tenants_here=tuple(int(part) / MILLION for part in answer[9]),
            counted=tuple(map(_counted, answer[10])),
        )

    @staticmethod
    def _add_advance(book: dict[str, Any], known: Known) -> None:
        rates = [Rate(amount=amount, seconds=window / 1e6) for amount, window in book["rates"]]
        book |= {
            "advance": advance_of(rates), "upto": known.upto, "ago": _us(known.ago_seconds),
        }  # fmt: skip
        if known.past is not None:
            moments = [[_us(age), count] for age, count in known.past.moments if count]
            book["past"] = {"total": known.past.total, "moments": moments}

    async def leave(
        self, api: str, *, in_use: int = 0, scope: str = "", seconds: float = 0.0
    ) -> None:
        """See SharedLimits."""
        if in_use:
            lasts = max(TTL_SECONDS, seconds)
            await self._renew(
                api, scope, limit=in_use, wanted=in_use, held=in_use, told=0, lasts=lasts
            )
            return
        try:
            await self.redis.hdel(self._key(api, scope, "holders"), self.holder_id)
            if not scope:
                await self._wait_no_more(api)
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    async def _wait_no_more(self, api: str) -> None:
        """The next that reserves forgets what it has said of its tenants as well."""
        queue = self._key(api, "", "queue")
        async with self.redis.pipeline() as pipe:
            pipe.hset(queue, self.holder_id, "0 0")
            pipe.hdel(self._key(api, "", "crowd"), f"e:{self.holder_id}")
            pipe.pexpire(queue, round(TTL_SECONDS * 1000))
            await pipe.execute()

    async def _renew(
        self,
        api: str,
        scope: str,
        *,
        limit: int,
        wanted: int,
        held: int,
        told: int,
        lasts: float = TTL_SECONDS,
    ) -> tuple[float, list[Any]]:
        right = self._known.setdefault(api, _Known()).rights.setdefault(scope, _Right())
        args: list[int | str] = [
            limit, wanted, held, _us(lasts), _us(SETTLE_SECONDS), _us(TURN_SECONDS),
            right.slots, right.expires, told,
        ]  # fmt: skip
        keys = [self._key(api, scope, name) for name in ("holders", "crowd")]
        sent, answer = await self._call(self._lease, api, keys, args)
        right.slots = max(min(int(answer[2]), int(answer[3])), 0)
        right.expires = int(answer[0]) + _us(TTL_SECONDS)
        return sent, answer

    def _key(self, api: str, scope: str, name: str) -> str:
        part = f"{api}:rule:{scope}" if scope else api
        return f"{self.prefix}:{part}:{name}"

    # --- one script call --------------------------------------------------------------------------

    async def _call(
        self, script: AsyncScript, api: str, keys: list[str], args: Sequence[int | str]
    ) -> tuple[float, list[Any]]:
        """When it was sent and what it answered; once more if the server's clock was set."""
        sent, answer, jumped = await self._call_once(script, api, keys, args)
        if jumped:
            for known in self._known.values():
                known.distrust = True
            sent, answer, _ = await self._call_once(script, api, keys, args)
        return sent, answer

    async def _call_once(
        self, script: AsyncScript, api: str, keys: list[str], args: Sequence[int | str]
    ) -> tuple[float, list[Any], bool]:
        known = self._known.setdefault(api, _Known())
        distrust = "1" if known.distrust else "0"
        head = [self.holder_id, known.generation, secrets.token_hex(8), distrust]
        sent = time.monotonic()
        try:
            answer = await script(
                keys=[f"{self.prefix}:{api}:generation", *keys], args=[*head, *args]
            )
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error
        known.generation, known.distrust = str(answer[1]), False
        server = int(answer[0]) / 1e6
        jumped = self._clock.observe(sent=sent, received=time.monotonic(), server=server)
        return sent, answer, jumped

    def _monotonic(self, server_us: str) -> float:
        return self._clock.monotonic(int(server_us) / 1e6)

    def _unavailable(self, error: Exception) -> Unavailable:
        return Unavailable("gate store", self.where, f"{type(error).__name__}: {error}"[:300])


def _lua(name: str) -> str:
    folder = files("orchestrator.coordination")
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("generation", name))


def _book(
    rates: Sequence[Rate], spacing_seconds: float, closest_seconds: float | None = None
) -> dict[str, Any]:
    """Rates as the script reads them."""
    closest = spacing_seconds if closest_seconds is None else closest_seconds
    limits = [[rate.amount, _us(rate.seconds)] for rate in rates]
    return {
        "pace": _us(spacing_seconds), "closest": _us(closest), "rates": limits,
        "advance": 0, "upto": 0, "ago": 0,
    }  # fmt: skip


def advance_of(rates: Sequence[Rate]) -> int:
    """How many start times one advance allows at most: a tenth of the smallest amount of those that
    hold for longer than SHORT_SECONDS; 0 where none does.
    """
    amounts = [rate.amount for rate in rates if rate.seconds > SHORT_SECONDS]
    return max(min(amounts) // 10, 1) if amounts else 0


def _placed(unused: Sequence[Mark], parts: Sequence[RatedPart]) -> list[Any]:
    """Marks as the script reads them; those of parts that are not named now are left alone."""
    places = {part.key: place for place, part in enumerate(parts)}
    return [
        [mark.whole, [[places[key], of_part] for key, of_part in mark.parts if key in places]]
        for mark in unused
    ]


def _marks(
    answer: Sequence[Any], parts: Sequence[RatedPart], wanted: Sequence[Sequence[int]] | None
) -> Iterator[Mark]:
    for number, whole, of_parts in zip(answer[6], answer[8], answer[11], strict=True):
        under = wanted[int(number)] if wanted is not None else ()
        named = zip((parts[place].key for place in under), map(int, of_parts), strict=True)
        yield Mark(int(whole), tuple(named))


def _counted(answer: Sequence[Any]) -> Counted | None:
    if not answer:
        return None
    total, upto, wanted = map(int, answer)
    return Counted(None if total < 0 else total, upto, wanted)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
