"""What a request carries so that its API knows who calls, and how that is kept up to date.

A `Source` has the credential of one configuration entry. While it is good, asking costs a look at
the clock. When it is due it is renewed in the background and the old one does until then; when
there is none, whoever wants it waits. Either way one renewal goes on at a time in this process.

    none ──get──► renewing ──► good ──renew_at──► good and renewing ──► good
                     ▲                                  │ fails: the old one, try again later
                     └──── over, or refused by its API ─┘

Those that somebody gave us (`StaticSource`) are read again every half minute, and at once when the
API refuses them. Those that are fetched are in `tokens.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_plus

import structlog

from orchestrator.core.exchange import FrozenRequest
from orchestrator.engine.auth import Place, Static
from orchestrator.errors import InvalidSetting, NoCredential

log = structlog.get_logger(__name__)

READ_AGAIN_SECONDS = 30.0
FAILED_SECONDS = 1.0  # nobody tries again before, however many want it
FAILED_FOR_GOOD_SECONDS = 10.0  # the same when only another configuration would help

Header = tuple[str, str]

_HEADER, _QUERY = Place.HEADER, Place.QUERY  # an enum's attributes are slow to look up


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Credential:
    """What requests carry, and since when. Two are never equal; their versions may be."""

    name: str  # of its configuration entry, for people
    place: Place
    key: str  # of the header, parameter or cookie
    text: str = field(repr=False)
    version: str = field(repr=False)  # another text, another version

    def dress(self, request: FrozenRequest) -> tuple[str, tuple[Header, ...]]:
        """Target and headers of a request that carries it, instead of what it has of that name."""
        if self.place is _HEADER:
            key = self.key.lower()
            others = [item for item in request.headers if item[0].lower() != key]
            return request.target, (*others, (self.key, self.text))
        if self.place is _QUERY:
            return self._with_parameter(request.target), request.headers
        return request.target, self._with_cookie(request.headers)

    def _with_parameter(self, target: str) -> str:
        path, _, query = target.partition("#")[0].partition("?")
        parts = [part for part in query.split("&") if part and _name_of(part) != self.key]
        own = f"{quote(self.key, safe='')}={quote(self.text, safe='')}"
        return f"{path}?{'&'.join([*parts, own])}"

    def _with_cookie(self, headers: tuple[Header, ...]) -> tuple[Header, ...]:
        cookies = [value for name, value in headers if name.lower() == "cookie"]
        others = [item for item in headers if item[0].lower() != "cookie"]
        return (*others, ("Cookie", "; ".join([*cookies, f"{self.key}={self.text}"])))


def _name_of(part: str) -> str:
    return unquote_plus(part.partition("=")[0])


class Source(ABC):
    """The credential of one configuration entry. Used by one event loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._current: Credential | None = None
        self._renew_at = 0.0  # time.monotonic(), like all of these
        self._good_until = 0.0
        self._refused = ""  # version that the API does not take any more
        self._worked = ""  # version that it has taken
        self._begun_at = float("-inf")  # of the last renewal
        self._renewing: asyncio.Task[None] | None = None
        self._failure: tuple[NoCredential, float] | None = (
            None  # and until when it is not tried again
        )

    def now(self) -> Credential | None:
        """The credential if it is at hand; without I/O."""
        now = time.monotonic()
        if now < self._renew_at:
            return self._current
        if now >= self._good_until or self._current is None:
            return None
        if self._failing(now) is None:
            self._renewal()
        return self._current

    def ready(self) -> bool:
        """Whether `get` would not wait."""
        return self.now() is not None or self._failing(time.monotonic()) is not None

    async def get(self) -> Credential:
        """The credential. Raises NoCredential when it cannot be had (retryable: now)."""
        found = self.now()
        if found is None:
            await self._renewed()
            found = self._current  # as new as can be had, however short its life
        assert found is not None, "a renewal finds one, or raises"
        return found

    async def instead_of(self, refused: Credential) -> Credential:
        """Another one than the API has just refused. Raises NoCredential when there is none."""
        refused_at = time.monotonic()
        while self._current is None or self._current.version == refused.version:
            looked_since = self._begun_at >= refused_at and self._renewing is None
            if looked_since or not self._may_ask_again(refused_at):
                raise self.refusal()
            self._refused = refused.version
            self._renew_at = self._good_until = 0.0
            await self._renewed()
        return self._current

    def worked(self, credential: Credential) -> None:
        """The API has taken it. If it is refused later, it has ended."""
        self._worked = credential.version

    def refusal(self) -> NoCredential:
        """What an API's refusal of the newest credential means for a run."""
        why = f"credential {self.name} was refused (401 Unauthorized)"
        return NoCredential(why, retryable=False)

    async def aclose(self) -> None:
        """End a renewal under way."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    # --- renewing ---------------------------------------------------------------------------------

    @abstractmethod
    async def _renew(self) -> None:
        """Find the credential as it is now and `_have` it. Raises NoCredential, InvalidSetting."""

    def _may_ask_again(self, now: float) -> bool:
        """Whether a refusal is reason to look for another one."""
        return True

    def _have(self, credential: Credential, *, renew_at: float, good_until: float) -> None:
        self._current = credential
        self._renew_at, self._good_until = min(renew_at, good_until), good_until

    async def _renewed(self) -> None:
        """Wait for a renewal; it goes on for the others when this waiter is cancelled."""
        failure = self._failing(time.monotonic())
        if failure is not None:
            raise NoCredential(
                failure.reason, retryable=failure.retryable,
                retry_after_seconds=failure.retry_after_seconds,
            )  # fmt: skip
        await asyncio.shield(self._renewal())

    def _renewal(self) -> asyncio.Task[None]:
        if self._renewing is None:
            self._begun_at = time.monotonic()
            # It is no run's own: its log lines name none.
            work, nobody = self._renew_and_remember(), contextvars.Context()
            self._renewing = asyncio.create_task(work, context=nobody)
            self._renewing.add_done_callback(_seen)
        return self._renewing

    async def _renew_and_remember(self) -> None:
        try:
            await self._renew()
            self._failure = None
        except NoCredential as error:
            self._fail(error)
            raise
        except InvalidSetting as error:
            failure = NoCredential(f"{self.name}: {error.message}", retryable=True)
            self._fail(failure)
            raise failure from error
        except Exception as error:
            log.exception("credential.broken", entry=self.name)
            failure = NoCredential(f"{self.name}: {type(error).__name__}", retryable=True)
            self._fail(failure)
            raise failure from error  # nothing has left without a credential
        finally:
            self._renewing = None

    def _fail(self, failure: NoCredential) -> None:
        seconds = FAILED_SECONDS if failure.retryable else FAILED_FOR_GOOD_SECONDS
        seconds = max(seconds, min(failure.retry_after_seconds or 0.0, 60.0))
        self._failure = (failure, time.monotonic() + seconds)
        log.warning("credential.not_renewed", entry=self.name, why=failure.reason)

    def _failing(self, now: float) -> NoCredential | None:
        """The last failure, as long as it is too early for another try."""
        if self._failure is None or now >= self._failure[1]:
            return None
        return self._failure[0]


def _seen(task: asyncio.Task[None]) -> None:
    """A renewal in the background has nobody who asks how it ended; it is in the log."""
    if not task.cancelled():
        task.exception()


class StaticSource(Source):
    """A credential that somebody gave us, read from where it is kept."""

    def __init__(self, name: str, form: Static) -> None:
        super().__init__(name)
        self._form = form

    async def _renew(self) -> None:
        text = await asyncio.to_thread(self._form.value)  # a command may take its time
        if self._form.place is Place.COOKIE and not {*'";, \\'}.isdisjoint(text):
            raise InvalidSetting(f"credential {self._form.secret.name} cannot be sent in a cookie")
        credential = Credential(
            name=self.name, place=self._form.place, key=self._form.name, text=text, version=text
        )
        renew_at = time.monotonic() + READ_AGAIN_SECONDS
        self._have(credential, renew_at=renew_at, good_until=float("inf"))
