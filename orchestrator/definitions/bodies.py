"""Request bodies: from a call's template and the run's facts to bytes and their content type.

    contentType                        payload
    application/json, …+json           any value
    application/x-www-form-urlencoded  an object, or the whole as a text
    multipart/form-data                an object (`multipart.py`)
    text/…, application/xml, …+xml     a text
    anything else                      bytes: a data URL (`data_urls.py`), or a text

In a text that is a whole form, what an embedded expression gives is percent-encoded: a value
stays a value, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.definitions import encoding, styles
from orchestrator.definitions.data_urls import read_data_url
from orchestrator.definitions.expressions import Expression, Text, compile_value
from orchestrator.definitions.form_fields import FieldRules
from orchestrator.definitions.media_types import (
    charset,
    is_form,
    is_json,
    is_multipart,
    is_text,
)
from orchestrator.definitions.problems import Path
from orchestrator.definitions.replacements import Replacements
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

PLACE = "requestBody/payload"
Written = tuple[bytes, str]
"""The bytes, and their content type."""


class Body:
    """The body of one call's requests."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        content_type: str = data["contentType"]
        self._payload = compile_value(data.get("payload"), ("requestBody", "payload"))
        self._replacements = Replacements(data.get("replacements", ()))
        self._write = _writer(content_type, data)
        self._is_form = is_form(content_type)

    def encode(self, scope: Scope) -> Written:
        """Raises RequestRefused."""
        value = self._value(scope)
        if value is ABSENT:
            raise encoding.refused(PLACE, "nothing", "a value")
        return self._write(self._replacements.put_into(value, scope))

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression, with its place in the template."""
        yield from self._payload.expressions()
        yield from self._replacements.expressions()

    def _value(self, scope: Scope) -> Any:
        if self._is_form and isinstance(self._payload, Text):
            return self._payload.joined(scope, lambda text: quote(text, safe=""))
        return self._payload.resolve(scope)


def _writer(content_type: str, data: Mapping[str, Any]) -> Callable[[Any], Written]:
    rules: FieldRules = data.get("encoding", {})
    if is_json(content_type):
        return lambda value: (encoding.json_body(value), content_type)
    if is_multipart(content_type):
        # Imported where it is used: most plans send none, and urllib3 is slow to start.
        from orchestrator.definitions.multipart import multipart_body  # noqa: PLC0415 - rare

        return lambda value: multipart_body(_object(value), rules)
    if is_form(content_type):
        deep = frozenset(data.get("deep", ()))
        return lambda value: (_form(value, deep, rules), content_type)
    if is_text(content_type):
        codec = charset(content_type) or "utf-8"
        return lambda value: (_text(value, codec), content_type)
    return lambda value: (_bytes(value, content_type), content_type)


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise encoding.refused(PLACE, encoding.kind_of(value), "an object")
    return value


def _form(value: Any, deep: frozenset[str], rules: FieldRules) -> bytes:
    if isinstance(value, str):
        return value.encode()
    fields = _object(value)
    parts = [part for name, item in fields.items() for part in _form_field(name, item, deep, rules)]
    return "&".join(parts).encode()


def _form_field(name: str, value: Any, deep: frozenset[str], rules: FieldRules) -> Iterator[str]:
    rule, place = rules.get(name), f"{PLACE}/{name}"
    if rule is None:
        return encoding.form_field(name, value, deep, place)
    if value is None:
        return iter(())
    if "style" in rule:
        return styles.query_parts(
            name, value, style=rule["style"], explode=rule["explode"], place=place,
            reserved=rule.get("allowReserved", False),
        )  # fmt: skip
    return encoding.form_field(name, styles.as_content(value), deep, place)


def _text(value: Any, codec: str) -> bytes:
    text = encoding.scalar_text(value, PLACE)
    try:
        return text.encode(codec)
    except UnicodeEncodeError as error:
        found = f"the character {text[error.start]!a}"
        raise encoding.refused(PLACE, found, f"text that {codec} can hold") from None


def _bytes(value: Any, content_type: str) -> bytes:
    if encoding.is_array(value) or isinstance(value, Mapping) or value is None:
        wanted = f"bytes for {content_type}: a data URL (data:TYPE;base64,…), or a text"
        raise encoding.refused(PLACE, encoding.kind_of(value), wanted)
    text = encoding.scalar_text(value, PLACE)
    content = read_data_url(text, PLACE)
    return text.encode() if content is None else content.data
