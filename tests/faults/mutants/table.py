"""All planted faults, in the order in which they are hunted."""

from __future__ import annotations

from tests.faults.mutants import (
    core,
    engine,
    exchanges,
    gate,
    harmless,
    jumps,
    people,
    service,
    store,
    waits,
)
from tests.faults.mutants.planting import HARMLESS, MUTANTS, Mutant, World

MODULES = (core, engine, exchanges, gate, service, store, people, waits, jumps, harmless)

__all__ = ["HARMLESS", "MODULES", "MUTANTS", "Mutant", "World"]
