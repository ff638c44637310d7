"""Bytes in JSON values: data URLs (RFC 2397), which carry their media type with them.

    data:image/png;base64,iVBORw0K…        data:text/csv;charset=utf-8;name=may.csv;base64,…

Inputs, outputs and answers are JSON. What is neither JSON nor text stands in them as such a URL,
and where a request has a place for bytes it is turned back. Only the base64 form counts; `name` is
the file's name, percent-encoded, as browsers write it.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from orchestrator.definitions.encoding import refused
from orchestrator.definitions.media_types import is_text

OCTETS = "application/octet-stream"
_TYPE = r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}"
_DATA_URL = re.compile(
    rf"data:(?P<type>{_TYPE})?(?P<parameters>(?:;[\w.-]+=[^;,\s\"]*)*);base64,(?P<data>.*)",
    re.ASCII | re.DOTALL,
)
_NAME = re.compile(r";(?:file)?name=([^;]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Bytes with what is known of them."""

    data: bytes
    media_type: str = OCTETS
    name: str | None = None  # of the file


def read_data_url(text: str, place: str) -> Content | None:
    """What a text stands for; None when it is no data URL. Raises RequestRefused."""
    found = _DATA_URL.fullmatch(text) if text.startswith("data:") else None
    if found is None:
        return None
    packed = "".join(found["data"].split()).rstrip("=")
    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise refused(place, "a data URL whose base64 is broken", "base64 (RFC 4648)") from None
    name = _NAME.search(found["parameters"])
    return Content(
        data=data,
        media_type=found["type"] or OCTETS,
        name=None if name is None else unquote(name[1]),
    )


def as_data_url(data: bytes, media_type: str = "", name: str | None = None) -> str:
    """The inverse; a media type that is none counts as bytes of no known type."""
    bare = media_type.partition(";")[0].strip()
    kind = bare if re.fullmatch(_TYPE, bare, re.ASCII) else OCTETS
    named = "" if name is None else f";name={quote(name, safe='')}"
    return f"data:{kind}{named};base64,{base64.b64encode(data).decode()}"


def text_or_data_url(data: bytes, content_type: str) -> str:
    """Bytes of a type that is not JSON: what people read as text, and so what is UTF-8."""
    if is_text(content_type):
        return data.decode("utf-8", "replace")
    try:
        # No database keeps a NUL in a text.
        return as_data_url(data, content_type) if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return as_data_url(data, content_type)
