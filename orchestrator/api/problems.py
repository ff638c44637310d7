"""Errors as `application/problem+json` (RFC 9457), with place, found and wanted of each problem."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from orchestrator import errors

MEDIA_TYPE = "application/problem+json"
LONGEST_FOUND = 200
_WITH_PROBLEMS = errors.RefusedError | errors.Overloaded


class PreconditionFailed(errors.Conflict):
    """The thing is not as the request's If-Match says."""


class TooLarge(errors.RefusedError):
    """The body is larger than is read."""


class PreconditionRequired(errors.RefusedError):
    """A decision must say what it was decided on, in If-Match."""


_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (PreconditionFailed, 412),
    (TooLarge, 413),
    (PreconditionRequired, 428),
    (errors.NotAuthenticated, 401),
    (errors.NotAllowed, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.IllegalTransition, 409),
    (errors.StaleOwner, 409),
    (errors.RefusedError, 422),
    (errors.Overloaded, 429),
    (errors.Unavailable, 503),
)


class OneProblem(BaseModel):
    """One thing that is wrong."""

    place: str = Field(description="A field as a JSON pointer, a header, a parameter, a run …")
    found: str
    wanted: str


class ProblemDocument(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: str = Field(examples=["/problems/conflict"])
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    detail: str = Field(examples=["the escalation has moved on"])
    problems: list[OneProblem] = Field(default_factory=list)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Every error of ours, of FastAPI and of Starlette leaves as a problem document."""
    app.add_exception_handler(errors.OrchestratorError, _ours)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _of_http)


def status_of(error: Exception) -> int:
    """The HTTP status that stands for this kind of error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def document_of(error: errors.OrchestratorError) -> dict[str, Any]:
    """The body for an error of ours."""
    if not isinstance(error, _WITH_PROBLEMS):
        return _document(status_of(error), str(error), [])
    problems = [
        {"place": each.place, "found": each.found, "wanted": each.wanted} for each in error.problems
    ]
    return _document(status_of(error), error.message, problems)


def problem_response(error: errors.OrchestratorError) -> JSONResponse:
    """The whole answer to an error of ours."""
    headers = {}
    if isinstance(error, errors.Overloaded):
        headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    elif isinstance(error, errors.Unavailable):
        headers["Retry-After"] = "1"
    elif isinstance(error, errors.NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="orchestrator"'
    return _response(document_of(error), headers)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.OrchestratorError)
    return problem_response(error)


async def _not_valid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    broken = any(item["type"] == "json_invalid" for item in found)
    problems = [_problem_of(item) for item in found]
    detail = "the body is not JSON" if broken else "the request is not valid"
    return _response(_document(400 if broken else 422, detail, problems))


async def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    return _response(_document(error.status_code, detail, []), dict(error.headers or {}))


def _problem_of(item: Mapping[str, Any]) -> dict[str, str]:
    where, *path = item["loc"]
    if item["type"] == "json_invalid":
        error = str(item.get("ctx", {}).get("error", ""))
        return {"place": f"body, character {path[0]}", "found": error, "wanted": "JSON"}
    pointer = "".join(f"/{part}" for part in path)
    place = f"body {pointer or '/'}" if where == "body" else f"{where} {'.'.join(map(str, path))}"
    missing = item["type"] == "missing"
    found = "nothing" if missing else repr(item.get("input"))[:LONGEST_FOUND]
    return {"place": place, "found": found, "wanted": str(item["msg"])}


def _document(status: int, detail: str, problems: list[dict[str, str]]) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    slug = title.lower().replace(" ", "-")
    return {
        "type": f"/problems/{slug}", "title": title, "status": status, "detail": detail,
        "problems": problems,
    }  # fmt: skip


def _response(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(body, body["status"], headers=headers, media_type=MEDIA_TYPE)
