"""Builds what counts and times one worker process, and serves it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector

from orchestrator.engine.gate import GateState
from orchestrator.ports.metering import UNMETERED, Meter
from orchestrator.settings import Settings
from orchestrator.telemetry import metrics as m
from orchestrator.telemetry.exposition import Exposition, serve
from orchestrator.telemetry.metering import Gauges, PrometheusMeter, Readings

EVERY_SECONDS = 1.0
BREAKERS = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
GAUGES = (
    m.GATE_IN_USE, m.GATE_WAITING, m.GATE_SLOTS, m.GATE_RESERVED, m.GATE_PACE, m.BREAKER,
    m.GATE_AWAY, m.ACTIVE_RUNS, m.LOOP_STILL,
)  # fmt: skip


class WorkerMetrics:
    """One worker process's metrics; nothing is counted where `metrics_port` is not set.

    The gate belongs to the engine's loop, and they are asked for from another thread: the loop puts
    a copy here once a second.
    """

    def __init__(self, settings: Settings, *, active_runs: Callable[[], int]) -> None:
        self._address, self._port = settings.metrics_address, settings.metrics_port
        self._active_runs = active_runs
        self._gates: Mapping[str, GateState] = {}
        self._moved_at = time.monotonic()
        self._registry = CollectorRegistry()
        self._exposition: Exposition | None = None
        self.meter: Meter = UNMETERED if self._port is None else PrometheusMeter(self._registry)

    @property
    def port(self) -> int | None:
        """Where it listens; None: nowhere."""
        return None if self._exposition is None else self._exposition.port

    def serve(self) -> None:
        """Begin to listen; again is nothing. Raises InvalidSetting."""
        if self._port is None or self._exposition is not None:
            return
        self._registry.register(Gauges(self._readings, GAUGES))
        ProcessCollector(registry=self._registry)  # CPU, memory, open files
        self._exposition = serve(self._registry, address=self._address, first_port=self._port)

    async def watch(self, snapshot: Callable[[], Mapping[str, GateState]]) -> None:
        """Look at the gate, until cancelled."""
        while self._port is not None:
            self._moved_at, self._gates = time.monotonic(), snapshot()
            await asyncio.sleep(EVERY_SECONDS)

    async def aclose(self) -> None:
        """Stop listening."""
        if self._exposition is not None:
            exposition, self._exposition = self._exposition, None
            await asyncio.to_thread(exposition.close)

    def _readings(self) -> Readings:
        still = time.monotonic() - self._moved_at - EVERY_SECONDS
        return {
            **gate_readings(self._gates),
            m.ACTIVE_RUNS: {(): float(self._active_runs())},
            m.LOOP_STILL: {(): max(still, 0.0)},
        }


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
