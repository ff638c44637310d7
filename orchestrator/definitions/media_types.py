"""Media types: what a body of one is written as."""

from __future__ import annotations

import codecs
import re

FORM_TYPE = "application/x-www-form-urlencoded"
MULTIPART_TYPE = "multipart/form-data"
JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json(?:\s*;.*)?", re.IGNORECASE)
XML_TYPE = re.compile(r"(?:application|text)/(?:[\w.+-]+\+)?xml(?:\s*;.*)?", re.IGNORECASE)
_CONCRETE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;[ \t\x21-\x7e]*)?", re.ASCII)
_CHARSET = re.compile(r";\s*charset=\"?([\w.:-]+)", re.IGNORECASE | re.ASCII)
_CHARSETS = frozenset({
    "ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "shift_jis", "euc_jp",
    "gb18030",
    *(f"iso8859-{part}" for part in range(1, 17)),
})  # fmt: skip
"""By Python's names; no codec that runs code or is none for texts."""


def is_concrete(text: str) -> bool:
    """Whether it names one type, with or without parameters."""
    return _CONCRETE.fullmatch(text) is not None


def bare(content_type: str) -> str:
    """Without its parameters, in small letters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether it is JSON, under its own name or as a suffix."""
    return JSON_TYPE.fullmatch(content_type) is not None


def is_xml(content_type: str) -> bool:
    """Whether it is XML, under its own name or as a suffix."""
    return XML_TYPE.fullmatch(content_type) is not None


def is_text(content_type: str) -> bool:
    """Whether it is read by people: whatever is in it is shown as text."""
    return bare(content_type).startswith("text/") or is_xml(content_type)


def is_form(content_type: str) -> bool:
    """Whether it is a form's fields in one line."""
    return bare(content_type) == FORM_TYPE


def is_multipart(content_type: str) -> bool:
    """Whether it is a form's fields in parts."""
    return bare(content_type) == MULTIPART_TYPE


def matches(content_type: str, wanted: str) -> bool:
    """Whether a type is in a list of types and ranges (`image/png, image/*`); any is in none."""
    if not wanted:
        return True
    kind = bare(content_type)
    for one in (bare(item) for item in wanted.split(",")):
        if one in (kind, "*/*") or (one.endswith("/*") and kind.startswith(one[:-1])):
            return True
    return False


def charset(content_type: str) -> str | None:
    """Python's name of the `charset`; UTF-8 where none is named, None for one that is not known."""
    found = _CHARSET.search(content_type)
    if found is None:
        return "utf-8"
    try:
        name = codecs.lookup(found[1]).name
    except LookupError:
        return None
    return name if name in _CHARSETS else None
