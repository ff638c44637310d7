"""Sends requests over HTTP and tells what certainly did not leave from what may have.

A request has not left while there is no connection for it: not resolved, refused, no TLS, no free
connection in time. From the moment it has one it may have left, whatever goes wrong; also when a
kept-alive connection turns out to be closed, since the server may have read it before closing.

Of aiohttp this uses the connector (names, TLS, kept connections) and the protocol that reads
answers. Its `ClientSession` would cost twice as much as both together, and repeats idempotent
methods by itself on a connection that was lost, which belongs to the retry policy and the attempts
table.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, HttpVersion10, HttpVersion11, RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from orchestrator.core.exchange import FrozenRequest, Response, said_of_renewals
from orchestrator.core.tracing import TraceHeaders
from orchestrator.engine.api_book import ApiBook
from orchestrator.engine.api_credentials import ApiCredentials, Wanted, Worn
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.base_url import checked_base_url, shown_base_url
from orchestrator.engine.egress import EgressRefused
from orchestrator.engine.http_body import (
    ACCEPT_ENCODING,
    BadAnswer,
    check_framing,
    read_body,
    without_its_bytes,
)
from orchestrator.engine.http_connections import Connector, Protocol, is_stale
from orchestrator.engine.http_head import Header, HeadWriter
from orchestrator.engine.tls import TlsContext
from orchestrator.engine.tokens import TokenDesk
from orchestrator.errors import HeldUp, InDoubt, InvalidSetting, NoCredential, NotLanded, NotSent
from orchestrator.ports import AttemptContext

LARGEST_TOKEN_ANSWER = 256 * 1024
MOST_RENEWALS = 2
"""For one call. A token that another worker shared may be over as well; one fetched now is not."""
USER_AGENT = "saga-orchestrator"
_SWITCHING_PROTOCOLS = 101
_OF_TRACES = frozenset({"traceparent", "tracestate"})
_UNAUTHORIZED = 401
_MOST_INTERIM_ANSWERS = 20
_VERSIONS = frozenset({HttpVersion10, HttpVersion11})

BaseUrl = Callable[[str], str | None]


class HttpTransport:
    """Implements Transport and Readiness for APIs over HTTP.

    One for each process, used by one event loop.
    `base_url` answers for APIs whose configuration does not say where they are. Without `tokens`
    those of token endpoints are not shared with other workers.
    """

    def __init__(
        self,
        apis: Mapping[str, ApiConfig] | ApiBook,
        *,
        base_url: BaseUrl = lambda _: None,
        tokens: TokenDesk | None = None,
    ) -> None:
        self._book = ApiBook.of(apis)
        self._book.subscribe(self._changed)
        self._base_url = base_url
        self._tokens = tokens or TokenDesk()
        self._clients: dict[str, _Client] = {}
        self._retired: set[_Client] = set()  # with calls in flight under an older configuration
        self._closing: set[asyncio.Task[None]] = set()

    async def send(
        self,
        api: str,
        request: FrozenRequest,
        context: AttemptContext,
        *,
        timeout_seconds: float | None,
    ) -> Response:
        """See Transport."""
        client = self._clients.get(api) or self._new_client(api)
        client.in_flight += 1
        try:
            return await self._sent(client, request, context, timeout_seconds)
        finally:
            client.in_flight -= 1
            if not client.in_flight and client in self._retired:
                self._retired.discard(client)
                await client.aclose()

    async def _sent(
        self,
        client: _Client,
        request: FrozenRequest,
        context: AttemptContext,
        timeout_seconds: float | None,
    ) -> Response:
        api = client.config.name
        base = client.config.base_url or self._base_url(api)
        if base is None:
            raise NotSent(f"{api}: no base URL is known in this worker", retryable=True)
        trail = context.trail
        trail.base, may_leave = base, trail.counting(context.may_leave)
        if client.config.traceparent and context.trace_headers is not None:
            request = _within_trace(request, context.trace_headers())
        if client.credentials is None:
            return await client.send(base, request, None, timeout_seconds, may_leave)
        source = client.credentials.of(context.tenant, request.security)
        if source is None:
            return await client.send(base, request, None, timeout_seconds, may_leave)
        trail.credential = source.name
        ends_at = time.monotonic() + (timeout_seconds or client.config.total_seconds)
        credential = source.now()
        if credential is None:
            credential = await _in_time(source.get(), source, ends_at)
            timeout_seconds = _left(ends_at)
        response = await client.send(base, request, credential, timeout_seconds, may_leave)
        renewals, may_go_on = 0, trail.counting(context.may_go_on)
        try:
            while response.status == _UNAUTHORIZED:
                if renewals == MOST_RENEWALS:
                    raise source.refusal()
                # It says that nothing was done, so repeating it is safe whatever the request does.
                credential = await _in_time(source.instead_of(credential), source, ends_at)
                seconds, renewals = _left(ends_at), renewals + 1
                again = await client.send(base, request, credential, seconds, may_go_on)
                response = replace(again, renewals=renewals)
        except (NotLanded, InDoubt) as error:
            error.reason = said_of_renewals(error.reason, renewals)
            raise
        source.worked(credential)
        return response

    def ready(self, api: str, tenant: str, request: FrozenRequest) -> bool:
        """See Readiness."""
        client = self._clients.get(api)
        if client is None:
            return False  # the first call; what may be wrong with its settings is not said here
        if client.credentials is None:
            return True
        return client.credentials.ready(tenant, request.security)

    async def until_ready(self, api: str, tenant: str, request: FrozenRequest) -> None:
        """See Readiness. Not longer than a call to this API may take."""
        with contextlib.suppress(NoCredential, InvalidSetting):  # the call itself will say it
            client = self._clients.get(api) or self._new_client(api)
            if client.credentials is not None:
                source = client.credentials.of(tenant, request.security)
                ends_at = time.monotonic() + client.config.total_seconds
                if source is not None:
                    await _in_time(source.get(), source, ends_at)

    def _new_client(self, api: str) -> _Client:
        client = self._clients[api] = _Client(self._book.now(api), self._tokens)
        return client

    def _changed(self, api: str) -> None:
        """Use new connections where the old ones were made differently."""
        client, config = self._clients.get(api), self._book.now(api)
        if client is None or client.serves(config):
            return
        self._new_client(api)  # at once: tokens are fetched over its connections from now on
        if client.in_flight:
            self._retired.add(client)
            return
        closing = asyncio.ensure_future(client.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all connections. Calls in flight become in doubt."""
        await self._tokens.aclose()
        for client in [*self._clients.values(), *self._retired]:
            await client.aclose()
        await asyncio.gather(*self._closing)


async def _in_time(wanted: Awaitable[Worn], source: Wanted, ends_at: float) -> Worn:
    """A credential of this source, within the call's time. Raises NoCredential."""
    try:
        async with asyncio.timeout(_left(ends_at)):
            return await wanted
    except TimeoutError:
        why = f"credential {source.name}: not there in the time that the call may take"
        raise NoCredential(why, retryable=True) from None


def _within_trace(request: FrozenRequest, headers: TraceHeaders) -> FrozenRequest:
    """The request with these headers, unless its document gives it a trace; not a part of what is
    kept, since each attempt has a span of its own.
    """
    if any(name.lower() in _OF_TRACES for name, _ in request.headers):
        return request
    return replace(request, headers=(*request.headers, *headers))


def _left(ends_at: float) -> float:
    return max(ends_at - time.monotonic(), 0.001)


class _Client:
    """One API's connections and settings."""

    def __init__(self, config: ApiConfig, tokens: TokenDesk) -> None:
        self.config = config
        self.in_flight = 0
        self._tokens = tokens
        auth, tls = config.auth, config.tls
        self.credentials = ApiCredentials(config, auth, tokens, self._ask) if auth else None
        self._tls = TlsContext(tls) if tls else None
        self._known_route: _Route | None = None
        self._unused: list[tuple[_Route, Connection]] = []  # made for requests that came too late
        self._connector = Connector(config)
        self._connecting = aiohttp.ClientTimeout(sock_connect=config.connect_seconds)

    def serves(self, config: ApiConfig) -> bool:
        """Whether it would be the same with that configuration, but for what the gate does."""
        same = replace(
            config, rates=self.config.rates, concurrency=self.config.concurrency,
            headroom_seconds=self.config.headroom_seconds, weights=self.config.weights,
            held=self.config.held, health=self.config.health, breaker=self.config.breaker,
            retry_share=self.config.retry_share, retries_a_second=self.config.retries_a_second,
        )  # fmt: skip
        return same == self.config

    async def send(
        self,
        base: str,
        request: FrozenRequest,
        credential: Worn | None,
        timeout_seconds: float | None,
        may_leave: Callable[[], bool],
    ) -> Response:
        begun, stage = time.monotonic(), _Stage()
        try:
            route = self._route(base)
            text = self._text(route, request, credential)
            async with asyncio.timeout(timeout_seconds or self.config.total_seconds):
                connection = await self._connection(route, may_leave)
                stage.connected = True
                message, body = await self._exchange(connection, request, text, timeout_seconds)
        except (aiohttp.ClientError, HttpProcessingError, OSError, BadAnswer) as error:
            raise self._outcome(error, stage, begun) from error  # OSError: timeouts too
        except ValueError as error:  # after the above: errors of certificates are both
            raise self._refused(error, stage) from error
        return Response(
            status=message.code, headers=_lower(message.headers), body=body,
            seconds=time.monotonic() - begun,
        )  # fmt: skip

    async def _ask(
        self, base: str, request: FrozenRequest, may_leave: Callable[[], bool]
    ) -> Response:
        """Ask a token endpoint: this API's rules, and a connection that is not kept."""
        config = replace(
            self.config, name=f"token endpoint of {self.config.name}", auth=None, headers=(),
            keep_alive_seconds=0.0, max_response_bytes=LARGEST_TOKEN_ANSWER,
        )  # fmt: skip
        client = _Client(config, self._tokens)
        try:
            return await client.send(base, request, None, None, may_leave)
        finally:
            await client.aclose()

    async def aclose(self) -> None:
        if self.credentials is not None:
            await self.credentials.aclose()
        for _, connection in self._unused:
            connection.close()
        await self._connector.close()

    # --- what goes out ------------------------------------------------------------------------

    def _route(self, base: str) -> _Route:
        """The way to a base URL. Raises ValueError; NoCredential: no TLS files."""
        route = self._known_route
        trust = True if self._tls is None else self._tls.current()
        if route is None or route.base != base or route.trust is not trust:
            route = self._known_route = _Route.to(base, self.config.headers, trust)
        return route

    def _text(self, route: _Route, request: FrozenRequest, credential: Worn | None) -> bytes:
        """The request as it leaves. Raises ValueError."""
        target, headers = request.target, request.headers
        if credential is not None:
            target, headers = credential.dress(request)
        method = request.method.upper()
        return route.head.write(method, target, headers, len(request.body)) + request.body

    async def _connection(self, route: _Route, may_leave: Callable[[], bool]) -> Connection:
        """A connection on which the request may leave now. Raises HeldUp.

        A new one is kept for the next call, which may need as long to make one, and be too late.
        """
        while True:
            connection = self._made_in_vain(route)
            if connection is None:
                connection = await self._connector.connect(route.request, [], self._connecting)
            if is_stale(connection):
                connection.close()  # what it got while idle is no answer to a request of ours
                continue
            if may_leave():
                return connection
            if self.config.keep_alive_seconds:
                connection.release()
            else:
                self._unused.append((route, connection))
            raise HeldUp(self.config.name)

    def _made_in_vain(self, route: _Route) -> Connection | None:
        while self._unused:
            known, connection = self._unused.pop()
            if known is route:
                return connection
            connection.close()
        return None

    # --- what comes back ----------------------------------------------------------------------

    async def _exchange(
        self, connection: Connection, request: FrozenRequest, text: bytes, seconds: float | None
    ) -> tuple[RawResponseMessage, bytes]:
        """Send and read the whole answer; a connection on which that fails is closed."""
        try:
            protocol, transport = connection.protocol, connection.transport
            assert isinstance(protocol, Protocol), "it was handed out just now"
            assert transport is not None, "it was handed out just now"
            protocol.idle = False
            protocol.set_response_params(
                skip_payload=request.method == "HEAD", read_until_eof=True, auto_decompress=False,
                read_timeout=self._read_seconds(seconds),
            )  # fmt: skip
            transport.write(text)
            protocol.start_timeout()
            message, content = await _answer(protocol)
            body = await read_body(message, content, largest=self.config.max_response_bytes)
        except BaseException:
            connection.close()
            raise
        if _tells_of_a_body_it_has_not(message, content) or transport.get_write_buffer_size():
            # What may still come from there, or go there, must not meet our next call.
            connection.close()
        else:
            protocol.idle = True
            connection.release()
        return message, body

    def _read_seconds(self, seconds: float | None) -> float | None:
        """Between two parts of an answer; None: as long as the call may last altogether.

        A step's own timeout is for the whole call, thinking time of the server included.
        """
        longest = max(self.config.read_seconds, seconds or 0.0)
        return longest if longest < (seconds or self.config.total_seconds) else None

    def _outcome(self, error: Exception, stage: _Stage, begun: float) -> NotLanded | InDoubt:
        name = self.config.name
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        if isinstance(cause, EgressRefused):
            return self._refused(cause, stage)
        why = _why(error, stage, time.monotonic() - begun)
        if stage.connected:
            return InDoubt(f"{name}: {why}, after the request may have left")
        return NotLanded(f"{name}: {why}, before the request could leave", retryable=True)

    def _refused(self, error: Exception, stage: _Stage) -> NotLanded | InDoubt:
        """A request that cannot be sent as it is: a forbidden address, a line break in a header."""
        reason = f"{self.config.name}: {error}"
        return InDoubt(reason) if stage.connected else NotSent(reason, settles_doubt=False)


async def _answer(protocol: Protocol) -> tuple[RawResponseMessage, StreamReader]:
    """The head of the answer itself, after hints such as 103 Early Hints. Raises BadAnswer."""
    for _ in range(_MOST_INTERIM_ANSWERS + 1):
        message, content = await protocol.read()
        if message.version not in _VERSIONS:
            raise BadAnswer("an answer that is not HTTP/1.1 or HTTP/1.0")
        if message.code == _SWITCHING_PROTOCOLS:
            raise BadAnswer("a change of protocol that nobody asked for (101)")
        if message.code < 100:
            raise BadAnswer(f"an answer that is not HTTP (status {message.code:03})")
        if message.code >= 200:
            check_framing(message)
            return message, content
    raise BadAnswer(f"more than {_MOST_INTERIM_ANSWERS} answers of status 1xx and no other")


def _tells_of_a_body_it_has_not(message: RawResponseMessage, content: StreamReader) -> bool:
    """As answers to HEAD do, and 304."""
    if content is not EMPTY_PAYLOAD:
        return False
    return message.chunked or message.headers.get("Content-Length", "0") != "0"


@dataclass(slots=True)
class _Stage:
    """How far a request has come."""

    connected: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Route:
    """The way to one base URL."""

    base: str
    trust: ssl.SSLContext | bool  # True: the system's authorities
    request: ClientRequest  # never sent: it tells the connector where to connect to
    head: HeadWriter

    @staticmethod
    def to(base: str, headers: tuple[Header, ...], trust: ssl.SSLContext | bool) -> _Route:
        """With the headers that every request gets which does not set them. Raises ValueError."""
        try:
            url = checked_base_url(base)
        except ValueError as error:
            found = shown_base_url(base)
            raise ValueError(f"its base URL: found {found}; wanted {error}") from None
        own = CIMultiDict({"User-Agent": USER_AGENT, "Accept-Encoding": ACCEPT_ENCODING})
        own.update(headers)
        loop = asyncio.get_running_loop()
        whole = URL(url, encoded=True)
        request = ClientRequest("GET", whole, headers=own, loop=loop, ssl=trust)
        head = HeadWriter(prefix=urlsplit(url).path, defaults=request.headers.items())
        return _Route(base=base, trust=trust, request=request, head=head)


def _why(error: Exception, stage: _Stage, seconds: float) -> str:
    """What happened, without the URL: queries may hold what is nobody's business."""
    match error:
        case BadAnswer():
            return str(error)
        case TimeoutError():
            return f"no {'answer' if stage.connected else 'connection'} within {seconds:.1f} s"
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "not valid")
            return f"no trust in the certificate of {error.host}:{error.port} ({why})"
        case aiohttp.ClientConnectorError():
            return f"no connection to {error.host}:{error.port} ({error.os_error})"
        case HttpProcessingError():
            return f"an answer that is not HTTP ({without_its_bytes(error.message)})"
        case aiohttp.ClientPayloadError():
            return "the connection was lost before the answer was whole"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return f"the connection was lost ({type(error).__name__})"
        case _:
            return f"{type(error).__name__}: {error}"


def _lower(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """Headers with lower-case names; repeated ones joined, as HTTP allows."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found
