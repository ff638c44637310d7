"""Operations of OpenAPI 3.0 and 3.1 and Swagger 2.0 documents: only what a call needs to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from orchestrator.core.demands import Security
from orchestrator.definitions.document import SOURCES, Document, read_document
from orchestrator.definitions.form_fields import FieldRules, field_rules
from orchestrator.definitions.media_types import (
    FORM_TYPE,
    MULTIPART_TYPE,
    is_form,
    is_multipart,
)
from orchestrator.definitions.references import ReferencedFiles, at_fragment
from orchestrator.definitions.secret_fields import secret_names
from orchestrator.definitions.security import security_of
from orchestrator.definitions.values import ABSENT
from orchestrator.errors import InvalidDefinition, Problem

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MAX_REFERENCES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiParameter:
    """A parameter that an operation declares."""

    name: str
    place: str  # path, query, header or cookie
    required: bool
    style: str
    explode: bool
    reserved: bool = False  # reserved characters stand as they are
    content: str | None = None  # its media type, where it has `content` in place of a style


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One operation."""

    operation_id: str
    method: str  # upper case
    path: str
    parameters: tuple[ApiParameter, ...]
    content_types: tuple[str, ...]  # of the request body, in the document's order
    body_required: bool
    fields: Mapping[str, FieldRules]  # by content type: how a form's fields are written
    base_url: str | None  # of its first server, when the document names one
    security: Security | None = None  # None: the document says nothing

    def parameter(self, name: str, place: str) -> ApiParameter | None:
        """The declared parameter; header names know no case."""
        return next(
            (
                item for item in self.parameters
                if item.place == place and _same_name(item.name, name, place)
            ),
            None,
        )  # fmt: skip


def _same_name(left: str, right: str, place: str) -> bool:
    return left.lower() == right.lower() if place == "header" else left == right


class OpenApiDocument:
    """One document. Operations are read when they are asked for."""

    def __init__(self, document: Document, path: Path | None = None) -> None:
        self.name, self.path = document.name, path
        self._files = None if path is None else ReferencedFiles(path)
        self._root: Mapping[str, Any] = _mapping(document.value, document.name, "an object")
        self._is_swagger = "swagger" in self._root
        version = str(self._root.get("swagger") or self._root.get("openapi") or "")
        if not version.startswith(("2.0", "3.0", "3.1")):
            found = f"version {version or 'unknown'}"
            raise self._bad("", found, "swagger 2.0, openapi 3.0 or openapi 3.1")

    @staticmethod
    def read(path: Path) -> OpenApiDocument:
        """Read a file; the last few are kept as long as they stay as they are.

        Raises NotFound or InvalidDefinition.
        """
        try:
            seen = path.stat()
        except (OSError, ValueError):
            return _read_file(path, 0, 0)  # which says what is wrong
        found = _read_file(path.resolve(), seen.st_mtime_ns, seen.st_size)
        if found.is_up_to_date:
            return found
        _read_file.cache_clear()
        return _read_file(path.resolve(), seen.st_mtime_ns, seen.st_size)

    @property
    def is_up_to_date(self) -> bool:
        """Whether the files that it refers to, as far as they were read, are as they were."""
        return self._files is None or self._files.are_unchanged

    def operation_ids(self) -> list[str]:
        """All of them, sorted."""
        return sorted(self._index)

    def operation(self, operation_id: str) -> Operation | None:
        """The operation with this id. Raises InvalidDefinition when its definition is broken."""
        places = self._index.get(operation_id, [])
        if len(places) > 1:
            where = " and ".join(f"{method.upper()} {path}" for path, method in places)
            raise self._bad(f"operationId {operation_id}", where, "one operation with this id")
        return self._read(*places[0]) if places else None

    def operation_at(self, path: str, method: str) -> Operation | None:
        """The operation of a path and method."""
        item = self._path_items.get(path)
        return self._read(path, method) if item is not None and method in item else None

    def definition(self, operation: Operation) -> Mapping[str, Any]:
        """What the document says about an operation, the parameters of its path put first."""
        item = self._path_items[operation.path]
        data = item[operation.method.lower()]
        own, shared = data.get("parameters"), item.get("parameters")
        lists = [items for items in (shared, own) if isinstance(items, list)]
        return {**data, "parameters": [raw for items in lists for raw in items]}

    def secret_names(self, operation: Operation) -> tuple[str, ...]:
        """Fields and parameters of an operation whose schemas say that they are secret.

        References that lead nowhere say nothing: no call needs the schemas.
        """
        return secret_names(self.definition(operation), self._followed)

    def _followed(self, part: Any) -> Any:
        try:
            return self._follow(part, "")
        except InvalidDefinition:
            return None

    @property
    def root(self) -> Mapping[str, Any]:
        """The whole document."""
        return self._root

    def operation_by_pointer(self, path: str, method: str | None) -> Operation | None:
        """The operation at `/paths/PATH/METHOD`, the path escaped as in a pointer, or not.

        Without a method: the only operation of the path.
        """
        decoded = unquote(path.replace("~1", "/").replace("~0", "~"))
        for name in (path.replace("~1", "/").replace("~0", "~"), decoded, f"/{decoded}"):
            item = self._path_items.get(name)
            if item is not None:
                known = [method.lower()] if method else [one for one in METHODS if one in item]
                return self.operation_at(name, known[0]) if len(known) == 1 else None
        return None

    # --- reading ----------------------------------------------------------------------------------

    @cached_property
    def _path_items(self) -> dict[str, Mapping[str, Any]]:
        paths = self._root.get("paths", {})
        found = {}
        for path, item in paths.items() if isinstance(paths, Mapping) else ():
            followed = self._follow(item, f"paths {path}") if isinstance(item, Mapping) else None
            if isinstance(followed, Mapping):
                found[path] = followed
        return found

    @cached_property
    def _index(self) -> dict[str, list[tuple[str, str]]]:
        index: dict[str, list[tuple[str, str]]] = {}
        for path, item in self._path_items.items():
            for method in METHODS:
                operation = item.get(method)
                if isinstance(operation, Mapping) and isinstance(operation.get("operationId"), str):
                    index.setdefault(operation["operationId"], []).append((path, method))
        return index

    def _read(self, path: str, method: str) -> Operation:
        item = self._path_items[path]
        data = _mapping(item[method], f"{self.name} {method.upper()} {path}", "an operation")
        place = f"{method.upper()} {path}"
        parameters = dict(self._parameters(item.get("parameters", ()), place))
        parameters.update(self._parameters(data.get("parameters", ()), place))
        content, required = self._body(data, list(parameters.values()), place)
        return Operation(
            operation_id=data.get("operationId") or place, method=method.upper(), path=path,
            parameters=tuple(
                _parameter(raw, place_name) for (_, place_name), raw in parameters.items()
                if place_name in ("path", "query", "header", "cookie")
            ),
            content_types=tuple(content), body_required=required,
            fields={name: self._fields(name, media, place) for name, media in content.items()},
            base_url=self._base_url(data, item),
            security=self._security(data),
        )  # fmt: skip

    def _parameters(
        self, items: Any, place: str
    ) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
        for raw in items if isinstance(items, list) else ():
            parameter = self._follow(raw, place)
            if isinstance(parameter, Mapping) and "name" in parameter and "in" in parameter:
                yield (str(parameter["name"]), str(parameter["in"])), parameter

    def _body(
        self, data: Mapping[str, Any], parameters: list[Mapping[str, Any]], place: str
    ) -> tuple[Mapping[str, Any], bool]:
        """Content by type, and whether a body is required."""
        if self._is_swagger:
            return self._swagger_body(data, parameters)
        body = self._follow(data.get("requestBody", {}), place)
        if not isinstance(body, Mapping):
            return {}, False
        content = body.get("content", {})
        return (content if isinstance(content, Mapping) else {}), bool(body.get("required"))

    def _swagger_body(
        self, data: Mapping[str, Any], parameters: list[Mapping[str, Any]]
    ) -> tuple[Mapping[str, Any], bool]:
        places = {parameter["in"] for parameter in parameters}
        if not places & {"body", "formData"}:
            return {}, False
        types = data.get("consumes") or self._root.get("consumes")
        files = [str(p["name"]) for p in parameters if p.get("type") == "file"]
        if not types:
            form = MULTIPART_TYPE if files else FORM_TYPE
            types = [form if "formData" in places else "application/json"]
        required = any(p.get("required") for p in parameters if p["in"] in ("body", "formData"))
        binary = {name: {"type": "string", "format": "binary"} for name in files}
        media = {"schema": {"properties": binary}} if binary else {}
        return {str(name): media for name in types}, required

    def _fields(self, content_type: str, media: Any, place: str) -> FieldRules:
        """Of a form: how its fields are written, as far as that is not the usual way."""
        if not (is_form(content_type) or is_multipart(content_type)):
            return {}
        return field_rules(content_type, media, lambda value: self._follow(value, place))

    def _base_url(self, data: Mapping[str, Any], item: Mapping[str, Any]) -> str | None:
        if self._is_swagger:
            host, base = self._root.get("host"), self._root.get("basePath", "")
            schemes = self._root.get("schemes") or ["https"]
            return f"{schemes[0]}://{host}{base}".rstrip("/") if host else base or None
        servers = data.get("servers") or item.get("servers") or self._root.get("servers") or []
        if not servers or not isinstance(servers[0], Mapping):
            return None
        url = str(servers[0].get("url", ""))
        variables = servers[0].get("variables", {})
        for name, variable in variables.items() if isinstance(variables, Mapping) else ():
            url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
        return url.rstrip("/") or None

    def _security(self, data: Mapping[str, Any]) -> Security | None:
        """What the operation demands.

        A document that is generated without any scheme says `security: []` everywhere and knows
        nothing of it: that is taken for no word at all.
        """
        said = data.get("security", self._root.get("security"))
        if said == [] and not self._schemes():
            return None
        return security_of(said, self._scheme)

    def _schemes(self) -> Mapping[str, Any]:
        components = self._root if self._is_swagger else self._root.get("components")
        field = "securityDefinitions" if self._is_swagger else "securitySchemes"
        schemes = components.get(field) if isinstance(components, Mapping) else None
        return schemes if isinstance(schemes, Mapping) else {}

    def _scheme(self, name: str) -> Any:
        """What the document says of a security scheme."""
        return self._follow(self._schemes().get(name), f"security scheme {name}")

    def _follow(self, value: Any, place: str) -> Any:
        """Follow `$ref` within the document."""
        for _ in range(_MAX_REFERENCES):
            if not isinstance(value, Mapping) or "$ref" not in value:
                return value
            reference = str(value["$ref"])
            value = self._referenced(reference)
            if value is ABSENT:
                raise self._bad(
                    place, f"$ref {reference}", "a reference inside this document or its folder"
                )
        raise self._bad(place, "references that lead in a circle", "references with an end")

    def _referenced(self, reference: str) -> Any:
        if reference.startswith("#/"):
            return at_fragment(self._root, reference)
        return ABSENT if self._files is None else self._files.get(reference)

    def _bad(self, place: str, found: str, wanted: str) -> InvalidDefinition:
        problem = Problem(place=f"{self.name} {place}".strip(), found=found, wanted=wanted)
        return InvalidDefinition(f"{self.name} cannot be used", problems=[problem])


@lru_cache(maxsize=4)
def _read_file(path: Path, changed_ns: int, size: int) -> OpenApiDocument:
    """Checking a document asks for its sources twice, and those beside it have the same."""
    return OpenApiDocument(read_document(path, limits=SOURCES, with_lines=False), path)


def _mapping(value: Any, place: str, wanted: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        problem = Problem(place=place, found=f"a {type(value).__name__}", wanted=wanted)
        raise InvalidDefinition("the API document cannot be used", problems=[problem])
    return value


_COLLECTIONS = {"ssv": "spaceDelimited", "tsv": "tabDelimited", "pipes": "pipeDelimited"}


def _parameter(raw: Mapping[str, Any], place: str) -> ApiParameter:
    default = "form" if place in ("query", "cookie") else "simple"
    style = str(raw.get("style", default))
    explode = raw.get("explode", style == "form")
    if "collectionFormat" in raw or ("type" in raw and raw["type"] == "array"):  # Swagger 2.0
        said = str(raw.get("collectionFormat", "csv"))
        explode, style = said == "multi", _COLLECTIONS.get(said, default)
    content = raw.get("content")
    media = next(iter(content), None) if isinstance(content, Mapping) else None
    return ApiParameter(
        name=str(raw["name"]), place=place, style=style, explode=bool(explode),
        required=bool(raw.get("required")) or place == "path",
        reserved=raw.get("allowReserved") is True, content=media,
    )  # fmt: skip
