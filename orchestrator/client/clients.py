"""Send requests, again where that is harmless: a `Client` that waits, an `AsyncClient`.

Repeated are requests that got no answer, or 429, 502, 503, 504; after `Retry-After` where it says
so, else after exponential backoff with full jitter. A request that may do something twice (a
decision) is repeated only when it certainly did nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import httpx_sse

from orchestrator.api import shapes
from orchestrator.client import ask, lines
from orchestrator.client.exporting import Exported, ExportedAsync, records, records_async
from orchestrator.client.requests import POLICY, Repeating, Request, error_of
from orchestrator.core.retry import RetryPolicy
from orchestrator.core.states import SETTLED
from orchestrator.errors import OrchestratorError, Unavailable

T = TypeVar("T")
SECONDS = 30.0
"""Until an answer has to begin, beyond what it takes on purpose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened to a run, or (`run`) that it has settled."""

    seq: int
    audit: shapes.AuditShape | None = None
    run: shapes.RunDetail | None = None


class _Base:
    def __init__(self, url: str, key: str | None, policy: RetryPolicy) -> None:
        self._url, self._policy = url.rstrip("/"), policy
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._chance = random.Random()  # noqa: S311 - spreads repetitions

    def _options(self) -> dict[str, Any]:
        return {"base_url": self._url, "headers": self._headers, "timeout": SECONDS}

    def _arguments(self, request: Request[Any]) -> dict[str, Any]:
        content, headers = request.content()
        return {
            "method": request.method, "url": request.path, "params": request.params,
            "content": content, "headers": headers,
            "timeout": httpx.Timeout(SECONDS + request.waits_seconds),
        }  # fmt: skip

    def _repeating(self, request: Request[Any]) -> Repeating:
        return Repeating(request, self._policy, time.monotonic(), self._chance)

    def _unreachable(self, error: Exception) -> Unavailable:
        return Unavailable("orchestrator", self._url, str(error) or type(error).__name__)

    def _stream(self, run_id: str, after: int) -> tuple[str, str, dict[str, Any]]:
        path = f"/v1/runs/{run_id}/events"
        return "GET", path, {"headers": {"Last-Event-ID": str(after)} if after else {}}


class Client(_Base):
    """Waits for each answer. `key`: a key or token; none on a loopback address without keys."""

    def __init__(
        self, url: str, *, key: str | None = None, policy: RetryPolicy = POLICY,
        transport: httpx.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        super().__init__(url, key, policy)
        self._http = httpx.Client(**self._options(), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __call__(self, request: Request[T]) -> T:
        """The answer. Raises an error of `orchestrator.errors`."""
        repeating = self._repeating(request)
        while True:
            try:
                response = self._http.request(**self._arguments(request))
            except httpx.TransportError as error:
                delay = repeating.after_failure(time.monotonic(), error)
                if delay is None:
                    raise self._unreachable(error) from error
            else:
                delay = repeating.after(time.monotonic(), response=response)
                if delay is None:
                    return _value(request, response)
            time.sleep(delay)

    def pages(self, request: Request[shapes.Page[T]]) -> Iterator[T]:
        """All things of a list, page after page."""
        while True:
            page = self(request)
            yield from page.items
            if page.next is None:
                return
            request = ask.after(request, page.next)

    def settled(self, run_id: str, *, seconds: float | None = None) -> shapes.RunDetail:
        """The run once it has settled, or as it is after these seconds."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = ask.LONGEST_WAIT if until is None else until - time.monotonic()
            run = self(ask.run(run_id, wait_seconds=min(ask.LONGEST_WAIT, max(0.0, left))))
            if run.status in SETTLED or left <= 0:
                return run

    def events(self, run_id: str, *, after: int = 0) -> Iterator[Event]:
        """Its audit while it happens, until it has settled; without a gap if the stream breaks."""
        repeating = self._repeating(ask.run(run_id))
        while True:
            try:
                for event in self._events(run_id, after):
                    after, repeating = event.seq, self._repeating(ask.run(run_id))
                    yield event
                    if event.run is not None:
                        return
                broken: Exception = EOFError("the stream ended early")
            except httpx.TransportError as error:
                broken = error
            delay = repeating.after_failure(time.monotonic(), httpx.ReadError(str(broken)))
            if delay is None:
                raise self._unreachable(broken) from broken
            time.sleep(delay)

    def _events(self, run_id: str, after: int) -> Iterator[Event]:
        method, path, options = self._stream(run_id, after)
        with self._http.stream(method, path, **options) as response:
            if response.status_code != httpx.codes.OK:
                response.read()
                _raise(response)
            for each in httpx_sse.EventSource(response).iter_sse():
                if each.data:  # else it is a sign of life
                    yield _event(each)

    @contextmanager
    def export(self, request: Request[int]) -> Iterator[Exported]:
        """What `ask.export` asks for, while it arrives. Sent again until an answer begins."""
        repeating = self._repeating(request)
        with ExitStack() as stack:
            while True:
                try:
                    stream = self._http.stream(**self._arguments(request))
                    response = stack.enter_context(stream)
                    if response.is_success:
                        break
                    response.read()
                    delay = repeating.after(time.monotonic(), response=response)
                    if delay is None:
                        raise _refusal(response)
                except httpx.TransportError as error:
                    delay = repeating.after_failure(time.monotonic(), error)
                    if delay is None:
                        raise self._unreachable(error) from error
                time.sleep(delay)
            yield Exported(upto=request.read(response), records=records(response))

    def submit_many(self, wishes: Iterable[shapes.SubmitLine]) -> Iterator[lines.Answer]:
        """Start many runs, a thousand with each request; an answer for each, in order."""
        numbered = iter(wishes)
        first = 0
        while batch := list(itertools.islice(numbered, lines.BATCH)):
            yield from self(lines.request(batch, first))
            first += len(batch)


class AsyncClient(_Base):
    """The same, to be awaited."""

    def __init__(
        self, url: str, *, key: str | None = None, policy: RetryPolicy = POLICY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        super().__init__(url, key, policy)
        self._http = httpx.AsyncClient(**self._options(), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __call__(self, request: Request[T]) -> T:
        """The answer. Raises an error of `orchestrator.errors`."""
        repeating = self._repeating(request)
        while True:
            try:
                response = await self._http.request(**self._arguments(request))
            except httpx.TransportError as error:
                delay = repeating.after_failure(time.monotonic(), error)
                if delay is None:
                    raise self._unreachable(error) from error
            else:
                delay = repeating.after(time.monotonic(), response=response)
                if delay is None:
                    return _value(request, response)
            await asyncio.sleep(delay)

    async def pages(self, request: Request[shapes.Page[T]]) -> AsyncIterator[T]:
        """All things of a list, page after page."""
        while True:
            page = await self(request)
            for item in page.items:
                yield item
            if page.next is None:
                return
            request = ask.after(request, page.next)

    async def settled(self, run_id: str, *, seconds: float | None = None) -> shapes.RunDetail:
        """The run once it has settled, or as it is after these seconds."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = ask.LONGEST_WAIT if until is None else until - time.monotonic()
            run = await self(ask.run(run_id, wait_seconds=min(ask.LONGEST_WAIT, max(0.0, left))))
            if run.status in SETTLED or left <= 0:
                return run

    async def events(self, run_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Its audit while it happens, until it has settled; without a gap if the stream breaks."""
        repeating = self._repeating(ask.run(run_id))
        while True:
            try:
                async for event in self._events(run_id, after):
                    after, repeating = event.seq, self._repeating(ask.run(run_id))
                    yield event
                    if event.run is not None:
                        return
                broken: Exception = EOFError("the stream ended early")
            except httpx.TransportError as error:
                broken = error
            delay = repeating.after_failure(time.monotonic(), httpx.ReadError(str(broken)))
            if delay is None:
                raise self._unreachable(broken) from broken
            await asyncio.sleep(delay)

    async def _events(self, run_id: str, after: int) -> AsyncIterator[Event]:
        method, path, options = self._stream(run_id, after)
        async with self._http.stream(method, path, **options) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                _raise(response)
            async for each in httpx_sse.EventSource(response).aiter_sse():
                if each.data:  # else it is a sign of life
                    yield _event(each)

    @asynccontextmanager
    async def export(self, request: Request[int]) -> AsyncIterator[ExportedAsync]:
        """What `ask.export` asks for, while it arrives. Sent again until an answer begins."""
        repeating = self._repeating(request)
        async with AsyncExitStack() as stack:
            while True:
                try:
                    stream = self._http.stream(**self._arguments(request))
                    response = await stack.enter_async_context(stream)
                    if response.is_success:
                        break
                    await response.aread()
                    delay = repeating.after(time.monotonic(), response=response)
                    if delay is None:
                        raise _refusal(response)
                except httpx.TransportError as error:
                    delay = repeating.after_failure(time.monotonic(), error)
                    if delay is None:
                        raise self._unreachable(error) from error
                await asyncio.sleep(delay)
            yield ExportedAsync(upto=request.read(response), records=records_async(response))

    async def submit_many(self, wishes: Iterable[shapes.SubmitLine]) -> AsyncIterator[lines.Answer]:
        """Start many runs, a thousand with each request; an answer for each, in order."""
        numbered = iter(wishes)
        first = 0
        while batch := list(itertools.islice(numbered, lines.BATCH)):
            for answer in await self(lines.request(batch, first)):
                yield answer
            first += len(batch)


def _value(request: Request[T], response: httpx.Response) -> T:
    _raise(response)
    return request.read(response)


def _refusal(response: httpx.Response) -> OrchestratorError:
    """Of an answer that is not what was asked for."""
    place = str(response.request.url)
    return error_of(response) or Unavailable("orchestrator", place, f"{response.status_code}")


def _raise(response: httpx.Response) -> None:
    error = error_of(response)
    if error is not None:
        raise error


def _event(each: httpx_sse.ServerSentEvent) -> Event:
    seq = int(each.id)
    if each.event == "settled":
        return Event(seq=seq, run=shapes.RunDetail.model_validate_json(each.data))
    return Event(seq=seq, audit=shapes.AuditShape.model_validate_json(each.data))
