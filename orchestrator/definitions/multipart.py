"""`multipart/form-data` bodies (RFC 7578), as OpenAPI's Encoding Object wants their parts.

Each field is a part, each item of an array one of its own; a field that is null is left out. The
boundary is made of the parts' own digest: the same values give the same bytes in every replay, and
nothing that is sent can hold it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import unquote

from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata

from orchestrator.definitions import encoding, styles
from orchestrator.definitions.data_urls import (
    OCTETS,
    Content,
    as_data_url,
    read_data_url,
    text_or_data_url,
)
from orchestrator.definitions.media_types import is_json, matches

Rules = Mapping[str, Any]
"""Of one field, all optional: {contentType, headers: {NAME: VALUE}, style, explode, allowReserved,
bytes: true, base64: standard | url}."""
_NO_RULES: Rules = {}


def multipart_body(fields: Mapping[str, Any], rules: Mapping[str, Rules]) -> tuple[bytes, str]:
    """The bytes, and the content type with its boundary. Raises RequestRefused."""
    parts = [
        part
        for name, value in fields.items()
        for part in _field(name, value, rules.get(name, _NO_RULES))
    ]
    body, content_type = encode_multipart_formdata(parts, boundary=_boundary(parts))
    return body, content_type


def form_fields(body: bytes, content_type: str) -> dict[str, Any]:
    """The fields of such a body as values: texts, and bytes as data URLs; of a name the last."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    found = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if isinstance(data, bytes) and isinstance(name, str):
            kind = str(part.get("content-type", "text/plain"))
            found[name] = text_or_data_url(data, kind)
    return found


def _boundary(parts: list[RequestField]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        head, data = part.render_headers().encode(), _bytes_of(part)
        # Lengths as well: two lists of parts never run together to the same text.
        digest.update(b"%d %d\n" % (len(head), len(data)))
        digest.update(head)
        digest.update(data)
    return digest.hexdigest()[:48]


def _bytes_of(part: RequestField) -> bytes:
    return part.data.encode() if isinstance(part.data, str) else part.data


def _field(name: str, value: Any, rules: Rules) -> Iterator[RequestField]:
    place = f"requestBody/payload/{name}"
    if value is None:
        return
    if "style" in rules:
        yield from _styled(name, value, rules, place)
        return
    items = value if encoding.is_array(value) else [value]
    for index, item in enumerate(items):
        yield _part(name, item, rules, f"{place}/{index}" if items is value else place)


def _styled(name: str, value: Any, rules: Rules, place: str) -> Iterator[RequestField]:
    """In the styles of a query, but with nothing percent-encoded."""
    for pair in styles.query_parts(
        name, value, style=rules["style"], explode=rules["explode"], place=place
    ):
        key, _, text = pair.partition("=")
        yield _request_field(unquote(key), unquote(text).encode(), rules)


def _part(name: str, value: Any, rules: Rules, place: str) -> RequestField:
    wanted = rules.get("contentType", "")
    if encoding.is_array(value) or isinstance(value, Mapping):
        if wanted and not is_json(wanted):
            raise encoding.refused(place, encoding.kind_of(value), f"a text for {wanted}")
        return _request_field(name, encoding.json_body(value), rules, wanted or "application/json")
    text = encoding.scalar_text(value, place)
    content = read_data_url(text, place)
    if "base64" in rules:
        packed = text if content is None else as_data_url(content.data).partition(",")[2]
        if rules["base64"] == "url":
            packed = packed.translate(_URL_SAFE)
        return _request_field(name, packed.encode(), rules, _concrete(wanted))
    if content is None and rules.get("bytes"):
        content = Content(data=text.encode(), media_type=_concrete(wanted) or OCTETS)
    if content is None:
        return _request_field(name, text.encode(), rules, _concrete(wanted))
    kind = content.media_type if matches(content.media_type, wanted) else _concrete(wanted)
    return _request_field(
        name, content.data, rules, kind or content.media_type, file=content.name or name
    )


_URL_SAFE = str.maketrans("+/", "-_")


def _concrete(wanted: str) -> str:
    """The first of a list of types that is no range; empty when there is none."""
    types = [one.strip() for one in wanted.split(",")]
    return next((one for one in types if one and "*" not in one), "")


def _request_field(
    name: str, data: bytes, rules: Rules, content_type: str = "", file: str | None = None
) -> RequestField:
    field = RequestField(name, data, filename=file, headers=dict(rules.get("headers", {})))
    field.make_multipart(content_type=content_type or None)
    return field
