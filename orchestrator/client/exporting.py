"""An export of the audit as it arrives: records, and the checkpoint that it goes up to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from orchestrator.errors import Unavailable

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """`upto` is the `since` of the next time, once all records are through.

    Reading them raises Unavailable where the answer breaks off: then it is to be asked for again.
    """

    upto: int
    records: Iterator[Record]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedAsync:
    """The same, to be read with `async for`."""

    upto: int
    records: AsyncIterator[Record]


def records(response: httpx.Response) -> Iterator[Record]:
    """Of a response that is still arriving."""
    rest = b""
    try:
        for chunk in response.iter_bytes():
            whole, rest = _split(rest, chunk)
            yield from whole
    except httpx.TransportError as error:
        raise _broken(response, error) from error
    _must_be_whole(response, rest)


async def records_async(response: httpx.Response) -> AsyncIterator[Record]:
    """The same."""
    rest = b""
    try:
        async for chunk in response.aiter_bytes():
            whole, rest = _split(rest, chunk)
            for record in whole:
                yield record
    except httpx.TransportError as error:
        raise _broken(response, error) from error
    _must_be_whole(response, rest)


def _split(rest: bytes, chunk: bytes) -> tuple[list[Record], bytes]:
    """By newlines alone: httpx's own lines also end at characters that a JSON text may hold."""
    *whole, rest = (rest + chunk).split(b"\n")
    return [orjson.loads(line) for line in whole], rest


def _must_be_whole(response: httpx.Response, rest: bytes) -> None:
    if rest:
        raise _broken(response, EOFError("the last line has no end"))


def _broken(response: httpx.Response, error: Exception) -> Unavailable:
    url = response.request.url
    why = f"the export broke off: {str(error) or type(error).__name__}"
    return Unavailable("orchestrator", f"{url.scheme}://{url.netloc.decode()}", why)
