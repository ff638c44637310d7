"""Steps that ask and wait: the run sleeps in the table, in nobody's hands, until it is answered.

The commit that lets the run go is the one that opens the wait and looks for an answer, in one
transaction under the run's lock. So an answer either is seen by it, and the run stays here and goes
on, or it finds the run asleep and wakes it. A second look, once a day, is for what nobody foresaw.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson

from orchestrator.core import events as e
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.saga import Decision, Perform
from orchestrator.definitions.program import Program
from orchestrator.engine.answering import Answer
from orchestrator.engine.deps import Deps
from orchestrator.engine.ledger import At
from orchestrator.engine.showing import Showing
from orchestrator.engine.standing import Standing
from orchestrator.ports import Asks, Awaited, LinkWrite, NewWait, StepEnd, WaitOutcome, WaitRecord
from orchestrator.telemetry.redact import hidden

LONGEST_SLEEP = timedelta(days=1)
_JSON = {"content-type": "application/json"}


async def until_answered(
    at: At, request: FrozenRequest, run: Standing, shown: Showing, deps: Deps
) -> WaitRecord | Decision | None:
    """Ask, and let go of the run (None) unless there is an answer, or something else to do."""
    wait = (await _asked(at, request, run, deps)).wait
    if run.cancel_is_open:  # it has not been released then
        return run.take_cancel_wish() or run.apply(e.Resumed())
    if wait.is_open:
        shown.end(StepEnd.RETRIED, f"waits for {wait.signal or 'a decision'}")
        return None
    decision = run.apply(e.Resumed())
    if decision.command != Perform(step=at[0], direction=at[1]):
        return decision  # the answer is too late for the run
    return wait


def answered(
    at: At, request: FrozenRequest, wait: WaitRecord, run: Standing, program: Program
) -> Answer:
    """The answer to a wait that is over, as one to any call. Its attempt has begun."""
    run.apply(e.Began())
    response = answer_of(wait)
    judgement = program.judge(run.plan_index(at), at[1], run.facts_at(at), request, response)
    seconds = (run.decided_at - wait.opened_at).total_seconds()
    return Answer(
        judgement=judgement, response=response, started_at=wait.opened_at, seconds=seconds
    )


async def _asked(at: At, request: FrozenRequest, run: Standing, deps: Deps) -> Awaited:
    """Commit the question, unless it was asked before, with the run's release."""
    now = deps.clock.now()
    asked = orjson.loads(request.body)
    is_first = run.saga.link(*at).first_started_at is None
    until = min(now + LONGEST_SLEEP, run.deadline or now + LONGEST_SLEEP)
    run.apply(e.Awaited(until=until))
    run.ledger.change(
        at,
        LinkWrite(
            step=at[0], direction=at[1], link=run.saga.link(*at), request=request,
            started_at=now if is_first else None,
        ),
    )  # fmt: skip
    if is_first:
        run.audit("asked", at, {"asks": request.target, "signal": asked.get("signal")})
    timeout = asked.get("timeout")
    return await run.sleep(
        NewWait(
            id=deps.new_id(), run_id=run.ledger.run.id, step=at[0],
            attempt=run.saga.link(*at).attempts + 1, step_id=run.step_id(at),
            asks=Asks(request.target), signal=asked.get("signal"), asked=_to_show(asked),
            expires_at=None if timeout is None else now + timedelta(seconds=timeout),
            remind_seconds=asked.get("remind"),
        )
    )  # fmt: skip


def _to_show(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked, without secrets in what people read of it."""
    return {
        name: hidden(value) if name in ("message", "show") else value
        for name, value in asked.items()
    }


def answer_of(wait: WaitRecord) -> Response:
    """What was answered, as an answer of any call: 200, 403 (rejected) or 408 (nobody did)."""
    answer: Mapping[str, Any] = wait.answer or {}
    match wait.outcome:
        case WaitOutcome.ANSWERED | WaitOutcome.APPROVED:
            return _response(200, answer)
        case WaitOutcome.REJECTED:
            why = f": {answer['reason']}" if answer.get("reason") else ""
            return _response(403, {**answer, "message": f"rejected by {wait.closed_by}{why}"})
        case WaitOutcome.EXPIRED if "default" in wait.asked:
            return _response(200, wait.asked["default"])
        case _:
            whom = f"the signal {wait.signal}" if wait.asks is Asks.SIGNAL else "a decision"
            within = f" within {wait.asked['timeout']:g} s" if "timeout" in wait.asked else ""
            return _response(408, {"message": f"nobody sent {whom}{within}"})


def _response(status: int, body: Mapping[str, Any]) -> Response:
    return Response(status=status, headers=_JSON, body=orjson.dumps(body))
