"""Parameters in the styles of OpenAPI, which are those of RFC 6570.

    simple  a,b   k,v     k=v with explode          label   .a,b  .a.b with explode
    matrix  ;n=a,b        ;n=a;n=b with explode     form    n=a,b  n=a&n=b with explode
    spaceDelimited, pipeDelimited, tabDelimited (Swagger's tsv)    deepObject  n[k]=v

A field of an object that is null is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.definitions.encoding import (
    header_value,
    is_array,
    nested_parts,
    path_segment,
    refused,
    scalar_text,
)

STYLES: Mapping[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "tabDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
"""By place; the first is what counts where nothing is said."""
_PARTED_BY = {"form": ",", "spaceDelimited": " ", "pipeDelimited": "|", "tabDelimited": "\t"}
# RFC 3986's reserved characters without those that would end a value: & # + = and brackets stay
# encoded, as OpenAPI 3.1.1 advises.
_RESERVED = ":/?@!$'()*,;"


def path_text(name: str, value: Any, *, style: str, explode: bool, place: str) -> str:
    """A path parameter. Raises RequestRefused for what would lead to another resource."""
    if isinstance(value, Mapping):
        between = "=" if explode else ","
        items = [f"{_segment(k, place)}{between}{_segment(v, place)}" for k, v in _pairs(value)]
    else:
        items = [_segment(item, place) for item in (value if is_array(value) else [value])]
    if not items:
        raise refused(place, "nothing in it", "at least one value")
    match style:
        case "label":
            return "." + ("." if explode else ",").join(items)
        case "matrix" if explode and isinstance(value, Mapping):
            return "".join(f";{item}" for item in items)
        case "matrix" if explode:
            return "".join(f";{name}={item}" for item in items)
        case "matrix":
            return f";{name}={','.join(items)}"
        case _:
            return ",".join(items)


def query_parts(
    name: str, value: Any, *, style: str, explode: bool, place: str, reserved: bool = False
) -> Iterator[str]:
    """The encoded `name=value` parts of a query parameter. Raises RequestRefused."""
    safe = _RESERVED if reserved else ""
    if isinstance(value, Mapping) and style == "deepObject":
        yield from nested_parts(name, value, place)
    elif isinstance(value, Mapping) and explode:
        for key, item in _pairs(value):
            yield f"{quote(key, safe='')}={quote(scalar_text(item, place), safe=safe)}"
    elif isinstance(value, Mapping) or (is_array(value) and not explode):
        items = _flat(value) if isinstance(value, Mapping) else value
        if items:
            yield f"{_name(name)}={_parted(items, style, safe, place)}"
    else:
        for item in value if is_array(value) else [value]:
            yield f"{_name(name)}={quote(scalar_text(item, place), safe=safe)}"


def header_text(value: Any, *, explode: bool, place: str) -> str:
    """A header's value. Raises RequestRefused for what no header may have."""
    if not isinstance(value, Mapping):
        return header_value(value, place)
    if not explode:
        return header_value(_flat(value), place)
    pairs = [f"{key}={scalar_text(item, place)}" for key, item in _pairs(value)]
    return header_value(pairs, place)


def cookie_pairs(name: str, value: Any, *, explode: bool, place: str) -> Iterator[tuple[str, str]]:
    """Names and encoded values of a cookie parameter. Raises RequestRefused."""
    if isinstance(value, Mapping) and explode:
        for key, item in _pairs(value):
            yield quote(key, safe=""), quote(scalar_text(item, place), safe="")
    elif isinstance(value, Mapping) or (is_array(value) and not explode):
        items = _flat(value) if isinstance(value, Mapping) else value
        yield name, _parted(items, "form", "", place)
    else:
        for item in value if is_array(value) else [value]:
            yield name, quote(scalar_text(item, place), safe="")


def as_content(value: Any) -> str:
    """A parameter that has a JSON `content` in place of a style; a text is sent as it is."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _segment(value: Any, place: str) -> str:
    """One value, and no list within a list."""
    return path_segment(scalar_text(value, place), place)


def _parted(items: Any, style: str, safe: str, place: str) -> str:
    by = _PARTED_BY.get(style, ",")
    texts = [scalar_text(item, place) for item in items]
    if by != "," and any(by in text for text in texts):
        # The receiver decodes first, and would take it for two values.
        raise refused(place, f"{by!r} within a value", f"values without {by!r}, which parts them")
    if by == ",":
        return ",".join(quote(text, safe=safe.replace(",", "")) for text in texts)
    return quote(by, safe="").join(quote(text, safe=safe) for text in texts)


def _pairs(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(str(key), item) for key, item in value.items() if item is not None]


def _flat(value: Mapping[str, Any]) -> list[Any]:
    return [part for pair in _pairs(value) for part in pair]


def _name(name: str) -> str:
    return quote(name, safe="[]")
