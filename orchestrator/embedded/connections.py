"""Connections of those who are slow on purpose, or too many: others get their share.

uvicorn waits for ever for the rest of a request, and for whoever does not read an answer. Here

    a head       has to be whole some seconds after its first byte, or after the connection
    a body       has to come at a pace, while we are ready to take it
    an answer    has to be read on, some seconds after it no longer fits into the buffers
    connections  are no more than a number: for a new one the oldest goes that has no request
                 under way, so that half a request never keeps a whole one out; where each has one,
                 the new one is told 503

Who upgrades to a web socket (the console) is not counted any more.
"""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Protocol
else:
    _Protocol = object  # either of uvicorn's, which have the same parts

OTHER_FILES = 200
"""That a face has open besides: database, broker, its own modules."""
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
    b"content-length: 0\r\n\r\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """With whom a face deals, and for how long."""

    connections: int = 2000  # at once, of this process
    head_seconds: float = 20.0
    body_seconds: float = 20.0  # of each so many seconds …
    body_bytes: int = 10_000  # … at least so much
    unread_seconds: float = 60.0  # an answer of which nothing more is taken


def bounded(
    patience: Patience, kind: type[asyncio.Protocol] = AutoHTTPProtocol
) -> type[asyncio.Protocol]:
    """The class that uvicorn takes as `http`. Files bound the connections as well as `patience`.

    `kind` is uvicorn's: the quick one where httptools is installed, or h11's.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = max(1, min(patience.connections, files - OTHER_FILES))
    own = {"patience": patience, "most": most, "idle": {}}
    return type("BoundedHttp", (_Bounded, kind), own)


class _Phase(Enum):
    """What a connection is waited for."""

    REST = auto()  # nothing: a request is worked on, or uvicorn's own time for idle ones runs
    HEAD = auto()
    BODY = auto()


class _Bounded(_Protocol):
    """One connection."""

    patience: Patience
    most: int
    idle: dict[_Bounded, None]  # of this server: nothing is under way on them; the oldest first

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._phase = _Phase.REST
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._taken = 0  # bytes of this phase

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(cast("asyncio.Transport", transport))
        if len(self.connections) > self.most and not self._makes_room():
            self._end(_FULL)
            return
        self._enter(_Phase.HEAD)
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._enter(_Phase.REST)
        self._forget_unread()
        self.idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self.transport.is_closing():
            return
        self._taken += len(data)
        super().data_received(data)
        phase = self._found()
        if phase is not self._phase:
            self._enter(phase)
        self._note()

    def on_response_complete(self) -> None:
        """See uvicorn."""
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        """See asyncio."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.patience.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """See asyncio."""
        super().resume_writing()
        self._forget_unread()

    # --- who waits for what -----------------------------------------------------------------------

    @property
    def _is_idle(self) -> bool:
        """No whole head of a request has come, or all that came are answered."""
        cycle: Any = self.cycle  # None before the first request, whatever its declared type says
        return cycle is None or bool(cycle.response_complete)

    def _note(self) -> None:
        """Whether it is idle. A head that comes bit by bit keeps its place among those that are."""
        if self._found() is _Phase.HEAD:
            self.idle.setdefault(self)
        else:
            self.idle.pop(self, None)

    def _found(self) -> _Phase:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return _Phase.REST  # it ends, or has become a web socket
        if self._is_idle:
            return _Phase.HEAD
        return _Phase.BODY if self.cycle.more_body else _Phase.REST

    def _enter(self, phase: _Phase) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._phase, self._timer, self._taken = phase, None, 0
        if phase is _Phase.HEAD:
            self._timer = self.loop.call_later(self.patience.head_seconds, self._look)
        elif phase is _Phase.BODY:
            self._timer = self.loop.call_later(self.patience.body_seconds, self._look)

    def _look(self) -> None:
        """The time of a phase is over."""
        phase = self._found()
        keeps_pace = self._taken >= self.patience.body_bytes or self.flow.read_paused
        if phase is _Phase.REST or (phase is _Phase.BODY and keeps_pace):
            self._enter(phase)
        else:
            self._end(_TOO_SLOW)

    def _makes_room(self) -> bool:
        """Whether one that has nothing under way was sent off."""
        oldest = next(iter(self.idle), None)
        if oldest is None:
            return False
        del self.idle[oldest]
        self.connections.discard(oldest)  # it is gone with the loop's next turn
        oldest.transport.abort()
        return True

    def _end(self, answer: bytes) -> None:
        """With an answer where none has begun."""
        self._enter(_Phase.REST)
        if self._is_idle or not self.cycle.response_started:
            self.transport.write(answer)
        self.transport.close()

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
