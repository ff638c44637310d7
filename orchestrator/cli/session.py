"""From a synchronous command to the asynchronous services and back."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.wiring import Services

T = TypeVar("T")


def with_services(use: Callable[[Services], Awaitable[T]]) -> T:
    """Open the services that the settings name, use them, close them."""
    from orchestrator.wiring import open_services

    async def main() -> T:
        async with open_services(load_settings()) as services:
            return await use(services)

    return asyncio.run(main())


def current_user() -> str:
    """Who acts, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
