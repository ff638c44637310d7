"""What calls of Python functions end in."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.states import Direction
from orchestrator.definitions.tasks import TaskContext, TaskRegistry, task, task_of
from orchestrator.engine.tasks import TaskTransport
from orchestrator.errors import InDoubt, NotLanded
from orchestrator.ports import AttemptContext

CONTEXT = AttemptContext(
    run_id="run-1", step_id="price", attempt=2, direction=Direction.FORWARD, tenant="acme"
)
Send = Callable[..., Any]


@pytest.fixture
async def call() -> AsyncIterator[Send]:
    """Calls one function through a transport with two threads."""
    transports: list[TaskTransport] = []

    async def send(
        function: Callable[..., Any], arguments: object = None, timeout: float | None = None
    ) -> Response:
        made = task_of(function)
        assert made is not None
        if not transports:
            transports.append(TaskTransport(TaskRegistry([made]), threads=2))
        request = FrozenRequest(
            method="TASK", target=made.name, body=json.dumps(arguments or {}).encode(), key="k"
        )
        return await transports[0].send("tasks", request, CONTEXT, timeout_seconds=timeout)

    yield send
    for transport in transports:
        await transport.aclose()


@task(effects="none")
def double(number: int) -> dict[str, int]:
    return {"number": number * 2, "thread": threading.get_ident()}


@task(effects="none")
async def double_async(number: int) -> dict[str, int]:
    return {"number": number * 2, "thread": threading.get_ident()}


async def test_plain_functions_run_in_threads_and_async_ones_in_the_loop(call: Send) -> None:
    answer = await call(double, {"number": 4})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.body)["number"] == 8
    assert json.loads(answer.body)["thread"] != threading.get_ident()


async def test_async_functions_run_in_the_loop(call: Send) -> None:
    answer = await call(double_async, {"number": 4})
    assert json.loads(answer.body) == {"number": 8, "thread": threading.get_ident()}


@task(effects="keyed")
def who(context: TaskContext) -> dict[str, Any]:
    return {"key": context.idempotency_key, "attempt": context.attempt, "run": context.run_id}


async def test_a_function_that_wants_its_context_gets_it(call: Send) -> None:
    answer = await call(who)
    assert json.loads(answer.body) == {"key": "k", "attempt": 2, "run": "run-1"}


async def test_an_unknown_task_did_not_run_and_may_be_known_elsewhere() -> None:
    transport = TaskTransport(TaskRegistry(), threads=1)
    with pytest.raises(NotLanded, match=r"tasks\.gone is not registered in this worker") as caught:
        await transport.send(
            "tasks", FrozenRequest(method="TASK", target="tasks.gone"), CONTEXT, timeout_seconds=1
        )
    assert caught.value.retryable


@pytest.mark.parametrize("arguments", [{}, {"number": 1, "other": 2}, [1]])
async def test_arguments_that_do_not_fit_are_not_worth_another_try(
    call: Send, arguments: object
) -> None:
    with pytest.raises(NotLanded, match="cannot be called") as caught:
        await call(double, arguments)
    assert not caught.value.retryable
    assert not caught.value.settles_doubt  # an earlier attempt may have been made


def failing(effects: str, error: BaseException, *, is_async: bool) -> Callable[..., Any]:
    if is_async:

        @task(name="failing", effects=effects)
        async def function() -> None:
            raise error
    else:

        @task(name="failing", effects=effects)
        def function() -> None:
            raise error

    return function


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3)])
async def test_an_exception_means_doubt_unless_there_is_no_effect(
    call: Send, error: BaseException, is_async: bool
) -> None:
    with pytest.raises(InDoubt, match=f"{type(error).__name__}: {error}"):
        await call(failing("unkeyed", error, is_async=is_async))


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_exception_without_effect_is_worth_another_try(call: Send, is_async: bool) -> None:
    with pytest.raises(NotLanded, match="ValueError: bad") as caught:
        await call(failing("none", ValueError("bad"), is_async=is_async))
    assert caught.value.retryable


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    "error", [NotLanded("no stock"), NotLanded("later", retryable=True), InDoubt("who knows")]
)
async def test_what_a_function_says_itself_is_believed(
    call: Send, error: NotLanded | InDoubt, is_async: bool
) -> None:
    with pytest.raises(type(error)) as caught:
        await call(failing("none", error, is_async=is_async))
    assert caught.value is error


@task(effects="unkeyed")
async def slow_async() -> None:
    await asyncio.sleep(30)


@task(effects="none")
def slow_plain(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_function_out_of_time_is_in_doubt(call: Send) -> None:
    with pytest.raises(InDoubt, match=r"no result within 0\.05 s"):
        await call(slow_async, timeout=0.05)


async def test_an_async_function_may_wait_often_and_handle_what_interrupts_it(call: Send) -> None:
    ended: list[str] = []

    @task(effects="none")
    async def patient() -> dict[str, int]:
        values = [await asyncio.sleep(0, number) for number in range(3)]
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            values.append(await asyncio.wait_for(asyncio.sleep(0.001, 7), 5))
        return {"sum": sum(values)}

    @task(effects="none")
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
            ended.append("cleaned up")
            raise

    assert json.loads((await call(patient)).body) == {"sum": 0 + 1 + 2 + 7}
    transport = TaskTransport(TaskRegistry([made := task_of(stubborn)]), threads=1)
    request = FrozenRequest(method="TASK", target=made.name, key="k")
    with pytest.raises(NotLanded, match="no result within"):
        await transport.send("tasks", request, CONTEXT, timeout_seconds=0.02)
    assert ended == ["cleaned up"]
    await transport.aclose()


async def test_a_call_that_never_got_a_thread_did_not_run(call: Send) -> None:
    busy = [asyncio.create_task(call(slow_plain, {"seconds": 0.4})) for _ in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises(NotLanded, match="no free thread") as caught:
        await call(slow_plain, {"seconds": 0}, timeout=0.05)
    assert caught.value.retryable
    await asyncio.gather(*busy)


@dataclass
class Total:
    total: int


@pytest.mark.parametrize(
    ("result", "body"), [(None, {}), ({"a": [1, None]}, {"a": [1, None]}), (Total(3), {"total": 3})]
)
async def test_results_are_json_objects(call: Send, result: object, body: object) -> None:
    @task(effects="none")
    def give() -> Any:
        return result

    assert json.loads((await call(give)).body) == body


@pytest.mark.parametrize("result", [[1], "text", {"a": object()}, {"a": {1, 2}}])
@pytest.mark.parametrize(("effects", "outcome"), [("none", NotLanded), ("keyed", InDoubt)])
async def test_other_results_leave_the_effect_in_doubt(
    call: Send, result: object, effects: Any, outcome: type[Exception]
) -> None:
    @task(effects=effects)
    def give() -> Any:
        return result

    with pytest.raises(outcome, match="returned"):
        await call(give)
