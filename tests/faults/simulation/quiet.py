"""The surroundings of a simulation: no logs, no clock but the loop's, no garbage while it runs."""

from __future__ import annotations

import gc
import logging
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog


@contextmanager
def quiet(seed: int) -> Iterator[None]:
    """Around one simulation.

    What is left of dead processes is cleared away at the end and not in between: their `finally`
    blocks would otherwise run whenever the collector comes by.
    """
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    chance = random.getstate()
    random.seed(seed)  # of those in the engine who do not take theirs as an argument
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        _clear_away()
        gc.unfreeze()
        if collecting:
            gc.enable()
        random.setstate(chance)
        structlog.configure(**before)


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
