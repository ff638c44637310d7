"""The surroundings of a simulation: no logs, no clock but the loop's, no garbage while it runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn

import structlog

from orchestrator.crashpoints import Crash
from orchestrator.engine import (
    gate_cadence,
    gate_health,
    gate_kinds,
    gate_permit,
    gate_queue,
    gate_slots,
    gate_supply,
)
from orchestrator.errors import Unavailable

PLANNED = (Crash, Unavailable)
_GATE: tuple[Any, ...] = (
    gate_cadence, gate_health, gate_kinds, gate_permit, gate_queue, gate_slots, gate_supply,
)  # fmt: skip
_BEGAN = 1_700_000_000.0  # UNIX time at which every simulation begins


class LoopTime:
    """Stands for the module `time` where the gate reads it."""

    @staticmethod
    def monotonic() -> float:
        """The running loop's."""
        return asyncio.get_running_loop().time()

    @staticmethod
    def time() -> float:
        """UNIX time by it."""
        return _BEGAN + asyncio.get_running_loop().time()


@contextmanager
def quiet(seed: int) -> Iterator[list[str]]:
    """Around one simulation. Yields what the engine logs as errors and nobody has planned.

    What is left of dead processes is cleared away at the end and not in between: their `finally`
    blocks would otherwise run whenever the collector comes by.
    """
    before = structlog.get_config()
    errors: list[str] = []
    structlog.configure(
        processors=[_Collector(errors)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )
    chance = random.getstate()
    random.seed(seed)  # of those in the engine who do not take theirs as an argument
    clocks = [module.time for module in _GATE]
    for module in _GATE:
        module.time = LoopTime
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield errors
    finally:
        _clear_away()
        gc.unfreeze()
        if collecting:
            gc.enable()
        for module, clock in zip(_GATE, clocks, strict=True):
            module.time = clock
        random.setstate(chance)
        structlog.configure(**before)


class _Collector:
    """A structlog processor that keeps errors and prints nothing."""

    def __init__(self, errors: list[str]) -> None:
        self._errors = errors

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> NoReturn:
        error = event.get("exc_info")
        if error is True:
            error = sys.exc_info()[1]
        if isinstance(error, BaseException) and not isinstance(error, PLANNED):
            self._errors.append(f"{event.get('event')}: {error!r}")
        raise structlog.DropEvent


def _clear_away() -> None:
    """Collect what was abandoned; that it complains of being abandoned is of no interest."""

    def ignore(_: Any) -> None: ...

    hook, sys.unraisablehook = sys.unraisablehook, ignore
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = hook
