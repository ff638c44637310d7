"""How the fields of a form are written, by OpenAPI's Encoding Object and the fields' schemas.

Only what differs from the usual way is said, as `multipart.Rules`; `{style: deepObject}` alone is
that of a form whose objects are `name[key]`, which says no more than before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.definitions.media_types import is_json, is_multipart

FieldRules = Mapping[str, Mapping[str, Any]]
"""By a field's name."""
Follow = Callable[[Any], Any]
"""What a `$ref` leads to."""
_MOST_SCHEMAS = 50  # of one body that are made of each other
_STYLED = ("style", "explode", "allowReserved")


def field_rules(content_type: str, media: Any, follow: Follow) -> FieldRules:
    """The rules of a body of this type (`content[TYPE]`). Raises InvalidDefinition."""
    if not isinstance(media, Mapping):
        return {}
    said = _mapping(media.get("encoding"))
    schemas = dict(_properties(media.get("schema"), follow)) if is_multipart(content_type) else {}
    found = {}
    for name in dict.fromkeys([*map(str, said), *schemas]):
        how = _mapping(said.get(name))
        in_parts = is_multipart(content_type)
        rules = _part(how, schemas.get(name), follow) if in_parts else _form(how)
        if rules:
            found[name] = rules
    return found


def _form(how: Mapping[str, Any]) -> dict[str, Any]:
    """In a line: a style, or JSON inside of it. Any other type of a field is its text."""
    if any(key in how for key in _STYLED):
        return _style(how)
    content_type = str(how.get("contentType", ""))
    return {"contentType": content_type} if is_json(content_type) else {}


def _part(how: Mapping[str, Any], schema: Any, follow: Follow) -> dict[str, Any]:
    headers = _headers(how.get("headers"), follow)
    if any(key in how for key in _STYLED):  # its type is ignored then, says OpenAPI 3.1.1
        return _style(how) | headers
    rules = dict(_of_schema(schema, follow))
    if isinstance(how.get("contentType"), str):
        rules["contentType"] = how["contentType"]
    return rules | headers


def _style(how: Mapping[str, Any]) -> dict[str, Any]:
    style = str(how.get("style", "form"))
    rules: dict[str, Any] = {"style": style, "explode": bool(how.get("explode", style == "form"))}
    return rules | ({"allowReserved": True} if how.get("allowReserved") is True else {})


def _of_schema(schema: Any, follow: Follow) -> Iterator[tuple[str, Any]]:
    """What `format: binary` (3.0) or `contentEncoding` and `contentMediaType` (3.1) say."""
    data = _mapping(follow(schema))
    if "items" in data:
        data = _mapping(follow(data["items"]))
    encoding, kind = data.get("contentEncoding"), data.get("contentMediaType")
    if encoding in ("base64", "base64url"):
        yield "base64", "url" if encoding == "base64url" else "standard"
    elif data.get("format") == "binary" or (kind is not None and encoding is None):
        yield "bytes", True
    if isinstance(kind, str):
        yield "contentType", kind


def _headers(given: Any, follow: Follow) -> dict[str, Any]:
    """A part's headers whose values the document fixes: a workflow has no place for others."""
    found = {}
    for name, header in _mapping(given).items():
        data = _mapping(follow(header))
        schema = _mapping(follow(data.get("schema", {})))
        options = schema.get("enum")
        only = options[0] if isinstance(options, list) and len(options) == 1 else None
        value = schema.get("const", schema.get("default", only))
        if isinstance(value, str | int | float) and str(name).lower() != "content-type":
            found[str(name)] = value if isinstance(value, str) else str(value)
    return {"headers": found} if found else {}


def _properties(schema: Any, follow: Follow) -> Iterator[tuple[str, Any]]:
    """Those of an object, and of the schemas that it is made of."""
    waiting = [schema]
    for _ in range(_MOST_SCHEMAS):
        if not waiting:
            return
        data = _mapping(follow(waiting.pop()))
        yield from ((str(name), one) for name, one in _mapping(data.get("properties")).items())
        for key in ("allOf", "oneOf", "anyOf"):
            parts = data.get(key)
            waiting += parts if isinstance(parts, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
