"""A request that can be sent, and what an answer to it means. No input or output here."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from orchestrator import errors
from orchestrator.core.retry import RetryPolicy
from orchestrator.errors import OrchestratorError, Problem

T = TypeVar("T")

POLICY = RetryPolicy(
    max_attempts=6, first_delay_seconds=0.2, max_delay_seconds=10.0, max_elapsed_seconds=60.0
)
AWAY = frozenset({502, 503, 504})
TOO_MUCH = 429
_UNKNOWN_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(Generic[T]):
    """One operation with its values. `read` makes the answer's value of a response."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True  # sent twice it does no more than sent once
    waits_seconds: float = 0.0  # the server takes so long on purpose

    def content(self) -> tuple[bytes | None, dict[str, str]]:
        """Body and headers as they are sent."""
        if self.body is None:
            return None, dict(self.headers)
        if isinstance(self.body, bytes):
            return self.body, dict(self.headers)
        made = httpx.Request(self.method, "http://x", json=self.body)
        return made.content, {"content-type": "application/json", **self.headers}


def only(shape: Any) -> Callable[[httpx.Response], Any]:
    """Reads a body of this shape."""
    reader: TypeAdapter[Any] = TypeAdapter(shape)

    def read(response: httpx.Response) -> Any:
        try:
            return reader.validate_json(response.content)
        except ValidationError as error:
            why = f"its answer is not as documented: {error.errors()[0]['msg']}"
            raise errors.Unavailable("orchestrator", _place(response), why) from error

    return read


def error_of(response: httpx.Response) -> OrchestratorError | None:
    """What a problem document says, as the error that a call in this process would raise."""
    status = response.status_code
    if status < 400:
        return None
    said, problems = _problem(response)
    if status == TOO_MUCH:
        seconds = retry_after(response) or _UNKNOWN_SECONDS
        return errors.Overloaded(said, problems=problems, retry_after_seconds=seconds)
    if status >= 500:
        return errors.Unavailable("orchestrator", _place(response), f"{status} {said}")
    return _REFUSED.get(status, errors.InvalidInput)(said, problems=problems)


_REFUSED: Mapping[int, type[errors.RefusedError]] = {
    401: errors.NotAuthenticated, 403: errors.NotAllowed, 404: errors.NotFound,
    409: errors.Conflict, 412: errors.Conflict,
}  # fmt: skip


def _problem(response: httpx.Response) -> tuple[str, list[Problem]]:
    try:
        document = response.json()
        problems = [
            Problem(place=each["place"], found=each["found"], wanted=each["wanted"])
            for each in document.get("problems", [])
        ]
        return str(document["detail"]), problems
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.reason_phrase or str(response.status_code), []  # a proxy's own words


def _place(response: httpx.Response) -> str:
    url = response.request.url
    return f"{url.scheme}://{url.netloc.decode()}"


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks for; by its own clock where it gives a date."""
    given = response.headers.get("retry-after", "")
    if given.isdigit():
        return float(given)
    try:
        until = parsedate_to_datetime(given)
        now = parsedate_to_datetime(response.headers["date"])
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError, KeyError):
        return None


@dataclass(slots=True)
class Repeating:
    """Whether, and after how long, a request is sent again."""

    request: Request[Any]
    policy: RetryPolicy
    began: float
    chance: random.Random
    attempts: int = 0

    def after(self, now: float, *, response: httpx.Response) -> float | None:
        """Seconds to wait after this answer; None: it is the last."""
        status = response.status_code
        again = status == TOO_MUCH or (status in AWAY and self.request.repeatable)
        return self._delay(now, retry_after(response)) if again else None

    def after_failure(self, now: float, error: httpx.TransportError) -> float | None:
        """Seconds to wait when no answer came. What never left may always be sent again."""
        never_left = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
        return self._delay(now, None) if never_left or self.request.repeatable else None

    def _delay(self, now: float, asked: float | None) -> float | None:
        self.attempts += 1
        return self.policy.next_delay(
            attempts=self.attempts, elapsed_seconds=now - self.began,
            jitter=self.chance.random(), retry_after_seconds=asked,
        )  # fmt: skip
