"""The server's clock as this process's monotonic clock sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

_DRIFT = 0.001  # clocks are steered by up to 500 ppm each
_TOLERANCE_SECONDS = 0.02


@dataclass(slots=True)
class ServerClock:
    """Translates server times (seconds) to `time.monotonic()`, never too early.

    Every answer bounds the offset between the clocks: the server read its clock between sending
    and receiving. The smallest upper bound is used, so that network delay moves a translated
    time back by as little as the quickest answer took. A server clock that was set leaves the
    bounds without overlap.
    """

    _upper: float = field(default=float("inf"))
    _lower: float = field(default=float("-inf"))
    _at: float = 0.0

    def observe(self, *, sent: float, received: float, server: float) -> bool:
        """Take an answer into account; True when the server's clock must have been set."""
        slack = (received - self._at) * _DRIFT
        self._at = received
        upper = min(self._upper + slack, received - server)
        lower = max(self._lower - slack, sent - server)
        jumped = lower > upper + _TOLERANCE_SECONDS
        if jumped:
            upper, lower = received - server, sent - server
        self._upper, self._lower = upper, lower
        return jumped

    def monotonic(self, server: float) -> float:
        """The moment at which the server's clock shows `server`, or a little after it."""
        return self._upper + server
