"""`orchestrator proposals …`: decisions that a second person has to confirm."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from orchestrator.cli.draw_proposals import draw_proposal, draw_proposals
from orchestrator.cli.elsewhere import listed, on
from orchestrator.cli.jobs import Detach, DryRun, Many, Where, Yes, act_on_many
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, with_services
from orchestrator.ports import ProposalFilter

app = typer.Typer(
    help="Decisions that a second person has to confirm: look, confirm, refuse.",
    no_args_is_help=True,
)

ProposalId = Annotated[
    str, typer.Argument(metavar="ID", help="Its id, or the last 6 digits or more.")
]
By = Annotated[str, typer.Option(help="Who decides; default: you.")]


@app.command("list")
def list_proposals(
    *,
    closed: Annotated[bool, typer.Option("--all", help="Those that are over as well.")] = False,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    run: Annotated[str | None, typer.Option(help="Only of this run.")] = None,
    after: Annotated[str | None, typer.Option(help="After this id: the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 200,
    as_json: JsonFlag = False,
) -> None:
    """Open proposals, oldest first."""
    which = ProposalFilter(
        open_only=not closed, tenant=tenant, run_id=run, after=after, limit=limit
    )
    state = "all" if closed else "open"
    found = with_services(
        lambda s: s.proposals.list(which),
        remote=listed("proposals", state=state, tenant=tenant, run=run, cursor=after, limit=limit),
    )
    answer(found, lambda: draw_proposals(found), as_json=as_json)


@app.command("show")
def show(proposal: ProposalId, *, as_json: JsonFlag = False) -> None:
    """What is wanted, by whom, and why."""
    found = with_services(
        lambda services: services.proposals.show(proposal),
        remote=on("proposal", proposal, "proposal"),
    )
    answer(found, lambda: draw_proposal(found), as_json=as_json)


@app.command("confirm")
def confirm(
    proposal: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Its id, or the last 6 digits or more."),
    ] = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit. Of many it is needed.")] = "",
    where: Where = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Do it, as the second person. Who proposed it cannot.

    With --where: all that is proposed about the escalations that fit, as a job.
    """
    who = acting(by)
    if where or proposal is None:
        many = Many(
            where=where, ids=[proposal] if proposal else None, dry_run=dry_run, yes=yes,
            detach=detach,
        )  # fmt: skip
        act_on_many("escalations.confirm", many, by=who, reason=reason, as_json=as_json)
        return
    found = with_services(
        lambda s: s.proposals.confirm(proposal, by=who, via="cli", reason=reason),
        remote=on("proposal", proposal, "confirm", decides=True, reason=reason),
    )
    answer(
        found,
        lambda: Group(draw_proposal(found.proposal), Text(f"the run is {found.run_status} now")),
        as_json=as_json,
    )


@app.command("refuse")
def refuse(
    proposal: ProposalId,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Close it; nothing is done. Who proposed it may take it back so."""
    who = acting(by)
    found = with_services(
        lambda s: s.proposals.refuse(proposal, by=who, reason=reason),
        remote=on("proposal", proposal, "refuse", decides=True, reason=reason),
    )
    answer(found, lambda: draw_proposal(found), as_json=as_json)
