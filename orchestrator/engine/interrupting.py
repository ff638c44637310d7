"""Waits that somebody may cut short, and what a driver does then."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class HandOver(BaseException):
    """The process hands its runs back. Control flow, so no `except Exception` may swallow it."""


class Stopped(BaseException):
    """A pause stops the run before its next request. Control flow, as above."""


class Waits:
    """The wait that a driver is in, if any, and why it is to be cut short."""

    def __init__(self) -> None:
        self._waiter: asyncio.Task[Any] | None = None
        self._is_cut = False
        self.handing_over = False  # for good

    def hand_over(self) -> None:
        """Cut this wait short, and every later one."""
        self.handing_over = True
        self._cut()

    def stop(self) -> None:
        """Cut this wait short, if there is one."""
        self._cut()

    def check(self, *, stopped: bool) -> None:
        """Raises HandOver or Stopped where a wait would be cut short."""
        if self.handing_over:
            raise HandOver
        if stopped:
            raise Stopped

    async def until(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for it. Raises HandOver or Stopped when it is cut short.

        The driver's own task waits: with one more between them a permit would come to run two
        turns of the event loop later.
        """
        if self.handing_over:
            waiting.close()
            raise HandOver
        self._waiter = task = running_task()
        try:
            return await waiting
        except asyncio.CancelledError:
            if self.handing_over:
                raise HandOver from None
            if self._is_cut:
                raise Stopped from None
            raise
        finally:
            if self._is_cut:
                task.uncancel()
            self._waiter, self._is_cut = None, False

    def _cut(self) -> None:
        if self._waiter is not None and not self._is_cut:
            self._is_cut = True
            self._waiter.cancel()


def running_task() -> asyncio.Task[Any]:
    """The task that this is called in."""
    task = asyncio.current_task()
    assert task is not None, "only a task waits"
    return task
