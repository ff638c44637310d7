"""A client of the demo's server for everyone in the demo who is not the orchestrator."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from orchestrator.errors import Unavailable

PASSWORD = "demo"  # noqa: S105 -- no secret: the server takes any
"""A user is known by name and password together."""

_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10)


class KintoClient:
    """Speaks as one user, whose name the server's journal keeps. Use as a context manager."""

    def __init__(self, base_url: str, *, user: str) -> None:
        self._base_url = base_url
        self._headers = {"Authorization": basic_auth(user)}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, decoded JSON and headers of one request, whatever the status.

        `path` is relative to the base URL, or an absolute URL (a next page). Raises Unavailable.
        """
        assert self._session is not None, "used outside its context"
        url = path if path.startswith("http") else self._base_url + path
        try:
            async with self._session.request(method, url, json=body, headers=headers) as answer:
                return answer.status, await answer.json(), answer.headers
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable("kinto", self._base_url, repr(error)) from error

    async def expect(self, wanted: set[int], method: str, path: str, body: Any = None) -> Any:
        """The decoded JSON of a request whose status must be one of `wanted`."""
        status, data, _ = await self.call(method, path, body)
        if status not in wanted:
            raise Unavailable("kinto", self._base_url + path, f"{method} answered {status}: {data}")
        return data

    async def whoami(self) -> str:
        """The server's name for this user, as its journal has it."""
        user: str = (await self.expect({200}, "GET", "/"))["user"]["id"]
        return user

    async def listed(self, path: str) -> AsyncIterator[Mapping[str, Any]]:
        """All objects of a list, newest change first, over all its pages."""
        page: str | None = path
        while page:
            status, data, headers = await self.call("GET", page)
            if status != 200:
                raise Unavailable("kinto", page, f"GET answered {status}: {data}")
            for item in data["data"]:
                yield item
            page = headers.get("Next-Page")


def basic_auth(user: str) -> str:
    """The header value of a user."""
    return "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
