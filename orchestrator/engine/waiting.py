"""Steps that wait: the run sleeps in the table, in nobody's hands, until it is answered.

The commit that lets the run go is the one that opens the wait and looks for an answer, in one
transaction under the run's lock. So an answer either is seen by it, and the run stays here and goes
on, or it finds the run asleep and wakes it. A second look, once a day, is for what nobody foresaw.
A sleep is a wait that nobody answers: the end of its time is its answer, and nobody looks before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from orchestrator import crashpoints
from orchestrator.core import events as e
from orchestrator.core.blocks import FORK_METHOD
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.maps import EACH_METHOD
from orchestrator.core.saga import Decision, Perform
from orchestrator.core.states import Direction, RunStatus
from orchestrator.definitions.blocks import judgement_of
from orchestrator.definitions.children import CHILD_METHOD, UNDO_METHOD
from orchestrator.definitions.maps import (
    asked_of,
    counted,
    failed,
    is_map,
    is_undo_of_map,
    why_failed,
)
from orchestrator.definitions.program import Program
from orchestrator.definitions.waiting import WAIT_METHOD, instant_of
from orchestrator.engine.answering import Answer
from orchestrator.engine.children import Begun, Opening
from orchestrator.engine.deps import Deps
from orchestrator.engine.ledger import At
from orchestrator.engine.showing import Showing
from orchestrator.engine.standing import Standing
from orchestrator.ports import Asks, Awaited, LinkWrite, NewWait, StepEnd, WaitOutcome, WaitRecord
from orchestrator.telemetry.redact import hidden

LONGEST_SLEEP = timedelta(days=1)
_JSON = {"content-type": "application/json"}


async def until_answered(
    at: At, opening: Opening, run: Standing, shown: Showing, deps: Deps
) -> WaitRecord | Decision | None:
    """Ask, and let go of the run (None) unless there is an answer, or something else to do."""
    request = opening.request
    await run.end_sleep()
    slept = await _slept(at, request, run, deps)
    if slept is not None:
        return slept
    wait = (await _asked(at, opening, run, deps)).wait
    if wait.is_open and _is_of_map(at, run):
        await deps.children.maps.told(wait.id)
    if run.cancel_is_open:  # it has not been released then
        return run.take_cancel_wish() or run.apply(e.Resumed())
    if wait.is_open:
        shown.end(StepEnd.RETRIED, f"waits for {_said(wait)}")
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
    response, answer = answer_of(wait), wait.answer or {}
    if wait.asks is Asks.BLOCK:
        judgement = judgement_of(answer)
    elif wait.asks is Asks.MAP and not answer["accepted"]:
        judgement = failed(answer)
    else:
        judgement = program.judge(run.plan_index(at), at[1], run.facts_at(at), request, response)
    seconds = (run.decided_at - wait.opened_at).total_seconds()
    return Answer(
        judgement=judgement, response=response, started_at=wait.opened_at, seconds=seconds
    )


async def _slept(at: At, request: FrozenRequest, run: Standing, deps: Deps) -> WaitRecord | None:
    """A sleep that was begun before and is over. There is nothing to commit before its outcome."""
    if request.method != WAIT_METHOD or request.target != Asks.SLEEP:
        return None
    if run.saga.link(*at).first_started_at is None:
        return None
    asks, asked = _question(request)
    found = await run.look(_new_wait(at, asks, asked, run, deps))
    return None if found is None or found.is_open else found


def _is_of_map(at: At, run: Standing) -> bool:
    """Whether items have to begin, now that it waits, or may have to."""
    call = run.saga.call(*at)
    return is_map(call) or is_undo_of_map(call)


async def _asked(at: At, opening: Opening, run: Standing, deps: Deps) -> Awaited:
    """Commit the question, unless it was asked before, with the run's release."""
    request, begun = opening.request, opening.begun
    now = deps.clock.now()
    asks, asked = _question(request)
    is_first, over_at = run.saga.link(*at).first_started_at is None, _over_at(asked, now)
    look_at = over_at if asks is Asks.SLEEP and over_at is not None else now + LONGEST_SLEEP
    until = min(look_at, run.deadline or look_at)
    run.apply(e.Awaited(until=until))
    run.ledger.change(
        at,
        LinkWrite(
            step=at[0], direction=at[1], link=run.saga.link(*at), request=request,
            started_at=now if is_first else None,
        ),
    )  # fmt: skip
    if is_first:
        told = {"until": over_at.isoformat()} if over_at and asks is Asks.SLEEP else {}
        run.audit("asked", at, {"asks": asks, "signal": asked.get("signal"), **told})
    wait = _new_wait(at, asks, asked, run, deps, over_at)
    found = await run.sleep(wait, [each.child for each in begun], opening.map)
    if begun and found.wait.id == wait.id:
        await _publish(begun, run, deps)
    return found


def _new_wait(
    at: At, asks: Asks, asked: Mapping[str, Any], run: Standing, deps: Deps,
    over_at: datetime | None = None,
) -> NewWait:  # fmt: skip
    attempt = run.saga.link(*at).attempts + 1
    return NewWait(
        id=deps.new_id(), run_id=run.ledger.run.id, step=at[0],
        attempt=attempt if at[1] is Direction.FORWARD else -attempt, step_id=run.step_id(at),
        asks=asks, signal=asked.get("signal"), asked=_to_show(asked), expires_at=over_at,
        remind_seconds=asked.get("remind"),
    )  # fmt: skip


async def _publish(begun: Sequence[Begun], run: Standing, deps: Deps) -> None:
    """The children's first wake-ups; the sweep finds those whose message is lost."""
    if crashpoints.hook is not None:
        await run.reach("before_publish")
    for each in begun:
        await deps.outbox.submit(each.hint)
    if crashpoints.hook is not None:
        await run.reach("after_publish")


def _question(request: FrozenRequest) -> tuple[Asks, Mapping[str, Any]]:
    """Whom a request asks, and what it tells them."""
    if request.method == CHILD_METHOD:
        return Asks.CHILD, {"workflow": request.target}
    if request.method == UNDO_METHOD:
        return Asks.UNDO, {}
    if request.method == EACH_METHOD:
        return Asks.MAP, {"workflow": request.target, "items": asked_of(request)[2]}
    if request.method == FORK_METHOD:
        return Asks.BLOCK, {"branches": list(orjson.loads(request.body))}
    return Asks(request.target), orjson.loads(request.body)


def _said(wait: WaitRecord) -> str:
    match wait.asks:
        case Asks.SIGNAL:
            return str(wait.signal)
        case Asks.CHILD:
            return f"a run of {wait.asked['workflow']}"
        case Asks.UNDO:
            return "the run that undoes it"
        case Asks.MAP:
            return f"{wait.asked['items']} runs of {wait.asked['workflow']}"
        case Asks.BLOCK:
            return f"{len(wait.asked['branches'])} branches"
        case Asks.SLEEP:
            return f"{wait.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        case _:
            return "a decision"


def _over_at(asked: Mapping[str, Any], now: datetime) -> datetime | None:
    """When its time is over, for a wait that is opened now. None: never."""
    if "until" in asked:
        return instant_of(asked["until"])
    seconds = asked.get("for", asked.get("timeout"))
    return None if seconds is None else now + timedelta(seconds=seconds)


def _to_show(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked, without secrets in what people read of it."""
    return {
        name: hidden(value) if name in ("message", "show") else value
        for name, value in asked.items()
    }


def answer_of(wait: WaitRecord) -> Response:
    """What was answered, as an answer of any call: 200, 403 (rejected) or 408 (nobody did)."""
    answer: Mapping[str, Any] = wait.answer or {}
    if wait.asks is Asks.MAP or (wait.asks is Asks.UNDO and "map" in answer):
        return _of_items(answer)
    if wait.asks in (Asks.CHILD, Asks.UNDO):
        wanted = RunStatus.SUCCEEDED if wait.asks is Asks.CHILD else RunStatus.COMPENSATED
        return _of_run(answer["runs"][0], wanted)
    if wait.asks is Asks.BLOCK:
        return _of_branches(answer["runs"])
    match wait.outcome:
        case WaitOutcome.ANSWERED | WaitOutcome.APPROVED:
            return _response(200, answer)
        case WaitOutcome.REJECTED:
            why = f": {answer['reason']}" if answer.get("reason") else ""
            return _response(403, {**answer, "message": f"rejected by {wait.closed_by}{why}"})
        case WaitOutcome.EXPIRED if wait.asks is Asks.SLEEP:
            assert wait.expires_at is not None, "a sleep always ends"
            return _response(200, {"until": wait.expires_at.astimezone(UTC).isoformat()})
        case WaitOutcome.EXPIRED if "default" in wait.asked:
            return _response(200, wait.asked["default"])
        case _:
            whom = f"the signal {wait.signal}" if wait.asks is Asks.SIGNAL else "a decision"
            within = f" within {wait.asked['timeout']:g} s" if "timeout" in wait.asked else ""
            return _response(408, {"message": f"nobody sent {whom}{within}"})


def _of_run(ended: Mapping[str, Any], wanted: RunStatus) -> Response:
    """How a child ended: 200, or 424 (Failed Dependency); of one that goes on by itself 200."""
    status, run_id = ended.get("status"), ended["run"]
    if status is None:
        return _response(200, {"run": run_id})
    if status == wanted:
        return _response(200, {"run": run_id, "outputs": ended["outputs"] or {}})
    why = f": {ended['cause']}" if ended["cause"] else ""
    message = f"run {run_id} of {ended['workflow']} ended {status}{why}"
    return _response(424, {"run": run_id, "status": status, "message": message})


def _of_items(answer: Mapping[str, Any]) -> Response:
    """How the items of a map ended: 200, or 424 where too many failed, or not all began."""
    told = counted(answer)
    if answer["accepted"]:
        return _response(200, told)
    return _response(424, {**told, "message": why_failed(answer)})


def _of_branches(ended: Sequence[Mapping[str, Any]]) -> Response:
    """How the branches of a block ended: 200, or 424 where one has failed."""
    well = all(run["status"] == RunStatus.SUCCEEDED for run in ended)
    told = [{name: run[name] for name in ("branch", "run", "status")} for run in ended]
    return _response(200 if well else 424, {"branches": told})


def _response(status: int, body: Mapping[str, Any]) -> Response:
    return Response(status=status, headers=_JSON, body=orjson.dumps(body))
