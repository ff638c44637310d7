"""All planted faults, in the order in which they are hunted."""

from __future__ import annotations

from tests.faults.mutants import core, engine, exchanges, gate, service, store
from tests.faults.mutants.planting import MUTANTS, Mutant, World

MODULES = (core, engine, exchanges, gate, service, store)

__all__ = ["MODULES", "MUTANTS", "Mutant", "World"]
