"""Moments at which requests may leave."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """A moment at which one request may leave, and the headroom it was reserved with."""

    at: float  # time.monotonic()
    headroom: float
    mark: int = 0  # what it is given back by; 0: it is not

    @property
    def good_until(self) -> float:
        """The other half of the headroom is for the way to the API."""
        return self.at + self.headroom / 2


ALWAYS = Start(0.0, math.inf)
"""Where there are no rates."""
