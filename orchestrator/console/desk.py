"""What every page needs: the services, and whom it is shown to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from orchestrator.errors import NotAuthenticated
from orchestrator.ports import Role
from orchestrator.service.principal import LOCAL, Principal
from orchestrator.service.sessions import PREFIX
from orchestrator.wiring_services import Services

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
