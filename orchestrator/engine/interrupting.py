"""Waits that somebody may cut short, and what a driver does then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class HandOver(BaseException):
    """The process hands its runs back. Control flow, so no `except Exception` may swallow it."""


class Stopped(BaseException):
    """A pause stops the run before its next request. Control flow, as above."""


class Waits:
    """The wait that a driver is in, if any, and why it is to be cut short."""

    def __init__(self) -> None:
        self._wait: asyncio.Future[Any] | None = None
        self._stopped = False
        self.handing_over = False  # for good

    def hand_over(self) -> None:
        """Cut this wait short, and every later one."""
        self.handing_over = True
        if self._wait is not None:
            self._wait.cancel()

    def stop(self) -> None:
        """Cut this wait short, if there is one."""
        if self._wait is not None:
            self._stopped = True
            self._wait.cancel()

    def check(self, *, stopped: bool) -> None:
        """Raises HandOver or Stopped where a wait would be cut short."""
        if self.handing_over:
            raise HandOver
        if stopped:
            raise Stopped

    async def until(self, waiting: Awaitable[T]) -> T:
        """Wait for it. Raises HandOver or Stopped when it is cut short."""
        if self.handing_over:
            asyncio.ensure_future(waiting).cancel()
            raise HandOver
        self._wait = asyncio.ensure_future(waiting)
        try:
            return await self._wait  # type: ignore[no-any-return] # `waiting`'s own T
        except asyncio.CancelledError:
            if self.handing_over:
                raise HandOver from None
            if self._stopped:
                raise Stopped from None
            raise
        finally:
            self._wait, self._stopped = None, False
