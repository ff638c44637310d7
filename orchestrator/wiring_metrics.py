"""Builds what counts and times one worker process, and serves or sends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from orchestrator.engine.gate import GateState
from orchestrator.ports.metering import UNMETERED, Meter
from orchestrator.service.measuring import Measuring
from orchestrator.settings import Settings
from orchestrator.telemetry import metrics as m
from orchestrator.telemetry.exposition import Exposition, serve
from orchestrator.telemetry.metering import Gauges, PrometheusMeter, Readings, gauge_families
from orchestrator.telemetry.pushing import MetricSink, Pushing
from orchestrator.telemetry.system_metrics import readings
from orchestrator.wiring_tracing import require_otlp

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0
BREAKERS = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
GAUGES = (
    m.GATE_IN_USE, m.GATE_WAITING, m.GATE_SLOTS, m.GATE_RESERVED, m.GATE_PACE, m.BREAKER,
    m.GATE_AWAY, m.ACTIVE_RUNS, m.LOOP_STILL, m.CANARY,
)  # fmt: skip


class WorkerMetrics:
    """One worker process's metrics; nothing is counted where nobody is served or sent them.

    The gate belongs to the engine's loop, and they are asked for from another thread: the loop puts
    a copy here once a second.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        active_runs: Callable[[], int],
        canary_seconds: Callable[[], float] = lambda: 0.0,
        version: str = "",
    ) -> None:
        self._settings, self._version = settings, version
        self._active_runs, self._canary_seconds = active_runs, canary_seconds
        self._counts = (settings.metrics_port or settings.otlp_metrics_seconds) is not None
        self._gates: Mapping[str, GateState] = {}
        self._moved_at = time.monotonic()
        self._registry = CollectorRegistry()
        self._exposition: Exposition | None = None
        self._pushing: Pushing | None = None
        self._begun = False
        self.meter: Meter = PrometheusMeter(self._registry) if self._counts else UNMETERED

    @property
    def port(self) -> int | None:
        """Where it listens; None: nowhere."""
        return None if self._exposition is None else self._exposition.port

    def serve(self) -> None:
        """Begin to listen and to push; again is nothing. Raises InvalidSetting."""
        if not self._counts or self._begun:
            return
        self._begun = True
        self._registry.register(Gauges(self._readings, GAUGES))
        ProcessCollector(registry=self._registry)  # CPU, memory, open files
        settings = self._settings
        if settings.metrics_port is not None:
            self._exposition = serve(
                self._registry, address=settings.metrics_address, first_port=settings.metrics_port
            )
        if settings.otlp_metrics_seconds is not None:
            self._pushing = Pushing(
                self._registry, _sink(settings, self._version),
                every_seconds=settings.otlp_metrics_seconds,
            )  # fmt: skip

    async def watch(self, snapshot: Callable[[], Mapping[str, GateState]]) -> None:
        """Look at the gate, until cancelled."""
        while self._counts:
            self._moved_at, self._gates = time.monotonic(), snapshot()
            await asyncio.sleep(EVERY_SECONDS)

    async def aclose(self) -> None:
        """Stop listening; push a last time."""
        if self._exposition is not None:
            exposition, self._exposition = self._exposition, None
            await asyncio.to_thread(exposition.close)
        if self._pushing is not None:
            ending, self._pushing = self._pushing, None
            await asyncio.to_thread(ending.close)

    def _readings(self) -> Readings:
        still = time.monotonic() - self._moved_at - EVERY_SECONDS
        return {
            **gate_readings(self._gates),
            m.ACTIVE_RUNS: {(): float(self._active_runs())},
            m.LOOP_STILL: {(): max(still, 0.0)},
            m.CANARY: {(): self._canary_seconds()},
        }


def reading_pusher(
    settings: Settings, version: str
) -> Callable[[Measuring], Awaitable[None]] | None:
    """What sends, until cancelled, how the deployment stands; None where nobody wants it.

    Raises InvalidSetting.
    """
    every = settings.otlp_metrics_seconds
    if every is None:
        return None
    sink = _sink(settings, version)

    async def push(measuring: Measuring) -> None:
        try:
            while True:
                try:
                    families = gauge_families(readings(await measuring.read()))
                    await asyncio.to_thread(sink.push, families)
                except Exception:
                    # What cannot be read once must not end the metrics for good.
                    log.exception("metrics.not_pushed")
                await asyncio.sleep(every)
        finally:
            sink.close()

    return push


def _sink(settings: Settings, version: str) -> MetricSink:
    require_otlp(settings.otlp_endpoint)
    from orchestrator.telemetry.otlp_metrics import OtlpMetrics  # noqa: PLC0415 - an extra, and slow

    return OtlpMetrics(settings.otlp_endpoint, version=version)


def gate_readings(gates: Mapping[str, GateState]) -> Readings:
    """Each API's gate in one process."""
    return {
        m.GATE_IN_USE: {(api,): float(gate.in_use) for api, gate in gates.items()},
        m.GATE_WAITING: {(api,): float(gate.waiting) for api, gate in gates.items()},
        m.GATE_SLOTS: {
            (api,): float(gate.allowance)
            for api, gate in gates.items() if gate.allowance is not None
        },
        m.GATE_RESERVED: {(api,): float(gate.reserved) for api, gate in gates.items()},
        m.GATE_PACE: {(api,): gate.pace for api, gate in gates.items()},
        m.BREAKER: {(api,): BREAKERS[gate.breaker] for api, gate in gates.items()},
        m.GATE_AWAY: {(api,): gate.away_seconds for api, gate in gates.items()},
    }  # fmt: skip
