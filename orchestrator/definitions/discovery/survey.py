"""What OpenAPI documents say of their operations, as evidence: facts only, no judgement.

Calls are read by `definitions.openapi`; discovery needs more of an operation (answers, schemas,
words, links) and less of it exactly, so it reads the plain document, tolerantly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orchestrator.definitions.discovery.lexicon import VERBS, joined, stemmed, words_of
from orchestrator.definitions.discovery.schemas import NOTHING, Schemas, Shape, listed
from orchestrator.definitions.document import Document

METHODS = ("get", "put", "post", "delete", "patch")
MUTATING = frozenset({"PUT", "POST", "DELETE", "PATCH"})
_FORMAT = re.compile(r"\.(json|xml)$")
_PLACES = ("path", "query", "header")
_KEY_HEADER = (
    "idempotency-key",
    "x-idempotency-key",
    "idempotency-token",
    "x-request-id-idempotency",
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A declared parameter."""

    name: str
    place: str  # path, query, header
    required: bool
    type: str = ""
    enum: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """An OpenAPI link of an answer to another operation."""

    operation_id: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One operation. Compared by identity: each stands once in a survey."""

    api: str  # the document's name
    operation_id: str
    method: str  # upper case
    path: str
    summary: str
    description: str
    tags: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    request: Shape
    content_types: tuple[str, ...]
    body_required: bool
    answers: Mapping[int, Shape]  # success statuses, and what they carry
    failures: frozenset[int]  # statuses from 400 that are documented
    links: tuple[Link, ...] = ()
    deprecated: bool = False

    __hash__ = object.__hash__

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The path's segments, without .json at their end."""
        return tuple(_FORMAT.sub("", part) for part in self.path.split("/") if part)

    @cached_property
    def stem(self) -> tuple[str, ...]:
        """The segments with parameters as `{}`."""
        return tuple(
            "{}" if part.startswith("{") and part.endswith("}") else part for part in self.segments
        )

    @cached_property
    def path_names(self) -> dict[int, str]:
        """Names of the path's parameters by the number of their segment."""
        return {n: part[1:-1] for n, part in enumerate(self.segments) if self.stem[n] == "{}"}

    @cached_property
    def answer(self) -> Shape:
        """What success carries: of the first status with a body."""
        return next(
            (self.answers[s] for s in sorted(self.answers) if self.answers[s].is_known), NOTHING
        )

    @cached_property
    def id_words(self) -> tuple[str, ...]:
        """Words of the operation's id without those of its method."""
        words = stemmed(words_of(self.operation_id))
        return words[1:] if words and words[0] == self.method.lower() and len(words) > 1 and (
            self.operation_id.lower().startswith(f"{self.method.lower()}-")
        ) else words  # fmt: skip

    @cached_property
    def summary_words(self) -> tuple[str, ...]:
        """Words of the summary, or of the first sentence of the description."""
        text = self.summary or self.description.split(". ")[0]
        return stemmed(words_of(text))[:24]

    @cached_property
    def idempotency_header(self) -> str | None:
        """The header in which it takes a key, as far as it says so."""
        names = (p.name for p in self.parameters if p.place == "header")
        return next((name for name in names if name.lower() in _KEY_HEADER), None)

    @property
    def last(self) -> str:
        """The last segment (of pins.add the last part), without plural; "" for a parameter."""
        tail = self.segments[-1].rpartition(".")[2] if self.segments else ""
        return "" if tail.startswith("{") else "-".join(stemmed(words_of(tail)))

    @property
    def where(self) -> str:
        """`DELETE /pet/{petId}`."""
        return f"{self.method} {self.path}"

    def parameter(self, name: str, place: str) -> Parameter | None:
        """The declared parameter with this name in any spelling."""
        key = joined(name)
        return next(
            (p for p in self.parameters if p.place == place and joined(p.name) == key), None
        )


@dataclass(slots=True)
class Survey:
    """All operations of some documents."""

    operations: list[Facts] = field(default_factory=list)
    _by_stem: dict[tuple[str, ...], list[Facts]] = field(default_factory=dict)
    _by_id: dict[tuple[str, str], Facts] = field(default_factory=dict)
    _by_noun: dict[str, list[Facts]] = field(default_factory=dict)
    _inside: dict[tuple[str, ...], list[Facts]] = field(default_factory=dict)
    _by_words: dict[tuple[str, str, tuple[str, ...]], list[Facts]] = field(default_factory=dict)

    @staticmethod
    def of(documents: Iterable[Document]) -> Survey:
        """Read documents. What is broken in one is left out."""
        survey = Survey()
        for document in documents:
            for facts in _operations(document):
                survey._add(facts)
        return survey

    def _add(self, facts: Facts) -> None:
        self.operations.append(facts)
        self._by_stem.setdefault(_key(facts.stem), []).append(facts)
        self._by_id.setdefault((facts.api, facts.operation_id), facts)
        for length in range(1, len(facts.stem)):
            self._inside.setdefault(_key(facts.stem[:length]), []).append(facts)
        for word in {*facts.id_words}:
            rest = tuple(each for each in facts.id_words if each != word)
            self._by_words.setdefault((facts.api, word, rest), []).append(facts)
        for segment in facts.stem[-3:]:
            if segment != "{}":
                self._by_noun.setdefault(joined(segment), []).append(facts)

    def at(self, stem: tuple[str, ...], *methods: str, api: str | None = None) -> list[Facts]:
        """Operations at a path, whatever its parameters are called, in the order of `methods`."""
        found = [each for each in self._by_stem.get(_key(stem), ()) if api in (None, each.api)]
        return [each for method in methods for each in found if each.method == method]

    def one(self, stem: tuple[str, ...], method: str, api: str) -> Facts | None:
        """The operation at a path of one document."""
        return next(iter(self.at(stem, method, api=api)), None)

    def operations_of(self, api: str) -> list[Facts]:
        """All operations of one document."""
        return [each for each in self.operations if each.api == api]

    def by_id(self, api: str, operation_id: str) -> Facts | None:
        """The operation with this id."""
        return self._by_id.get((api, operation_id))

    def named(self, api: str, word: str, rest: tuple[str, ...]) -> list[Facts]:
        """Operations whose id has this word and else these, in this order."""
        return self._by_words.get((api, word, rest), [])

    def below(self, facts: Facts) -> Facts | None:
        """An operation that makes or changes something inside of what this one is about."""
        depth = len(facts.stem)
        for each in self._inside.get(_key(facts.stem), ()):
            if (
                each.api == facts.api
                and each.stem[depth] != "{}"
                and each.method in ("POST", "PUT")
            ):
                return each
        return None

    def about(self, noun: str) -> list[Facts]:
        """Operations with this noun among the last segments of their path, in any document."""
        return self._by_noun.get(joined(noun), [])


def _key(stem: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.lower() for part in stem)


# --- reading --------------------------------------------------------------------------------------


def _operations(document: Document) -> Iterator[Facts]:
    root = document.value
    if not isinstance(root, Mapping) or not isinstance(root.get("paths"), Mapping):
        return
    schemas = Schemas(root)
    reader = _Swagger(root, schemas) if "swagger" in root else _Reader(root, schemas)
    for path, raw in root["paths"].items():
        item = schemas.follow(raw)
        if not isinstance(item, Mapping):
            continue
        for method in METHODS:
            data = item.get(method)
            if isinstance(data, Mapping):
                yield reader.facts(document.name, str(path), method, item, data)


class _Reader:
    """Reads operations of OpenAPI 3."""

    def __init__(self, root: Mapping[str, Any], schemas: Schemas) -> None:
        self.root, self.schemas = root, schemas

    def facts(
        self, api: str, path: str, method: str, item: Mapping[str, Any], data: Mapping[str, Any]
    ) -> Facts:
        raw = self._raw_parameters(item, data)
        responses = data.get("responses")
        found = {
            str(status): self.schemas.follow(answer)
            for status, answer in (responses.items() if isinstance(responses, Mapping) else ())
        }
        request, types, required = self.body(data, raw)
        return Facts(
            api=api, operation_id=str(data.get("operationId") or f"{method.upper()} {path}"),
            method=method.upper(), path=path, summary=_text(data.get("summary")),
            description=_text(data.get("description")),
            tags=tuple(str(tag) for tag in listed(data.get("tags")) if isinstance(tag, str)),
            parameters=tuple(self.parameter(each) for each in raw if each["in"] in _PLACES),
            request=request, content_types=types, body_required=required,
            answers={
                _status(s): self.answer(answer) for s, answer in found.items()
                if s.startswith("2") and isinstance(answer, Mapping)
            },
            failures=frozenset(int(s) for s in found if s.isdecimal() and int(s) >= 400),
            links=tuple(_links(found)), deprecated=data.get("deprecated") is True,
        )  # fmt: skip

    def _raw_parameters(self, *owners: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for owner in owners:
            for raw in listed(owner.get("parameters")):
                each = self.schemas.follow(raw)
                if isinstance(each, Mapping) and isinstance(each.get("name"), str) and "in" in each:
                    found[each["name"], str(each["in"])] = each
        return list(found.values())

    def parameter(self, raw: Mapping[str, Any]) -> Parameter:
        schema = self.schemas.follow(raw.get("schema", raw))
        schema = schema if isinstance(schema, Mapping) else {}
        kind, values = schema.get("type"), schema.get("enum")
        return Parameter(
            name=raw["name"], place=str(raw["in"]),
            required=raw.get("required") is True or raw["in"] == "path",
            type=kind if isinstance(kind, str) else "",
            enum=tuple(listed(values)),
        )  # fmt: skip

    def body(
        self, data: Mapping[str, Any], raw: list[Mapping[str, Any]]
    ) -> tuple[Shape, tuple[str, ...], bool]:
        body = self.schemas.follow(data.get("requestBody"))
        if not isinstance(body, Mapping):
            return NOTHING, (), False
        content = body.get("content")
        content = content if isinstance(content, Mapping) else {}
        return self._best(content), tuple(content), body.get("required") is True

    def answer(self, answer: Mapping[str, Any]) -> Shape:
        content = answer.get("content")
        return self._best(content) if isinstance(content, Mapping) else NOTHING

    def _best(self, content: Mapping[str, Any]) -> Shape:
        """JSON first, else a form, else whatever stands first."""
        types = sorted(content, key=lambda t: 0 if "json" in t else 1 if "form" in t else 2)
        media = content[types[0]] if types else {}
        if not isinstance(media, Mapping):
            return NOTHING
        shape = self.schemas.shape(media.get("schema", {}))
        return (
            shape
            if shape.is_known or "example" not in media
            else self.schemas.shape(_schema_of(media["example"]))
        )


class _Swagger(_Reader):
    """Reads operations of Swagger 2.0."""

    def body(
        self, data: Mapping[str, Any], raw: list[Mapping[str, Any]]
    ) -> tuple[Shape, tuple[str, ...], bool]:
        types = data.get("consumes") or self.root.get("consumes") or ()
        types = tuple(str(t) for t in types) if isinstance(types, list) else ()
        whole = next((each for each in raw if each["in"] == "body"), None)
        if whole is not None:
            return self.schemas.shape(whole.get("schema", {})), types, whole.get("required") is True
        form = [each for each in raw if each["in"] == "formData"]
        schema = {
            "type": "object", "properties": {each["name"]: each for each in form},
            "required": [each["name"] for each in form if each.get("required") is True],
        }  # fmt: skip
        return (self.schemas.shape(schema) if form else NOTHING), types, bool(schema["required"])

    def answer(self, answer: Mapping[str, Any]) -> Shape:
        if "schema" in answer:
            return self.schemas.shape(answer["schema"])
        examples = answer.get("examples")
        found = examples.get("application/json") if isinstance(examples, Mapping) else None
        return NOTHING if found is None else self.schemas.shape(_schema_of(found))


def _schema_of(example: Any, depth: int = 0) -> dict[str, Any]:
    """The schema that an example shows, where there is no other."""
    if isinstance(example, Mapping) and depth < 4:
        return {
            "type": "object",
            "properties": {k: _schema_of(v, depth + 1) for k, v in example.items()},
        }
    if isinstance(example, bool):
        return {"type": "boolean"}
    kinds: dict[type, str] = {
        int: "integer",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }
    return {"type": kinds[type(example)]} if type(example) in kinds else {}


def _links(answers: Mapping[str, Any]) -> Iterator[Link]:
    for status, answer in answers.items():
        links = (
            answer.get("links") if isinstance(answer, Mapping) and status.startswith("2") else None
        )
        for link in links.values() if isinstance(links, Mapping) else ():
            if isinstance(link, Mapping) and isinstance(link.get("operationId"), str):
                parameters = link.get("parameters")
                yield Link(
                    link["operationId"], parameters if isinstance(parameters, Mapping) else {}
                )


def _status(text: str) -> int:
    return int(text) if text.isdecimal() else 200  # 2XX


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def lead_verb(facts: Facts) -> str | None:
    """The verb with which the summary begins."""
    lead = facts.summary_words[:1]
    return lead[0] if lead and lead[0] in VERBS else None


def id_verb(facts: Facts) -> str | None:
    """The first verb in the operation's id that is not a noun of its path."""
    parts = [part.rpartition(".")[0] or part for part in facts.segments]  # pins of pins.add
    nouns = {each for part in parts for each in stemmed(words_of(part))}
    if facts.last in VERBS and facts.last in facts.id_words:
        return facts.last
    return next((w for w in facts.id_words if w in VERBS and w not in nouns), None)


def verbs_of(facts: Facts) -> tuple[str, ...]:
    """What the operation does, in its document's words: of its summary, its id, its path's end."""
    found = [lead_verb(facts), id_verb(facts), facts.last if facts.last in VERBS else None]
    return tuple(dict.fromkeys(each for each in found if each is not None))
