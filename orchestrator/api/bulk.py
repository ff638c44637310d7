"""Many submissions as lines of JSON, each answered for itself."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Content, StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.api import problems, shapes
from orchestrator.api.wishes import submission_of
from orchestrator.errors import InvalidInput, OrchestratorError, Problem, RefusedError
from orchestrator.ports import Accepted
from orchestrator.service.principal import Principal
from orchestrator.service.submitting import LARGEST_INSERT, Submission, Submitter

MEDIA_TYPE = "application/x-ndjson"
LONGEST_LINE = 4 * 1024 * 1024
LARGEST_BODY = 4 * 1024 * 1024 * 1024
"""It is never held as a whole."""


class Lines(StreamingResponse):
    """An answer that is written while the request is still read, from its first lines on.

    Starlette's own would listen for the client's end meanwhile, and swallow what is yet to be read.
    It would also begin before anything was read: proxies that do not send and receive at once over
    HTTP/1.1 (those in Go, Caddy among them) then give up the rest of the request.
    """

    media_type = MEDIA_TYPE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pieces = aiter(self.body_iterator)
        first = await anext(pieces, None)
        self.body_iterator = _joined(first, pieces)
        await self.stream_response(send)


async def _joined(first: Content | None, others: AsyncIterator[Content]) -> AsyncIterator[Content]:
    if first is not None:
        yield first
    async for each in others:
        yield each


@dataclass(frozen=True, slots=True)
class Wish:
    """A line that could be read."""

    line: int
    submission: Submission


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that could not, or that was refused."""

    line: int
    error: OrchestratorError


Read = Wish | Refusal


def require_lines(content_type: str) -> None:
    """Raises HTTPException 415 for another media type."""
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise HTTPException(415, f"found {content_type or 'no content type'}; wanted {MEDIA_TYPE}")


async def lines(stream: AsyncIterable[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Each line that is not empty, with its number from 1.

    A line longer than LONGEST_LINE is cut there, and so is no JSON.
    """
    rest, number = b"", 0
    async for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            if line.strip():
                yield number, line
        rest = rest[:LONGEST_LINE]
    if rest.strip():
        yield number + 1, rest


async def answers(
    given: AsyncIterable[tuple[int, bytes]], who: Principal, submitter: Submitter
) -> AsyncIterator[bytes]:
    """One line for each, in order."""
    chunk: list[Read] = []
    async for number, line in given:
        chunk.append(_read(number, line, who))
        if len(chunk) == LARGEST_INSERT:
            yield await _answer(chunk, submitter)
            chunk = []
    if chunk:
        yield await _answer(chunk, submitter)


def _read(number: int, line: bytes, who: Principal) -> Read:
    try:
        wish = shapes.SubmitLine.model_validate(orjson.loads(line))
        return Wish(number, submission_of(wish, who, wish.idempotency_key))
    except orjson.JSONDecodeError as error:
        found = [Problem(place=f"line {number}", found=str(error), wanted="one JSON object")]
    except ValidationError as error:
        found = [
            Problem(
                place=f"line {number}, /{'/'.join(map(str, item['loc']))}",
                found=repr(item["input"])[: problems.LONGEST_FOUND], wanted=item["msg"],
            )
            for item in error.errors()
        ]  # fmt: skip
    except RefusedError as error:
        return Refusal(number, error)
    return Refusal(number, InvalidInput("the line is not valid", problems=found))


async def _answer(chunk: Sequence[Read], submitter: Submitter) -> bytes:
    wishes = [each for each in chunk if isinstance(each, Wish)]
    told = dict(zip((each.line for each in wishes), await _submit(wishes, submitter), strict=True))
    bodies = [
        _body(each.line, each.error if isinstance(each, Refusal) else told[each.line])
        for each in chunk
    ]
    return b"".join(orjson.dumps(body) + b"\n" for body in bodies)


async def _submit(
    wishes: Sequence[Wish], submitter: Submitter
) -> list[Accepted | OrchestratorError]:
    """What became of each. Where some are refused, the halves are tried for themselves."""
    if not wishes:
        return []
    try:
        return list(await submitter.submit([each.submission for each in wishes]))
    except RefusedError as error:
        if len(wishes) == 1:
            return [error]
    except OrchestratorError as error:  # no room, no database: true of all of them
        return [error] * len(wishes)
    half = len(wishes) // 2
    return [
        *await _submit(wishes[:half], submitter),
        *await _submit(wishes[half:], submitter),
    ]


def _body(line: int, told: Accepted | OrchestratorError) -> dict[str, Any]:
    if isinstance(told, Accepted):
        return {"line": line, "run_id": told.run_id, "repeated": told.repeated}
    return {"line": line, "problem": problems.document_of(told)}
