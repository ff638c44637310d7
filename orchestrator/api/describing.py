"""What the OpenAPI document says of every operation alike, so that no route has to.

Which statuses an operation may answer with follows in part from its form: who needs a key may lack
it, who sends JSON may send none. These are worked out here, for all routes; a route documents what
is its own alone (404, 409, 412, 428 …). A test provokes each status of each operation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fastapi import FastAPI

from orchestrator.api import problems

_GONE = ("HTTPValidationError", "ValidationError")
_JSON = "application/json"


def describe(app: FastAPI, *, without_database: Collection[str]) -> None:
    """Let the application's document speak of problem documents, and of all that may happen.

    `without_database`: operations that need nothing of it, hence answer when it is away.
    """
    made = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = made()
        _use_problem_documents(document["components"]["schemas"])
        for item in document["paths"].values():
            for operation in item.values():
                reaches = operation["operationId"] not in without_database
                _follow_from_form(operation, needs_database=reaches)
        return document

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _use_problem_documents(schemas: dict[str, Any]) -> None:
    shape = problems.ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(shape.pop("$defs"))
    schemas["ProblemDocument"] = shape
    for gone in _GONE:
        schemas.pop(gone, None)


def _follow_from_form(operation: dict[str, Any], *, needs_database: bool) -> None:
    """Put in what follows from its form, and take out what cannot be."""
    responses = operation["responses"]
    follows = set(statuses_of(operation, needs_database=needs_database))
    for status in DERIVED - follows:
        responses.pop(str(status), None)
    documented = problems.documented(*sorted(follows))
    responses.update({str(status): said for status, said in documented.items()})
    operation["responses"] = dict(sorted(responses.items()))


DERIVED = frozenset({400, 401, 403, 413, 422, 429, 503})


def statuses_of(operation: Mapping[str, Any], *, needs_database: bool) -> Iterator[int]:
    """Those of DERIVED that an operation of this form may answer with."""
    content = operation.get("requestBody", {}).get("content", {})
    yield 403  # the key's role or tenant; without keys, a page or a name from elsewhere
    if operation.get("security"):
        yield 401
    if _JSON in content:
        yield 400
    if content:
        yield 413
    if _JSON in content or operation.get("parameters"):
        yield 422
    if needs_database:
        yield 429  # its connections are all in use, or more runs wait than may
        yield 503
