"""How APIs stand, in memory: `coordination/api_health.lua` and `api_health.py` under any clock."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from orchestrator.core.health import Health, HealthBook, HealthRules, News
from orchestrator.errors import Unavailable


class HealthServer:
    """What all processes share. `clock` is the server's: UNIX seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.away = False
        self.reports: list[tuple[str, str]] = []  # (holder, API)
        self._books: dict[str, HealthBook] = {}
        self._new_ids = count(1)

    def flush(self) -> None:
        """FLUSHALL: nothing is remembered."""
        self._books.clear()

    def report(self, holder: str, api: str, rules: HealthRules, news: News) -> Health:
        """One atomic step."""
        if self.away:
            raise Unavailable("gate store", "memory", "it is away")
        self.reports.append((holder, api))
        book = self._books.get(api)
        if book is None:
            book = self._books[api] = HealthBook(generation=f"book {next(self._new_ids)}")
        return book.report(holder, news, rules, round(self._clock() * 1_000_000))


class MemoryHealth:
    """Implements ports.SharedHealth; one for each process. Every answer comes at once."""

    def __init__(self, server: HealthServer, *, holder_id: str) -> None:
        self._server, self._holder = server, holder_id

    async def report(self, api: str, rules: HealthRules, news: News) -> Health:
        """See SharedHealth."""
        return self._server.report(self._holder, api, rules, news)
