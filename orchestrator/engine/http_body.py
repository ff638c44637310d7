"""The body of an answer: unpacked, whole, and never larger than allowed.

It is unpacked here and not by the parser, since that takes a gzip stream which ends early for a
whole one, and reads whatever codec happens to be installed. The limit counts bytes as they are read
from the network and, of packed bodies, also as they come out: no answer costs more memory than
about twice the limit.
"""

from __future__ import annotations

import re
import zlib

from aiohttp.http import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

ACCEPT_ENCODING = "gzip, deflate"
"""What can be unpacked, as the header says it."""
_MOST_MEMBERS = 100  # of a gzip stream; servers send one
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_LONGEST_SHOWN = 60


class BadAnswer(Exception):
    """An answer that cannot be used, with the reason in plain words."""


def check_framing(message: RawResponseMessage) -> None:
    """Raises BadAnswer where others might see another end of the answer than the parser does.

    It takes a body as it is when it knows nothing of its transfer coding, and a length whose name
    ends with a space. What else is ambiguous it refuses itself.
    """
    coding = message.headers.get("Transfer-Encoding")
    if coding is not None and coding.strip().lower() != "chunked":
        raise BadAnswer(f"a Transfer-Encoding of {_shown(coding)}, wanted chunked or none")
    if " " in "".join(message.headers):
        raise BadAnswer("an answer that is not HTTP (a space before the colon of a header)")


def without_its_bytes(text: str) -> str:
    """A parser's complaint without what it complains of: that might repeat a credential."""
    return re.split(r":\s", text.removeprefix("Bad status line:\n  "), maxsplit=1)[0]


async def read_body(message: RawResponseMessage, content: StreamReader, *, largest: int) -> bytes:
    """The whole body. Raises BadAnswer, and what the connection raises."""
    if content is EMPTY_PAYLOAD:  # HEAD, 204, 304: whatever length their headers tell
        return b""
    announced = message.headers.get("Content-Length")
    if announced is not None and int(announced) > largest:
        raise _too_large(largest)
    encoding = _encoding(message)
    if encoding:
        return await _unpacked(content, encoding, largest)
    if announced is not None:
        return await content.read()
    parts = bytearray()
    async for part in content.iter_any():
        parts += part
        if len(parts) > largest:
            raise _too_large(largest)
    return bytes(parts)


def _encoding(message: RawResponseMessage) -> str:
    """How the body is packed: "gzip", "deflate", or "" for not at all. Raises BadAnswer."""
    if "Content-Encoding" not in message.headers:
        return ""
    text = ", ".join(message.headers.getall("Content-Encoding"))
    names = [name.strip().lower() for name in text.split(",")]
    found = [name.removeprefix("x-") for name in names if name not in ("", "identity")]
    if not found:
        return ""
    if len(found) > 1 or found[0] not in ("gzip", "deflate"):
        raise BadAnswer(f"a Content-Encoding of {_shown(text)}, wanted {ACCEPT_ENCODING} or none")
    return found[0]


async def _unpacked(content: StreamReader, encoding: str, largest: int) -> bytes:
    unpacker = _Unpacker(encoding, largest)
    try:
        async for part in content.iter_any():
            unpacker.feed(part)
    except zlib.error:
        raise BadAnswer(f"an answer that is not the {encoding} it says it is") from None
    return unpacker.end()


class _Unpacker:
    """Unpacks one body, part by part."""

    def __init__(self, encoding: str, largest: int) -> None:
        self._encoding, self._largest = encoding, largest
        self._stream = None if encoding == "deflate" else zlib.decompressobj(_GZIP)
        self._members, self._packed = 1, 0
        self._out = bytearray()

    def feed(self, part: bytes) -> None:
        """Raises BadAnswer, zlib.error."""
        self._packed += len(part)
        if self._packed > self._largest:
            raise _too_large(self._largest)
        while part:
            stream = self._stream_for(part)
            self._out += stream.decompress(part, self._largest - len(self._out) + 1)
            if len(self._out) > self._largest:
                raise _too_large(self._largest)
            part = stream.unused_data  # nothing else is left over below the limit

    def end(self) -> bytes:
        """The whole. Raises BadAnswer when its end is missing."""
        if self._packed and (self._stream is None or not self._stream.eof):
            raise BadAnswer(f"an answer whose {self._encoding} is cut off")
        return bytes(self._out)

    def _stream_for(self, part: bytes) -> zlib._Decompress:
        if self._stream is None:
            # Half of the world sends deflate without the header that its name asks for.
            self._stream = zlib.decompressobj(_ZLIB if part[0] & 0xF == 8 else _RAW)
        elif self._stream.eof:
            self._members += 1
            if self._encoding != "gzip" or self._members > _MOST_MEMBERS:
                raise BadAnswer(f"an answer whose {self._encoding} goes on after its end")
            self._stream = zlib.decompressobj(_GZIP)
        return self._stream


def _shown(text: str) -> str:
    return ascii(text[:_LONGEST_SHOWN])


def _too_large(largest: int) -> BadAnswer:
    return BadAnswer(f"the answer is larger than {largest} bytes")
