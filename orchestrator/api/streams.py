"""Answers that stay open, counted by whose they are: nobody has more than a share of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import Overloaded, Problem

AGAIN_AFTER_SECONDS = 5.0


class Streams:
    """Those of this process."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, whose: str) -> Iterator[None]:
        """While it is open. Raises Overloaded where `whose` are as many as may be."""
        if self._open[whose] >= self.most:
            problem = Problem(
                place=f"open streams of {whose}", found=str(self.most),
                wanted=f"fewer than {self.most}; /v1/runs/ID?wait=30 opens none",
            )  # fmt: skip
            raise Overloaded(
                "too many streams are open", problems=[problem],
                retry_after_seconds=AGAIN_AFTER_SECONDS,
            )  # fmt: skip
        self._open[whose] += 1
        try:
            yield
        finally:
            self._open[whose] -= 1
            if not self._open[whose]:
                del self._open[whose]
