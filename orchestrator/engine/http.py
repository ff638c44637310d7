"""Sends requests over HTTP and tells what certainly did not leave from what may have.

A request has not left while there is no connection for it: not resolved, refused, no TLS, no free
connection in time. From the moment it has one it may have left, whatever goes wrong; also when a
kept-alive connection turns out to be closed, since the server may have read it before closing.

aiohttp repeats idempotent methods on such a connection by itself. A repeat belongs to the retry
policy and the attempts table, so `_once` turns it off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.engine.apis import ApiConfig, config_of
from orchestrator.engine.egress import EgressRefused, GuardedResolver, check_literal
from orchestrator.errors import InDoubt, InvalidSetting, NotLanded
from orchestrator.ports import AttemptContext

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

DNS_CACHE_SECONDS = 10
CREDENTIAL_CACHE_SECONDS = 30.0
USER_AGENT = "saga-orchestrator"
_FORBIDDEN = frozenset("\r\n\0")

BaseUrl = Callable[[str], str | None]


class HttpTransport:
    """Implements Transport for APIs over HTTP. One for each process, used by one event loop.

    `base_url` answers for APIs whose configuration does not say where they are.
    """

    def __init__(
        self, apis: Mapping[str, ApiConfig], *, base_url: BaseUrl = lambda _: None
    ) -> None:
        self._apis = apis
        self._base_url = base_url
        self._clients: dict[str, _Client] = {}

    async def send(
        self,
        api: str,
        request: FrozenRequest,
        context: AttemptContext,
        *,
        timeout_seconds: float | None,
    ) -> Response:
        """See Transport."""
        client = self._clients.get(api)
        if client is None:
            client = self._clients[api] = _Client(config_of(self._apis, api))
        base = client.config.base_url or self._base_url(api)
        if base is None:
            raise NotLanded(f"{api}: no base URL is known in this worker", retryable=True)
        _stage.set(stage := _Stage(may_leave=context.may_leave))
        return await client.send(base, request, timeout_seconds, stage)

    async def aclose(self) -> None:
        """Close all connections. Calls in flight become in doubt."""
        for client in self._clients.values():
            await client.aclose()


class _Client:
    """One API's connections and settings."""

    def __init__(self, config: ApiConfig) -> None:
        self.config = config
        self._credential = ("", 0.0)  # header value, when to read it again
        self._checked_base = ""
        connector = _Connector(
            limit=config.connections,
            resolver=GuardedResolver(
                allow_private=config.allow_private_addresses, timeout_seconds=config.connect_seconds
            ),
            ttl_dns_cache=DNS_CACHE_SECONDS,
            force_close=config.keep_alive_seconds == 0,
            keepalive_timeout=config.keep_alive_seconds or None,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # one run's cookies are none of another's
            skip_auto_headers=("Content-Type",),
            headers={"User-Agent": USER_AGENT},
            middlewares=(_once,),
            trust_env=False,
        )

    async def send(
        self, base: str, request: FrozenRequest, timeout_seconds: float | None, stage: _Stage
    ) -> Response:
        begun = time.monotonic()
        try:
            self._check(base)
            answer = await self._session.request(
                request.method, URL(base + request.target, encoded=True),
                data=request.body or None, headers=self._headers(request),
                allow_redirects=False, timeout=self._timeout(timeout_seconds),
            )  # fmt: skip
            async with answer:
                body = await self._body(answer)
        except _HeldUp as error:
            why = f"{self.config.name}: this process was held up before the request could leave"
            raise NotLanded(why, retryable=True) from error
        except (EgressRefused, ValueError) as error:  # ValueError: an address that is none
            raise self._refused(error, stage) from error
        except (aiohttp.ClientError, OSError, _Lost, _TooLarge) as error:  # OSError: timeouts too
            raise self._outcome(error, stage, begun) from error
        return Response(
            status=answer.status, headers=_lower(answer), body=body,
            seconds=time.monotonic() - begun,
        )  # fmt: skip

    async def aclose(self) -> None:
        await self._session.close()

    # --- what goes out ------------------------------------------------------------------------

    def _check(self, base: str) -> None:
        if base != self._checked_base:
            host = urlsplit(base).hostname or ""
            check_literal(host, allow_private=self.config.allow_private_addresses)
            self._checked_base = base

    def _headers(self, request: FrozenRequest) -> CIMultiDict[str]:
        headers = CIMultiDict(request.headers)
        for name, value in self.config.headers:
            headers.setdefault(name, value)
        if self.config.auth is not None:
            headers[self.config.auth.header] = self._credential_now()
        for name, value in headers.items():
            if not _FORBIDDEN.isdisjoint(name + value):
                raise ValueError(f"header {name!r} holds a line break")
        return headers

    def _credential_now(self) -> str:
        value, read_again_at = self._credential
        assert self.config.auth is not None, "the caller has looked"
        if time.monotonic() >= read_again_at:
            try:
                value = self.config.auth.value()
            except InvalidSetting as error:
                raise NotLanded(f"{self.config.name}: {error.message}", retryable=True) from error
            self._credential = (value, time.monotonic() + CREDENTIAL_CACHE_SECONDS)
        return value

    def _timeout(self, seconds: float | None) -> aiohttp.ClientTimeout:
        """A step's own timeout is for the whole call, thinking time of the server included."""
        config = self.config
        return aiohttp.ClientTimeout(
            total=seconds or config.total_seconds,
            sock_connect=config.connect_seconds,
            sock_read=max(config.read_seconds, seconds or 0.0),
        )

    # --- what comes back ----------------------------------------------------------------------

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        """The whole body, decompressed, never more than the configured size in memory."""
        largest = self.config.max_response_bytes
        announced = answer.content_length
        if announced is not None and announced > largest:
            raise _TooLarge
        if announced is not None and "Content-Encoding" not in answer.headers:
            return await answer.read()
        parts = bytearray()
        async for part in answer.content.iter_any():
            parts += part
            if len(parts) > largest:
                raise _TooLarge
        return bytes(parts)

    def _outcome(self, error: Exception, stage: _Stage, begun: float) -> NotLanded | InDoubt:
        name = self.config.name
        why = self._why(error, time.monotonic() - begun)
        if stage.connected:
            return InDoubt(f"{name}: {why} after the request may have left")
        return NotLanded(f"{name}: {why} before the request could leave", retryable=True)

    def _why(self, error: Exception, seconds: float) -> str:
        """What happened, without the URL: queries may hold what is nobody's business."""
        match error:
            case _TooLarge():
                return f"the answer is larger than {self.config.max_response_bytes} bytes"
            case TimeoutError():
                return f"no answer within {seconds:.1f} s"
            case aiohttp.ClientConnectorError():
                return f"no connection to {error.host}:{error.port} ({error.os_error})"
            case aiohttp.ClientResponseError():
                return f"an answer that is not HTTP ({error.message})"
            case _Lost() | aiohttp.ClientPayloadError():
                return f"the connection was lost ({error})"
            case _:
                return f"{type(error).__name__}: {error}"

    def _refused(self, error: Exception, stage: _Stage) -> NotLanded | InDoubt:
        """A request that cannot be sent as it is: a forbidden address, a line break in a header."""
        reason = f"{self.config.name}: {error}"
        return InDoubt(reason) if stage.connected else NotLanded(reason, settles_doubt=False)


class _Lost(Exception):
    """The connection ended while the request was on it."""


class _TooLarge(Exception):
    """The answer's body exceeds the limit."""


class _HeldUp(Exception):
    """The request may not leave any more."""


@dataclass(slots=True)
class _Stage:
    """How far a request has come."""

    may_leave: Callable[[], bool]
    connected: bool = False


_stage: ContextVar[_Stage] = ContextVar("stage")


class _Connector(aiohttp.TCPConnector):
    """Asks whether a request may still leave, and notes that it has got its connection."""

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        stage = _stage.get()
        if not stage.may_leave():
            connection.release()
            raise _HeldUp
        stage.connected = True
        return connection


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hide a lost connection from aiohttp, which would send PUT and DELETE again."""
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Lost(type(error).__name__) from error


def _lower(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """Headers with lower-case names; repeated ones joined, as HTTP allows."""
    headers: dict[str, str] = {}
    for name, value in answer.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers
