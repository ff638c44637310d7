"""What every page needs: the services, and whom it is shown to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from orchestrator.errors import NotAuthenticated
from orchestrator.ports import Role
from orchestrator.ports.looking import looked
from orchestrator.service.principal import LOCAL, Principal
from orchestrator.service.sessions import PREFIX
from orchestrator.wiring_services import Services

T = TypeVar("T")
COOKIE = "orchestrator_key"


@dataclass(frozen=True, slots=True)
class Desk:
    """The application as pages see it. Services are there once it has started."""

    services: Callable[[], Services]
    wants_keys: bool
    flower_url: str = ""  # where people reach Flower; empty: not known

    async def visitor(self, request: Request) -> Visitor | None:
        """Who looks at a page; None: they have to log in first."""
        visitor = Visitor(self, request.cookies.get(COOKIE, ""))
        try:
            await visitor.principal()
        except NotAuthenticated:
            return None
        return visitor


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody at a page. The key is asked for again with every act: it may have been revoked."""

    desk: Desk
    key: str

    async def principal(self, least: Role = Role.VIEWER) -> Principal:
        """Who it is. Raises NotAuthenticated, NotAllowed."""
        found = LOCAL
        if self.desk.wants_keys:
            found = await self._shown()
        found.require(least)
        return found

    async def _shown(self) -> Principal:
        """Whose key, token or session it is. A session is good here, and nowhere else."""
        services = self.desk.services()
        if self.key.startswith(PREFIX) and services.sign_in is not None:
            return services.sign_in.sessions.read(self.key)
        return await services.access.authenticate(self.key)

    @property
    def services(self) -> Services:
        """The use cases."""
        return self.desk.services()

    async def look(self, read: Callable[[], Awaitable[T]]) -> tuple[T, float]:
        """What is read, perhaps from a replica, and how many seconds old it is. Raises whatever
        `read` does."""
        looking = self.services.looking
        look = looking.begin(self.key)
        found = await looked(looking, look, read)
        return found, look.age_seconds or 0.0

    def acted(self) -> None:
        """Something may have been changed: what is looked at from now on contains it."""
        self.services.looking.acted(self.key)
