"""Builds what sends the requests of dry runs, when the first one asks for it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from orchestrator.coordination.api_health import RedisHealth
from orchestrator.coordination.connect import connect, without_secrets
from orchestrator.coordination.limits import RedisLimits
from orchestrator.coordination.tokens import RedisTokens
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.definitions.programs import Programs
from orchestrator.engine.api_book import ApiBook
from orchestrator.engine.api_watch import ApiWatch
from orchestrator.engine.counted_limits import CountedLimits
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.reading import GatedReads
from orchestrator.settings import Settings
from orchestrator.store import SqlStore
from orchestrator.wiring import gate_url, new_id, read_api_files, token_desk
from orchestrator.wiring_brokers import broker_url


class ReadsWhenAsked:
    """Implements Reads. Most processes that could read never do, and open nothing for it."""

    def __init__(self, settings: Settings, store: SqlStore, programs: Programs) -> None:
        self._settings, self._store, self._programs = settings, store, programs
        self._lock, self._stack = asyncio.Lock(), AsyncExitStack()
        self._opened: tuple[GatedReads, ApiWatch] | None = None

    async def read(
        self, api: str, request: FrozenRequest, *, operation: str, tenant: str, step: str,
        timeout_seconds: float | None,
    ) -> Response:  # fmt: skip
        """See Reads."""
        async with self._lock:
            if self._opened is None:
                self._opened = self._open()
            reads, watch = self._opened
            # An API that is held by now must not be asked. Workers look every few seconds; here the
            # last request may be hours ago.
            await watch.look()
        return await reads.read(
            api, request, operation=operation, tenant=tenant, step=step,
            timeout_seconds=timeout_seconds,
        )  # fmt: skip

    def _open(self) -> tuple[GatedReads, ApiWatch]:
        """The same gate and client as a worker's. Raises InvalidSetting."""
        from orchestrator.engine.http import HttpTransport  # noqa: PLC0415 - as in wiring.py

        url = gate_url(self._settings, broker_url(self._settings))
        redis, where = connect(url), without_secrets(url)
        files = read_api_files(self._settings.config_dir / "apis")
        files.require_valid()
        apis = ApiBook(files.configs({}))
        watch = ApiWatch(files, self._store, apis, every_seconds=self._settings.api_reload_seconds)
        http = HttpTransport(
            apis, base_url=self._programs.base_url,
            tokens=token_desk(self._settings, RedisTokens(redis, where=where)),
        )  # fmt: skip
        holder = new_id()
        gate = SharedGate(
            CountedLimits(RedisLimits(redis, holder_id=holder, where=where), self._store), apis,
            RedisHealth(redis, holder_id=holder, where=where),
        )  # fmt: skip
        for end in (redis.aclose, http.aclose, gate.aclose):  # the last one first
            self._stack.push_async_callback(end)
        return GatedReads(gate, http), watch

    async def aclose(self) -> None:
        """Close connections, and give the gate back what is held."""
        await self._stack.aclose()
