"""The head of an HTTP/1.1 request as bytes: its request line and headers, up to the empty line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Header = tuple[str, str]

BODILESS_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""An empty body of theirs has no length either."""
_FRAMING = frozenset({"content-length", "transfer-encoding", "expect", "upgrade"})
_MOST_SHAPES = 1000


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

        Raises ValueError for a header that no request may set, and for line breaks.
        """
        names = tuple([name for name, _ in headers])
        rest = self._rest.get(names)
        if rest is None:
            rest = self._rest_for(names)
        if "#" in target:
            target = target.partition("#")[0]  # a fragment is none of the server's business
        lines = [f"{method} {self._prefix}{target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers]
        if length or method not in BODILESS_METHODS:
            lines.append(f"Content-Length: {length}")
        text = "\r\n".join(lines)
        breaks = len(lines) - 1
        if text.count("\r") != breaks or text.count("\n") != breaks or "\0" in text:
            raise ValueError(f"{_broken(headers)} holds a line break")
        return f"{text}\r\n{rest}\r\n".encode()

    def _rest_for(self, names: tuple[str, ...]) -> str:
        taken = {name.lower() for name in names}
        if forbidden := taken & _FRAMING:
            raise ValueError(f"header {min(forbidden)!r} cannot be set: it follows from the body")
        rest = "".join(
            f"{name}: {value}\r\n" for name, value in self._defaults if name.lower() not in taken
        )
        if len(self._rest) >= _MOST_SHAPES:
            self._rest.clear()
        self._rest[names] = rest
        return rest


def _broken(headers: Iterable[Header]) -> str:
    """Which part of a head has a line break in it."""
    found = (name for name, value in headers if not {*"\r\n\0"}.isdisjoint(name + value))
    name = next(found, None)
    return "the request line" if name is None else f"header {name!r}"
