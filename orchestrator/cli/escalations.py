"""`orchestrator escalations …`: the dead-letter queue, for operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli import remote
from orchestrator.cli.draw_common import run_status, table
from orchestrator.cli.draw_escalations import draw_escalation, draw_escalations
from orchestrator.cli.elsewhere import Remote, claim_next, on, sent
from orchestrator.cli.input import parse_object
from orchestrator.cli.jobs import Detach, DryRun, Many, Where, Yes, act_on_many
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, as_look, with_services
from orchestrator.core import events
from orchestrator.core.states import RunStatus
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import EscalationFilter
from orchestrator.service.where import escalations_where
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.ports import EscalationRecord
    from orchestrator.service.briefing import Briefing
    from orchestrator.service.escalations import Act
    from orchestrator.wiring_services import Services

app = typer.Typer(help="Runs that need a person: take one, decide, say why.", no_args_is_help=True)

EscalationId = Annotated[
    str, typer.Argument(metavar="ID", help="Its id, or the last 6 digits or more.")
]
EscalationIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID…]", help="One or more, in the order in which to act."),
]
Reason = Annotated[str, typer.Option(help="Why, and the evidence; kept in the audit.")]
By = Annotated[str, typer.Option(help="Who acts; default: you.")]


@app.command("list")
def list_escalations(
    *,
    closed: Annotated[bool, typer.Option("--closed", help="Closed ones as well.")] = False,
    where: Where = "",
    overdue: Annotated[
        bool, typer.Option("--overdue", help="Those that somebody should have decided by now.")
    ] = False,
    by_due: Annotated[
        bool, typer.Option("--by-due", help="Those that are due soonest first.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 200,
    as_json: JsonFlag = False,
) -> None:
    """Open escalations, oldest first."""
    chosen = escalations_where(where) if where else EscalationFilter()
    which = replace(
        chosen, open_only=not closed, limit=limit, overdue=overdue or None, order_by_due=by_due
    )
    found = with_services(
        as_look(lambda s: s.escalations.list(which)),
        remote=None if by_due else lambda client: remote.list_escalations(client, which),
    )  # fmt: skip
    answer(found, lambda: draw_escalations(found), as_json=as_json)


@app.command("show")
def show(escalation: EscalationId, *, as_json: JsonFlag = False) -> None:
    """One, with all that is known, where to look, and what each choice leads to."""

    async def look(services: Services) -> tuple[EscalationRecord, Briefing]:
        told = await services.briefings.of(escalation)
        return told.escalation, told

    def elsewhere(client: Client) -> Any:
        found = on("escalation", escalation, "escalation")(client)
        return found, sent("briefing", found.id)(client)

    found, told = with_services(as_look(look), remote=elsewhere)
    more = plain(told)
    more.pop("escalation", None)
    value = {**plain(found), **more}
    answer(value, lambda: draw_escalation(found, told), as_json=as_json)


@app.command("claim")
def claim(
    escalation: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    *,
    take_next: Annotated[bool, typer.Option("--next", help="The oldest on the queue.")] = False,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Take one for yourself; it leaves the dead-letter queue."""
    who = acting(by)
    if (escalation is None) != take_next:
        problem = Problem(place="claim", found=str(escalation), wanted="either an ID or --next")
        raise InvalidInput("which one?", problems=[problem])

    async def take(services: Services) -> EscalationRecord | None:
        if escalation is None:
            return await services.escalations.claim_next(by=who)
        return await services.escalations.claim(escalation, by=who)

    found = with_services(
        take, remote=claim_next if escalation is None else on("escalation", escalation, "claim")
    )
    answer(
        found,
        lambda: draw_escalation(found) if found else Text("the queue is empty", style="dim"),
        as_json=as_json,
    )


@app.command("assign")
def assign(
    escalation: EscalationId,
    *,
    to: Annotated[str, typer.Option(help="Whom to give it to.")],
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Give one to somebody, whoever has it now."""
    who = acting(by)
    found = with_services(
        lambda s: s.escalations.assign(escalation, to=to, by=who),
        remote=on("escalation", escalation, "assign", to=to),
    )
    answer(found, lambda: draw_escalations([found]), as_json=as_json)


@app.command("comment")
def comment(
    escalation: EscalationId,
    text: Annotated[str, typer.Argument(help="The remark.")],
    *,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Add a remark, for those who come after you; kept in the audit."""
    who = acting(by)
    found = with_services(
        lambda s: s.escalations.comment(escalation, text, by=who),
        remote=on("escalation", escalation, "comment", text=text),
    )
    answer(found, lambda: Text(f"{len(found)} remarks"), as_json=as_json)


@app.command("release")
def release(escalation: EscalationId, *, by: By = "", as_json: JsonFlag = False) -> None:
    """Give one back; it returns to the dead-letter queue."""
    who = acting(by)
    found = with_services(
        lambda services: services.escalations.release(escalation, by=who),
        remote=on("escalation", escalation, "release"),
    )
    answer(found, lambda: draw_escalations([found]), as_json=as_json)


@app.command("retry")
def retry(
    escalations: EscalationIds = None,
    *,
    reason: Reason,
    corrections: Annotated[
        str,
        typer.Option(
            "--correct",
            metavar="JSON",
            help='Other values in its body: {"/amount": 90}. Then it is another request.',
        ),
    ] = "",
    where: Where = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Try the stuck call again, with the same key and bytes."""
    who = acting(by)
    given = parse_object("--correct", corrections) if corrections else None
    if given is not None and (where or len(escalations or ()) != 1):
        problem = Problem(place="--correct", found="more than one", wanted="one ID")
        raise InvalidInput("a correction belongs to one escalation", problems=[problem])
    if where or not escalations:
        many = Many(where=where, ids=escalations, dry_run=dry_run, yes=yes, detach=detach)
        act_on_many("escalations.retry", many, by=who, reason=reason, as_json=as_json)
        return
    _act(
        escalations,
        _deed("retried", events.Retried(), who, reason, corrections=given),
        _elsewhere("retry", reason, **({} if given is None else {"corrections": given})),
        as_json,
    )


@app.command("resolve")
def resolve(
    escalations: EscalationIds = None,
    *,
    reason: Reason,
    without_effect: Annotated[
        bool,
        typer.Option("--without-effect", help="You vouch that the call certainly did nothing."),
    ] = False,
    outputs: Annotated[
        str, typer.Option(metavar="JSON", help="What the step gave, for the steps after it.")
    ] = "",
    where: Where = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """You vouch that the stuck call is done (by hand, or seen to be); the rest goes on."""
    who = acting(by)
    given = parse_object("--outputs", outputs) if outputs else None
    if given is not None and (where or len(escalations or ()) != 1):
        problem = Problem(place="--outputs", found="more than one", wanted="one ID")
        raise InvalidInput("outputs belong to one escalation", problems=[problem])
    if where or not escalations:
        many = Many(
            where=where, ids=escalations, dry_run=dry_run, yes=yes, detach=detach,
            arguments={"landed": not without_effect},
        )  # fmt: skip
        act_on_many("escalations.resolve", many, by=who, reason=reason, as_json=as_json)
        return
    _act(
        escalations,
        _deed("resolved", events.Resolved(landed=not without_effect), who, reason, outputs=given),
        _elsewhere("resolve", reason, landed=not without_effect, outputs=given),
        as_json,
    )


@app.command("skip")
def skip(
    escalations: EscalationIds = None,
    *,
    reason: Reason,
    where: Where = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Leave the stuck undo's effect standing; the remaining undos go on."""
    who = acting(by)
    if where or not escalations:
        many = Many(where=where, ids=escalations, dry_run=dry_run, yes=yes, detach=detach)
        act_on_many("escalations.skip", many, by=who, reason=reason, as_json=as_json)
        return
    act = _deed("skipped", events.Skipped(), who, reason)
    _act(escalations, act, _elsewhere("skip", reason), as_json)


@app.command("abandon")
def abandon(
    escalations: EscalationIds = None,
    *,
    reason: Reason,
    where: Where = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """End the run where it is. Final."""
    who = acting(by)
    if where or not escalations:
        many = Many(where=where, ids=escalations, dry_run=dry_run, yes=yes, detach=detach)
        act_on_many("escalations.abandon", many, by=who, reason=reason, as_json=as_json)
        return
    act = _deed("abandoned", events.Abandoned(), who, reason)
    _act(escalations, act, _elsewhere("abandon", reason), as_json)


def _deed(resolution: str, event: events.Event, by: str, reason: str, **given: Any) -> Act:
    from orchestrator.service.escalations import Act

    return Act(resolution=resolution, event=event, by=by, reason=reason, via="cli", **given)


def _elsewhere(act: str, reason: str, **more: Any) -> Callable[[str], Remote]:
    """Decide on one, as it is when it is read."""
    return lambda known: on(
        "escalation", known, "decide", act, decides=True, reason=reason, **more
    )  # fmt: skip


def _act(ids: list[str], act: Act, remote_act: Callable[[str], Remote], as_json: bool) -> None:
    """Act on each in turn; the first that is refused ends it, what was done before stays done."""
    done: dict[str, str] = {}

    async def act_on_all(services: Services) -> None:
        for known in ids:
            settled = await services.escalations.decide(known, act)
            proposal = settled.proposal
            done[known] = settled.status if proposal is None else f"proposed: {proposal.id}"

    def act_on_all_elsewhere(client: Client) -> None:
        for known in ids:
            settled = remote_act(known)(client)
            proposal = settled.proposal_id
            done[known] = settled.run_status if proposal is None else f"proposed: {proposal}"

    try:
        with_services(act_on_all, remote=act_on_all_elsewhere)
    finally:
        if done or not ids:
            answer(done, lambda: _draw_done(done), as_json=as_json)


def _draw_done(done: Mapping[str, str]) -> RenderableType:
    drawn = table("escalation", "the run is now")
    for known, status in done.items():
        proposed = status.startswith("proposed")
        drawn.add_row(known, status if proposed else run_status(RunStatus(status)))
    if not any(status.startswith("proposed") for status in done.values()):
        return drawn
    how = Text("a second person confirms it: orchestrator proposals confirm ID", style="dim")
    return Group(drawn, how)
