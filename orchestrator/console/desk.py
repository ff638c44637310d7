"""What every page needs: the services, and whom it is shown to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from orchestrator.errors import NotAuthenticated
from orchestrator.ports import Role
from orchestrator.service.principal import LOCAL, Principal
from orchestrator.wiring_services import Services

COOKIE = "orchestrator_key"


@dataclass(frozen=True, slots=True)
class Desk:
    """The application as pages see it. Services are there once it has started."""

    services: Callable[[], Services]
    wants_keys: bool

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
            found = await self.desk.services().access.authenticate(self.key)
        found.require(least)
        return found

    @property
    def services(self) -> Services:
        """The use cases."""
        return self.desk.services()
