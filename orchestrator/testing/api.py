"""Every API of a lab, and its Python functions: they answer as the script says, and keep book.

An API honours the keys that a step gives it: the same key again is answered as the first time, and
nothing is done twice. Of a step without a key each request that arrives is a new effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import orjson

from orchestrator.core.exchange import FrozenRequest, Outcome, Response
from orchestrator.core.plan import Call, Effects
from orchestrator.core.states import Direction
from orchestrator.errors import HeldUp, InDoubt, NotLanded
from orchestrator.ports import AttemptContext, Store, Transport, facts_of
from orchestrator.testing.definitions import Definition
from orchestrator.testing.faults import RETRY_AFTER_SECONDS, Fault, Link, Way
from orchestrator.testing.loop import VirtualLoop
from orchestrator.testing.scripts import Answer, Script, Sent

PATIENCE_SECONDS = 30.0
"""Of a call without a timeout."""
_ABSENT = Answer(404)
_FAULTY = {
    Fault.REFUSED: Answer(422, {"error": "refused, as the test says"}),
    Fault.BUSY: Answer(429, headers={"retry-after": f"{RETRY_AFTER_SECONDS:g}"}),
    Fault.BROKEN: Answer(500, {"error": "broken, as the test says"}),
}


class NoAnswer(AssertionError):
    """No answer that a step takes can be made up from its API's document."""


class World:
    """What all APIs of a lab have seen and done. Shared by its worker processes."""

    def __init__(
        self, definitions: Mapping[str, Definition], script: Script, store: Store,
        loop: VirtualLoop,
    ) -> None:  # fmt: skip
        self.definitions, self.script, self.loop = definitions, script, loop
        self._store = store
        self.sent: list[Sent] = []
        self._answers: dict[tuple[str, Way], Answer] = {}  # by key: of what was done
        self.failures: list[BaseException] = []
        """What a test itself did wrong: raised when the run is waited for."""

    async def meet(
        self, api: str, request: FrozenRequest, context: AttemptContext
    ) -> tuple[Sent, Definition, Call]:
        """Write a request down as it arrives, or fails to."""
        run = await self._store.run(context.run_id)
        definition = self.definitions[run.workflow]
        link, call = _which(definition, request, context)
        sent = Sent(
            run_id=context.run_id, link=link, at=self.loop.time(), attempt=context.attempt, api=api,
            method=request.method, target=request.target, headers=dict(request.headers),
            body=_readable(request.body), key=request.key, call=call,
            fault=self.script.next_fault(link),
        )  # fmt: skip
        self.sent.append(sent)
        return sent, definition, call

    @contextmanager
    def timed(self, sent: Sent) -> Iterator[None]:
        """Write down when it was over, unless whoever waited for it has died meanwhile."""
        try:
            yield
        except Exception:
            sent.over = self.loop.time()
            raise
        sent.over = self.loop.time()

    def known(self, sent: Sent, call: Call) -> Answer | None:
        """The answer to the same request before, if the API honours its key."""
        if call.effects is not Effects.KEYED:
            return None
        return self._answers.get((sent.key, sent.link.way))

    def is_known(self, sent: Sent) -> bool:
        """Whether the same was done before."""
        return any(
            each.had_effect and each.key == sent.key and each.link == sent.link
            for each in self.sent
        )

    def did(self, sent: Sent, answer: Answer) -> None:
        """Keep what was answered to what was done."""
        self._answers.setdefault((sent.key, sent.link.way), answer)

    def is_done(self, sent: Sent) -> bool:
        """What a verification asks."""
        way = Way.UNDO if sent.link.way is Way.VERIFY_UNDO else Way.DO
        link = Link(sent.link.step, way)
        return any(
            each.had_effect and each.link == link and each.key == sent.key for each in self.sent
        )

    async def answer_to(
        self, sent: Sent, request: FrozenRequest, definition: Definition, call: Call
    ) -> Answer:
        """What the test says, else the first documented answer that the step takes as done."""
        said = self.script.next_reply(sent)
        if said is not None:
            return said
        if sent.link.way.is_verification and not self.is_done(sent):
            return _ABSENT
        run = await self._store.run(sent.run_id)
        facts = facts_of(run, await self._store.steps(sent.run_id))
        index = definition.steps.index(definition.step(sent.link.step))
        way = Direction.BACKWARD if "undo" in sent.link.way else Direction.FORWARD
        for made in definition.documented(call):
            answer = Answer(made.status, made.body, made.headers)
            judged = definition.program.judge(
                index, way, facts, request, _response(answer), verify=sent.link.way.is_verification
            )
            if judged.outcome is Outcome.LANDED and judged.accepted:
                return answer
        raise NoAnswer(
            f"step {sent.link} of {definition.name}: nothing that {call.api} documents for"
            f" {request.method} {request.target} is taken as done; say what it answers:"
            f' lab.answer("{sent.link.step}", …)'
        )


class ApiLink:
    """Implements Transport for one worker process over HTTP."""

    def __init__(self, world: World, kill: Callable[[], None]) -> None:
        self._world, self._kill = world, kill

    async def send(
        self, api: str, request: FrozenRequest, context: AttemptContext, *,
        timeout_seconds: float | None,
    ) -> Response:  # fmt: skip
        """See Transport."""
        context.trail.base = f"test://{api}"
        if not context.trail.counting(context.may_leave)():
            raise HeldUp(api)
        world = self._world
        sent, definition, call = await world.meet(api, request, context)
        with world.timed(sent):
            return await self._answer(sent, request, definition, call, timeout_seconds)

    async def _answer(
        self, sent: Sent, request: FrozenRequest, definition: Definition, call: Call,
        timeout_seconds: float | None,
    ) -> Response:  # fmt: skip
        world = self._world
        if sent.fault is not None and not sent.fault.has_effect:
            return await self._fail(sent, timeout_seconds)
        answer = world.known(sent, call)
        if answer is None:
            answer = await self._done(sent, request, definition, call)
        if sent.fault is not None:
            return await self._fail(sent, timeout_seconds)
        patience = timeout_seconds or PATIENCE_SECONDS
        await asyncio.sleep(min(answer.seconds, patience))
        if answer.seconds > patience:
            raise InDoubt("no answer within the time")
        sent.status = answer.status
        return _response(answer)

    async def _done(
        self, sent: Sent, request: FrozenRequest, definition: Definition, call: Call
    ) -> Answer:
        world = self._world
        try:
            answer = await world.answer_to(sent, request, definition, call)
        except Exception as error:
            world.failures.append(error)  # the test's own, so no outcome of the step
            raise
        if answer.status < 400 and call.effects is not Effects.NONE:
            sent.had_effect = True
            world.did(sent, answer)
        return answer

    async def _fail(self, sent: Sent, timeout_seconds: float | None) -> Response:
        fault = sent.fault
        if fault in _FAULTY:
            answer = _FAULTY[fault]
            await asyncio.sleep(answer.seconds)
            sent.status = answer.status
            return _response(answer)
        return await _mishap(fault, timeout_seconds, self._kill)


class TaskLink:
    """Implements Transport for Python functions: they are called, unless the test answers."""

    def __init__(self, world: World, functions: Transport, kill: Callable[[], None]) -> None:
        self._world, self._functions, self._kill = world, functions, kill

    async def send(
        self, api: str, request: FrozenRequest, context: AttemptContext, *,
        timeout_seconds: float | None,
    ) -> Response:  # fmt: skip
        """See Transport."""
        if not context.may_leave():
            raise HeldUp(f"task {request.target}")
        world = self._world
        sent, _, call = await world.meet(api, request, context)
        with world.timed(sent):
            return await self._answer(sent, request, context, call, timeout_seconds)

    async def _answer(
        self, sent: Sent, request: FrozenRequest, context: AttemptContext, call: Call,
        timeout_seconds: float | None,
    ) -> Response:  # fmt: skip
        world, fault = self._world, sent.fault
        if fault is not None and not fault.has_effect:
            await self._fail(fault, call, timeout_seconds)
        said = world.script.next_reply(sent)
        if said is None:
            response = await self._functions.send(
                sent.api, request, context, timeout_seconds=timeout_seconds
            )
        else:
            await asyncio.sleep(said.seconds)
            response = _told(said)
        sent.status = response.status
        again = call.effects is Effects.KEYED and world.is_known(sent)
        sent.had_effect = call.effects is not Effects.NONE and not again
        if fault is not None:
            await self._fail(fault, call, timeout_seconds)
        return response

    async def _fail(self, fault: Fault, call: Call, timeout_seconds: float | None) -> NoReturn:
        if fault is Fault.REFUSED:
            raise NotLanded("refused, as the test says")
        if fault is Fault.BUSY:
            raise NotLanded("busy", retryable=True, retry_after_seconds=RETRY_AFTER_SECONDS)
        if fault is Fault.BROKEN and call.effects is Effects.NONE:
            raise NotLanded("broken, as the test says", retryable=True)
        await _mishap(fault, timeout_seconds, self._kill)


async def _mishap(
    fault: Fault | None, timeout_seconds: float | None, kill: Callable[[], None]
) -> NoReturn:
    match fault:
        case Fault.UNREACHABLE:
            raise NotLanded("connection refused", retryable=True)
        case Fault.TIMEOUT:
            await asyncio.sleep(timeout_seconds or PATIENCE_SECONDS)
            raise InDoubt("no answer within the time")
        case Fault.KILLED_BEFORE | Fault.KILLED_AFTER:
            kill()
            await asyncio.get_running_loop().create_future()  # a dead process waits for ever
    raise InDoubt("the connection was lost after the request may have left")


def _told(said: Answer) -> Response:
    """A function's result, or what it raises. Raises NotLanded, InDoubt."""
    if said.status < 400:
        return _response(said)
    if said.status >= 500:
        raise InDoubt(f"answered {said.status}, as the test says")
    raise NotLanded(
        f"answered {said.status}, as the test says", retryable=said.status in (408, 425, 429)
    )


def _which(
    definition: Definition, request: FrozenRequest, context: AttemptContext
) -> tuple[Link, Call]:
    """The link that a request is of: its verification is known by method and path alone."""
    undo = context.direction is Direction.BACKWARD
    link = Link(context.step_id, Way.of(undo=undo, verify=False))
    asking = Link(context.step_id, Way.of(undo=undo, verify=True))
    calls = definition.calls(link)
    for call in definition.calls(asking):
        if _is_of(call, request) and not any(_is_of(each, request) for each in calls):
            return asking, call
    return link, next((call for call in calls if _is_of(call, request)), calls[0])


def _is_of(call: Call, request: FrozenRequest) -> bool:
    if call.task_name is not None:
        return request.method == "TASK" and request.target == call.task_name
    path, method = str(call.template["path"]), str(call.template["method"])
    if method != request.method:
        return False
    given = request.target.partition("?")[0].split("/")
    parts = path.split("/")
    return len(given) == len(parts) and all(
        wanted == got or "{" in wanted for wanted, got in zip(parts, given, strict=True)
    )


def _response(answer: Answer) -> Response:
    body, headers = answer.body, {k.lower(): v for k, v in answer.headers.items()}
    if body is None:
        return Response(status=answer.status, headers=headers, seconds=answer.seconds)
    if isinstance(body, bytes):
        return Response(status=answer.status, headers=headers, body=body, seconds=answer.seconds)
    headers.setdefault("content-type", "application/json")
    return Response(
        status=answer.status, headers=headers, body=orjson.dumps(body), seconds=answer.seconds
    )


def _readable(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
