"""What befalls every request for a while, whoever has sent it, and the tokens that are good now.

Unlike fates (`faults.py`), which are drawn for each link, these come and go with time: an API that
is away, or overrun, or has lowered its limit without saying so, and tokens that end early. None of
them has an effect, so whatever an engine does about them can be judged like anything else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.ledger.faults import Fate, Fault

_AWAY = Fate(fault=Fault.DROP_BEFORE)
_SILENT = Fate(fault=Fault.BUSY, status=429)
WINDOW_SECONDS = 1.0


@dataclass(slots=True)
class Weather:
    """Fine while nothing is set."""

    away: bool = False  # every connection is cut
    retry_after: str | None = None  # every request gets a 429 with this header
    most_per_second: int | None = None  # more in any second get a 429 that says nothing more
    _admitted: deque[float] = field(default_factory=deque)

    def set(self, wish: Mapping[str, Any]) -> None:
        """Change it to this; what is not named becomes fine."""
        self.away = bool(wish.get("away", False))
        self.retry_after = wish.get("retry_after")
        self.most_per_second = wish.get("most_per_second")

    def fate(self, now: float) -> Fate | None:
        """What becomes of a request that arrives now; None: what it would have become anyway."""
        if self.away:
            return _AWAY
        if self.retry_after is not None:
            return Fate(fault=Fault.BUSY, status=429, retry_after=self.retry_after)
        if self.most_per_second is None:
            return None
        while self._admitted and self._admitted[0] <= now - WINDOW_SECONDS:
            self._admitted.popleft()
        if len(self._admitted) >= self.most_per_second:
            return _SILENT
        self._admitted.append(now)
        return None


@dataclass(slots=True)
class Tokens:
    """Credentials that were given out (OAuth2, client credentials), one after the other."""

    secret: str  # that the client has to show; each token begins with it
    issued: int = 0
    ended: int = 0  # tokens up to this number are good no longer

    def issue(self) -> dict[str, Any]:
        """An answer of RFC 6749, section 5.1. It promises a life that `end` may cut short."""
        self.issued += 1
        token = f"{self.secret}-{self.issued}"
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3600}

    def end(self) -> None:
        """No token that was given out before now is good any more."""
        self.ended = self.issued

    def knows(self, credential: str | None) -> bool:
        """Whether it was ever given out: a stranger's is another matter than an old one."""
        return self._number(credential) is not None

    def accepts(self, credential: str | None) -> bool:
        """Whether it is good now."""
        number = self._number(credential)
        return number is not None and number > self.ended

    def _number(self, credential: str | None) -> int | None:
        head, _, number = (credential or "").rpartition("-")
        if head != f"Bearer {self.secret}" or not number.isdecimal():
            return None
        return int(number) if 0 < int(number) <= self.issued else None
