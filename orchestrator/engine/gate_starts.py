"""Moments at which requests may leave."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.ports import Mark

UNCOUNTED = Mark(0)


@dataclass(frozen=True, slots=True)
class Start:
    """A moment at which one request may leave, and the headroom it was reserved with."""

    at: float  # time.monotonic()
    headroom: float
    mark: Mark = UNCOUNTED  # what it is given back by

    @property
    def good_until(self) -> float:
        """The other half of the headroom is for the way to the API."""
        return self.at + self.headroom / 2


ALWAYS = Start(0.0, math.inf)
"""Where there are no rates."""
