"""Shared limits whose memory of long windows outlives them: in the database, by advances.

What the last answer asked for is done before the next question: an advance is written, or the past
is read. Start times are asked for a while before they are needed, so nobody waits for it as a rule.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from orchestrator.ports import (
    CountingLimits,
    Lease,
    Mark,
    Rate,
    RatedPart,
    Reservation,
    TenantWaiting,
)
from orchestrator.ports.advances import Advance, AdvanceStore, Known, past_of

KEPT_SECONDS = 86_400.0  # at least, for rates that are added later


@dataclass(slots=True)
class _Api:
    """What this process knows of one API's counters, and what it was asked for."""

    longest_seconds: float = 0.0  # of all windows that it had
    known: dict[str, Known] = field(default_factory=dict)  # by part, what is still to be said
    written_at: float = 0.0  # time.monotonic(), before the latest was written
    to_write: dict[str, Advance] = field(default_factory=dict)
    to_read: set[str] = field(default_factory=set)


class CountedLimits:
    """Implements SharedLimits over another one and the database. One for each process."""

    def __init__(self, shared: CountingLimits, store: AdvanceStore) -> None:
        self._shared, self._store = shared, store
        self._apis: dict[str, _Api] = {}

    async def lease(
        self, api: str, *, limit: int, wanted: int, held: int, scope: str = ""
    ) -> Lease:
        """See SharedLimits."""
        return await self._shared.lease(api, limit=limit, wanted=wanted, held=held, scope=scope)

    async def leave(
        self, api: str, *, in_use: int = 0, scope: str = "", seconds: float = 0.0
    ) -> None:
        """See SharedLimits."""
        await self._shared.leave(api, in_use=in_use, scope=scope, seconds=seconds)

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
    ) -> Reservation:
        """See SharedLimits. Raises Unavailable also when the database cannot be reached."""
        own = self._apis.setdefault(api, _Api())
        windows = [rate.seconds for rate in rates]
        windows += [rate.seconds for part in parts for rate in part.rates]
        own.longest_seconds = max([own.longest_seconds, *windows])
        await self._do_what_was_asked(api, own)
        keys = ["", *(part.key for part in parts)]
        ago = time.monotonic() - own.written_at
        known = {key: replace(own.known[key], ago_seconds=ago) for key in keys if key in own.known}
        got = await self._shared.reserve(
            api, rates=rates, count=count, waiting=waiting, headroom_seconds=headroom_seconds,
            spacing_seconds=spacing_seconds, closest_seconds=closest_seconds, crowd=crowd,
            unused=unused, parts=parts, wanted=wanted, advances=known,
        )  # fmt: skip
        for key in known:
            del own.known[key]
        return _sooner(got, self._understood(own, keys, got))

    async def _do_what_was_asked(self, api: str, own: _Api) -> None:
        if own.to_read:
            parts, window = sorted(own.to_read), own.longest_seconds
            rows = await self._store.advances(api, parts, seconds=2 * window)
            own.known |= {part: Known(past=past_of(found, window)) for part, found in rows.items()}
            own.to_read.clear()
        if own.to_write:
            advances, now = sorted(own.to_write.values()), time.monotonic()
            kept = max(2 * own.longest_seconds, KEPT_SECONDS)
            await self._store.write_advances(api, advances, keep_seconds=kept)
            own.known |= {each.part: Known(upto=each.upto) for each in advances}
            own.written_at = now
            own.to_write.clear()

    def _understood(self, own: _Api, parts: Sequence[str], got: Reservation) -> list[bool]:
        """Of each part, whether its next start times depend on what was asked for alone."""
        stuck: list[bool] = []
        for part, counted in zip(parts, got.counted, strict=True):
            if counted is None:
                stuck.append(False)
            elif counted.total is None:
                own.to_read.add(part)
                stuck.append(True)
            else:
                if counted.upto_wanted:
                    own.to_write[part] = Advance(part, counted.total, counted.upto_wanted)
                stuck.append(counted.total >= counted.upto)
        return stuck


def _sooner(got: Reservation, stuck: Sequence[bool]) -> Reservation:
    """To be asked again at once where an advance, or the past, is all that is missing."""
    if not any(stuck):
        return got
    now = time.monotonic()
    whole, *parts = stuck
    return replace(
        got, next_at=min(got.next_at, now) if whole else got.next_at,
        parts_next_at=tuple(
            min(at, now) if of_part else at
            for at, of_part in zip(got.parts_next_at, parts, strict=True)
        ),
    )  # fmt: skip
