"""The head of an HTTP/1.1 request as bytes: its request line and headers, up to the empty line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Header = tuple[str, str]

BODILESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""An empty body of theirs has no length either."""
_FRAMING = frozenset({"content-length", "transfer-encoding", "te", "trailer", "expect", "upgrade"})
_HOP = frozenset({"connection", "keep-alive", "proxy-connection"})
_MOST_SHAPES = 1000
MOST_HEAD_BYTES = 64 * 1024
"""More than any server takes."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST_LINE = re.compile(rf"{_TOKEN.pattern} /[!-~]* HTTP/1\.1")


class HeadWriter:
    """Writes the heads of requests to one address.

    What a request does not set itself is the same for all requests with the same header names, and
    there are as many of these as calls in published workflows; so it is put together once.
    """

    def __init__(self, *, prefix: str, defaults: Iterable[Header]) -> None:
        self._prefix = prefix  # of every path
        self._defaults = tuple(defaults)
        self._rest: dict[tuple[str, ...], str] = {}  # by the names that a request sets

    def write(self, method: str, target: str, headers: Sequence[Header], length: int) -> bytes:
        """The head of a request with a body of `length` bytes.

        Raises ValueError for a header that no request may set, for what would end a line or the
        request line's target early, and for a head that is too long.
        """
        names = tuple([name for name, _ in headers])
        rest = self._rest.get(names)
        if rest is None:
            rest = self._rest_for(names)
        if "#" in target:
            target = target.partition("#")[0]  # a fragment is none of the server's business
        line = f"{method} {self._prefix}{target} HTTP/1.1"
        if not _REQUEST_LINE.fullmatch(line):
            raise ValueError(
                "the request line holds a line break, a space or a character beyond ASCII; "
                "wanted a method and a percent-encoded path from / on"
            )
        lines = [line]
        lines += [f"{name}: {value}" for name, value in headers]
        if length or method not in BODILESS_METHODS:
            lines.append(f"Content-Length: {length}")
        text = "\r\n".join(lines)
        breaks = len(lines) - 1
        if text.count("\r") != breaks or text.count("\n") != breaks or "\0" in text:
            raise ValueError(f"{_broken(headers)} holds a line break or NUL")
        if len(text) > MOST_HEAD_BYTES:
            raise ValueError(f"its head has {len(text)} bytes; wanted at most {MOST_HEAD_BYTES}")
        try:
            return f"{text}\r\n{rest}\r\n".encode()
        except UnicodeEncodeError:
            raise ValueError("a header holds half of a surrogate pair, which is no text") from None

    def _rest_for(self, names: tuple[str, ...]) -> str:
        taken = {name.lower() for name in names}
        if forbidden := taken & _FRAMING:
            raise ValueError(f"header {min(forbidden)!r} cannot be set: it follows from the body")
        if forbidden := taken & _HOP:
            raise ValueError(f"header {min(forbidden)!r} cannot be set: the connection is ours")
        if "host" in taken:
            raise ValueError("header 'host' cannot be set: it follows from the base URL")
        wrong = next((name for name in names if not _TOKEN.fullmatch(name)), None)
        if wrong is not None:
            raise ValueError(f"{ascii(wrong)[:60]} is not a header's name")
        rest = "".join(
            f"{name}: {value}\r\n" for name, value in self._defaults if name.lower() not in taken
        )
        if len(self._rest) >= _MOST_SHAPES:
            self._rest.clear()
        self._rest[names] = rest
        return rest


def _broken(headers: Iterable[Header]) -> str:
    """Which header has a line break in it."""
    found = (name for name, value in headers if not {*"\r\n\0"}.isdisjoint(value))
    return f"header {next(found, '')!r}"
