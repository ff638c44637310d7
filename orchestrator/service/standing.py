"""How a run stands, in words that an agent can act on; never with payloads of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.states import DONE, Direction, RunStatus
from orchestrator.ports import Asks, Role, WaitRecord
from orchestrator.ports.waiting import said_of
from orchestrator.service.projection import Handle, Projection, project
from orchestrator.service.runs import RunOutline

_LONGEST_CAUSE = 300
_LONGEST_QUESTION = 500
_MOST_SHOWN_BYTES = 500
_NOTHING = Projection(kept={}, left_out=(), unlisted=0)


# No slots: what makes schemas of them looks for defaults at the class.
@dataclass(frozen=True, kw_only=True)
class Approval:
    """What a run waits for a person to decide."""

    id: str
    message: str
    roles: Sequence[str]  # of people who may decide
    show: Mapping[str, Any] = field(default_factory=dict)  # what they see beside it, if it is small
    page: str = ""  # where they decide
    yours: bool = False  # whom you work for may decide too, if your client asks them


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands."""

    run: str
    workflow: str
    status: str
    done: str  # `2 of 3 steps`
    meaning: str  # what has happened, and what to do
    outputs: Mapping[str, Any]  # of a run that succeeded: data, never instructions
    left_out: Sequence[Handle] = ()  # outputs too large to be shown here: get_output reads them
    more_left_out: int = 0  # besides those in left_out
    approval: Approval | None = None  # what a person has to decide before it goes on
    repeated: bool = False  # the key was known: this is the run of that earlier call
    plan: Mapping[str, Any] | None = None  # of a dry run: what would be sent


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run has come: of its steps, and of those to be undone, so many."""

    done: int  # never falls
    total: int
    status: RunStatus


def progress_of(view: RunOutline) -> Progress:
    """Finished links of all."""
    links = [*view.forward, *view.backward]
    done = sum(1 for link in links if link.record.link.status in DONE)
    return Progress(done=done, total=len(links), status=view.run.status)


def standing_of(
    view: RunOutline,
    *,
    most_output_bytes: int,
    wait: WaitRecord | None = None,
    console: str = "",
    repeated: bool = False,
) -> Standing:
    """A run in a few words, with the outputs that fit. `wait`: the open one; `console`: its URL."""
    run = view.run
    succeeded = run.status is RunStatus.SUCCEEDED
    shown = project(run.outputs or {}, most_output_bytes) if succeeded else _NOTHING
    landed = sum(1 for link in view.forward if link.record.link.status in DONE)
    back = run.direction is Direction.BACKWARD
    return Standing(
        run=run.id, workflow=run.workflow, status=run.status.value,
        done=f"{landed} of {len(view.forward)} steps" + (", turned back" if back else ""),
        meaning=_waiting(wait) if wait else meaning_of(run.status, run.cause),
        outputs=shown.kept, left_out=shown.left_out,
        more_left_out=shown.unlisted, repeated=repeated,
        approval=approval_of(wait, console) if wait and wait.asks is Asks.APPROVAL else None,
    )  # fmt: skip


def approval_of(wait: WaitRecord, console: str) -> Approval:
    """What is asked, and where it is decided."""
    asked = wait.asked
    return Approval(
        id=wait.id, message=str(asked.get("message", ""))[:_LONGEST_QUESTION],
        show=project(asked.get("show") or {}, _MOST_SHOWN_BYTES).kept,
        roles=list(asked.get("roles") or [Role.APPROVER]),
        page=f"{console}/approvals/{wait.id}" if console else "",
        yours=bool(asked.get("requester")),
    )  # fmt: skip


def _waiting(wait: WaitRecord) -> str:
    if wait.asks is Asks.SIGNAL:
        return f"Waiting for the signal {wait.signal} from outside. {_ASK_LATER}"
    if wait.asks is Asks.SLEEP:
        return f"Asleep until {wait.expires_at}, then it goes on by itself. {_ASK_LATER}"
    if wait.asks is not Asks.APPROVAL:
        return f"Waiting for {said_of(wait.asks, wait.signal)}. {_ASK_LATER}"
    return (
        "Waiting for a person to approve. Tell whom you work for what is asked, and where it is "
        f"decided; you cannot. {_ASK_LATER}"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ways:
    """How whoever is told of a run asks for it again, and has another one begun."""

    ask: str = "call status for this run"
    begin: str = "call execute with a new idempotency_key"


BY_TOOLS = Ways()
_ASK_LATER = "Call status for this run when it may be there; do not have it run again."
_ASK_AGAIN = "It goes on by itself; {ask} again in a few seconds."
_MEANINGS: Mapping[RunStatus, str] = {
    RunStatus.PENDING: f"Accepted, not begun yet. {_ASK_AGAIN}",
    RunStatus.RUNNING: f"Under way. {_ASK_AGAIN}",
    RunStatus.WAITING: f"Waiting before another try. {_ASK_AGAIN}",
    RunStatus.PARKED: f"Waiting for a busy or sick API. {_ASK_AGAIN}",
    RunStatus.PAUSED: "Paused by a person, who has to let it go on. Do not have it run again.",
    RunStatus.COMPENSATING: f"It failed, and what it did is being undone. {_ASK_AGAIN}",
    RunStatus.ESCALATED: (
        "It needs a person, who has been told; some effects may be there. Do not have it run "
        "again: tell whom you work for the id of the run."
    ),
    RunStatus.SUCCEEDED: "Done.",
    RunStatus.COMPENSATED: (
        "It failed, and everything it did is undone. After mending the cause, {begin}."
    ),
    RunStatus.ABANDONED: (
        "A person ended it; some effects may be there. Do not have it run again without asking."
    ),
}


def meaning_of(status: RunStatus, cause: str, ways: Ways = BY_TOOLS) -> str:
    """What has happened to a run, and what whoever had it begun should do."""
    text = _MEANINGS[status].format(ask=ways.ask, begin=ways.begin)
    if not cause or status is RunStatus.SUCCEEDED:
        return text
    return f"{text} Cause: {cause[:_LONGEST_CAUSE]}"
