"""What an API's document says about one operation: more than a call needs, for the checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.definitions.checking.schemas import Schema, local_follower
from orchestrator.definitions.media_types import FORM_TYPE
from orchestrator.definitions.openapi import OpenApiDocument, Operation

_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE)
_KEY_HEADERS = re.compile(r"(?:x-)?(?:idempotency|request)-?(?:key|id)", re.IGNORECASE)


@dataclass(frozen=True)
class ApiOperation:
    """One operation with its schemas. Reads leniently: what makes no sense says nothing."""

    api: str
    operation: Operation
    document: OpenApiDocument

    @cached_property
    def _data(self) -> Mapping[str, Any]:
        return self.document.definition(self.operation)

    @cached_property
    def _follow(self) -> Callable[[Any], Any]:
        return local_follower(self.document.root)

    def schema(self, value: Any) -> Schema:
        """A schema of this document."""
        return Schema(value, self._follow)

    @property
    def name(self) -> str:
        """Its id, or method and path."""
        return self.operation.operation_id

    # --- requests ---------------------------------------------------------------------------------

    def parameter(self, name: str, place: str) -> Schema | None:
        """The schema of a declared parameter; None when it is not declared."""
        for raw in self._parameters():
            given = str(raw.get("name"))
            same = given.lower() == name.lower() if place == "header" else given == name
            if same and raw.get("in") == place:
                return self.schema(raw.get("schema", raw) if "content" not in raw else {})
        return None

    def parameter_names(self, place: str) -> list[str]:
        """Names of the declared parameters of one kind."""
        return [str(raw.get("name")) for raw in self._parameters() if raw.get("in") == place]

    def key_header(self) -> str | None:
        """A header in which the API takes an idempotency key, as far as its name tells."""
        return next((n for n in self.parameter_names("header") if _KEY_HEADERS.fullmatch(n)), None)

    def reading(self) -> str | None:
        """The GET of the same path, if it is another operation than this one."""
        found = _mapping(_mapping(self.document.root.get("paths")).get(self.operation.path))
        name = _mapping(found.get("get")).get("operationId")
        return name if isinstance(name, str) and name != self.name else None

    def body(self, content_type: str | None) -> Schema | None:
        """The schema of the request's body; None when the document does not say."""
        content = _mapping(_mapping(self._follow(self._data.get("requestBody"))).get("content"))
        if content:
            chosen = _chosen(content, content_type)
            return None if chosen is None else self.schema(_mapping(chosen).get("schema", {}))
        raw = next((p for p in self._parameters() if p.get("in") == "body"), None)
        return None if raw is None else self.schema(raw.get("schema", {}))

    def _parameters(self) -> Iterator[Mapping[str, Any]]:
        for raw in self._data["parameters"]:
            followed = self._follow(raw)
            if isinstance(followed, Mapping):
                yield followed

    # --- answers ----------------------------------------------------------------------------------

    @cached_property
    def _responses(self) -> dict[str, Mapping[str, Any]]:
        responses = self._data.get("responses")
        return {
            str(status).upper(): _mapping(self._follow(answer))
            for status, answer in _mapping(responses).items()
        }

    @property
    def statuses(self) -> list[str]:
        """The documented ones: `200`, `4XX`, `DEFAULT`."""
        return sorted(self._responses)

    def documents(self, status: int) -> bool:
        """Whether the document has an answer with this status, or says nothing about answers."""
        names = self._responses
        return not names or bool({str(status), f"{status // 100}XX", "DEFAULT"} & set(names))

    def successes(self) -> list[Mapping[str, Any]]:
        """The answers that stand for success, the default one where there is no other."""
        found = [a for s, a in self._responses.items() if s[:1] == "2"]
        return found or [a for s, a in self._responses.items() if s == "DEFAULT"]

    def answer(self, status: int) -> Mapping[str, Any]:
        """What the document says of this status; empty when it says nothing."""
        known = self._responses
        for name in (str(status), f"{status // 100}XX", "DEFAULT"):
            if name in known:
                return known[name]
        return {}

    def answers(self) -> list[Schema] | None:
        """Schemas of what a success answers with; None when the document does not say."""
        found = []
        for answer in self.successes():
            if "schema" in answer:
                found.append(self.schema(answer["schema"]))
            content = _mapping(answer.get("content"))
            chosen = _mapping(_chosen(content, None))
            if content and "schema" not in chosen:
                return None
            if content:
                found.append(self.schema(chosen["schema"]))
        return found or None

    def header(self, name: str) -> Schema | None:
        """The schema of a header of a success; None when no success documents it."""
        for answer in self.successes():
            for given, raw in _mapping(answer.get("headers")).items():
                if str(given).lower() == name.lower():
                    return self.header_schema(raw)
        return None

    def header_schema(self, raw: Any) -> Schema:
        """The schema of a header, as an answer describes it."""
        data = _mapping(self._follow(raw))
        return self.schema(data.get("schema", data if "type" in data else {}))


def _chosen(content: Mapping[str, Any], content_type: str | None) -> Any:
    """The part of a `content` object for a type; JSON, then a form, where none is asked for."""
    if content_type is not None:
        bare = content_type.partition(";")[0].strip().lower()
        return next(
            (v for k, v in content.items() if str(k).partition(";")[0].strip() == bare), None
        )
    for wanted in (_JSON, re.compile(re.escape(FORM_TYPE))):
        for name, value in content.items():
            if wanted.fullmatch(str(name).partition(";")[0].strip()):
                return value
    return next(iter(content.values()), None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
