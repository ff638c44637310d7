"""How often, and after how long, an attempt is repeated.

Exponential backoff with full jitter (Marc Brooker, "Exponential Backoff And Jitter", 2015):
the delay before attempt n+1 is drawn uniformly from [0, min(cap, first * multiplier**(n-1))].
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Limits of repetition. All durations in seconds.

    With the defaults the delays are at most 0.5, 1, 2, 4, 8 … 60 s and the last of eight
    attempts starts no later than about two minutes after the first, or ten minutes when the API
    asks for long waits.
    """

    max_attempts: int = 8
    first_delay_seconds: float = 0.5
    multiplier: float = 2.0
    max_delay_seconds: float = 60.0
    max_elapsed_seconds: float | None = 600.0  # no attempt starts later than this after the first
    max_retry_after_seconds: float = 3600.0  # a longer Retry-After is clamped to this

    def next_delay(
        self,
        *,
        attempts: int,
        elapsed_seconds: float,
        jitter: float,
        retry_after_seconds: float | None = None,
    ) -> float | None:
        """Seconds until the next attempt, or None when there is none.

        `attempts` counts those made so far (>= 1), `elapsed_seconds` is measured from the start
        of the first, `jitter` lies in [0, 1). A Retry-After replaces the backoff: the API knows
        better than we do.
        """
        if attempts >= self.max_attempts:
            return None
        delay = self._delay(attempts, jitter, retry_after_seconds)
        limit = self.max_elapsed_seconds
        return None if limit is not None and elapsed_seconds + delay > limit else delay

    def _delay(self, attempts: int, jitter: float, retry_after_seconds: float | None) -> float:
        if retry_after_seconds is not None:
            return min(max(retry_after_seconds, 0.0), self.max_retry_after_seconds)
        # The exponent is bounded so that a policy with very many attempts cannot overflow a float.
        ceiling = self.first_delay_seconds * self.multiplier ** min(attempts - 1, 63)
        return min(ceiling, self.max_delay_seconds) * jitter


DEFAULT_RETRY = RetryPolicy()
NO_RETRY = RetryPolicy(max_attempts=1)
