"""Operations that only look are looks: a replica of the database may answer them, and says so.

What decides is none: whoever acts, and whoever waits for a run's end, is answered by the primary.
An act is remembered with its key: what that client looks at next contains it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute

from orchestrator.api.asking import services_of
from orchestrator.ports.looking import Look, Looking, looked

T = TypeVar("T")

AGE_HEADER = "X-Data-Age"
"""On what a replica answered: seconds. What is answered without it is as it was just now."""
WAITING = "wait"
"""The query parameter of whoever waits for something to happen."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class LookingRoute(APIRoute):
    """Of a router whose GETs only look."""

    def get_route_handler(self) -> Handler:
        """See APIRoute."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            looking, client = services_of(request).looking, client_of(request)
            if request.method != "GET":
                try:
                    return await answer(request)
                finally:  # refused or not: who was told that something has changed reads it anew
                    looking.acted(client)
            if WAITING in request.query_params:
                return await answer(request)
            look = look_of(request, looking)
            response = await looked(looking, look, lambda: answer(request))
            if look.age_seconds is not None:
                response.headers[AGE_HEADER] = f"{look.age_seconds:.3f}"
            return response

        return handle


async def through(looking: Looking, look: Look, lines: AsyncIterator[T]) -> AsyncIterator[T]:
    """What is read after the answer has begun belongs to the same look."""
    while True:
        with looking.within(look):
            try:
                line = await anext(lines)
            except StopAsyncIteration:
                return
        yield line


def client_of(request: Request) -> str:
    """Who acts and looks, as far as it has to be told apart: whose key it is."""
    return request.headers.get("authorization", "").rpartition(" ")[2]


def look_of(request: Request, looking: Looking) -> Look:
    """The look that this request is, from its first question on."""
    if not hasattr(request.state, "look"):
        request.state.look = looking.begin(client_of(request))
    look: Look = request.state.look
    return look
