"""From a synchronous command to the asynchronous services and back."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, overload

import typer

from orchestrator.cli.elsewhere import refuse_by
from orchestrator.cli.remote import chosen_url, not_from_elsewhere, open_client
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.wiring_services import Services

T = TypeVar("T")
R = TypeVar("R")
OLD_SECONDS = 1.0
"""What is older than this is told to be."""


@overload
def with_services(
    use: Callable[[Services], Awaitable[T]],
    *,
    pool_wait_seconds: float = ...,
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = ...,
) -> T: ...


@overload
def with_services(
    use: Callable[[Services], Awaitable[T]], *, remote: Callable[[Client], R] | None
) -> T | R: ...


def with_services(
    use: Callable[[Services], Awaitable[T]],
    *,
    remote: Callable[[Client], R] | None = None,
    pool_wait_seconds: float = 10.0,
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T | R:
    """Open the services that the settings name, use them, close them.

    Where the deployment is elsewhere (`--url`) its REST face is asked by `remote` instead. Raises
    InvalidInput for a command that has none. `pool_wait_seconds`: see `open_services`;
    `new_loop`: None: the usual one.
    """
    if chosen_url():
        if remote is None:
            raise not_from_elsewhere(chosen_url())
        return with_client(remote)
    from orchestrator.wiring_services import open_services

    async def main() -> T:
        async with open_services(load_settings(), pool_wait_seconds=pool_wait_seconds) as services:
            return await use(services)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main())


def as_look(use: Callable[[Services], Awaitable[T]]) -> Callable[[Services], Awaitable[T]]:
    """What only looks may be read from a replica; how old it is is told where that matters."""

    async def look_at(services: Services) -> T:
        from orchestrator.ports.looking import looked

        look = services.looking.begin("")
        found = await looked(services.looking, look, lambda: use(services))
        if look.age_seconds is not None and look.age_seconds > OLD_SECONDS:
            typer.echo(f"as of {look.age_seconds:.0f} s ago", err=True)
        return found

    return look_at


def with_client(use: Callable[[Client], R]) -> R:
    """Use the REST face of the deployment that is elsewhere."""
    with open_client(chosen_url()) as client:
        return use(client)


def acting(by: str) -> str:
    """Who acts: whom the option `--by` names, else you. Raises InvalidInput elsewhere."""
    refuse_by(by)
    return by or current_user()


def current_user() -> str:
    """Who acts, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
