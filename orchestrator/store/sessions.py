"""What sessions with PostgreSQL are: one's own or lent, and set as they have to be or not."""

from __future__ import annotations

from sqlalchemy import text

from orchestrator.ports import SessionFacts
from orchestrator.store.engine import SESSION_SETTINGS, SET_SESSION, open_database, parse_url

_SETTINGS = text("SELECT " + ", ".join(f"current_setting('{name}')" for name in SESSION_SETTINGS))


class Sessions:
    """Implements ports.SessionInspector. An empty `session_url`: there is said to be no pooler."""

    def __init__(self, url: str, session_url: str) -> None:
        self._url, self._session_url = url, session_url

    async def facts(self) -> SessionFacts | None:
        """None where there are no sessions (SQLite). Raises Unavailable, InvalidSetting."""
        if parse_url(self._url).get_backend_name() == "sqlite":
            return None
        from orchestrator.store.pooler import is_shared  # noqa: PLC0415 -- needs psycopg

        said = bool(self._session_url)
        return SessionFacts(
            shared=await is_shared(parse_url(self._url)),
            said=said,
            session_shared=said and await is_shared(parse_url(self._session_url)),
            unlike=await self._unlike() if said else {},
            connect_query=SET_SESSION,
        )

    async def _unlike(self) -> dict[str, str]:
        database = open_database(self._url, pool_size=1, shares_sessions=True)
        try:
            found = await database.row(_SETTINGS)
        finally:
            await database.close()
        pairs = zip(SESSION_SETTINGS.items(), found, strict=True)
        return {name: value for (name, wanted), value in pairs if value != wanted}
