"""`orchestrator approvals …`: what runs ask people."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from orchestrator.cli.draw_waits import draw_approval, draw_approvals
from orchestrator.cli.elsewhere import listed, on
from orchestrator.cli.input import parse_object
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, with_services
from orchestrator.ports import Decision

app = typer.Typer(help="What runs ask people: look, approve, reject.", no_args_is_help=True)

ApprovalId = Annotated[
    str, typer.Argument(metavar="ID", help="Its id, or the last 6 digits or more.")
]
Data = Annotated[str, typer.Option(help="A JSON object that goes to the run with the decision.")]
By = Annotated[str, typer.Option(help="Who decides; default: you.")]


@app.command("list")
def list_approvals(
    *,
    closed: Annotated[bool, typer.Option("--all", help="Decided ones as well.")] = False,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    after: Annotated[str | None, typer.Option(help="After this id: the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 200,
    as_json: JsonFlag = False,
) -> None:
    """Open approvals, oldest first."""
    state = "all" if closed else "open"
    found = with_services(
        lambda s: s.waiting.approvals(
            open_only=not closed, tenant=tenant, after=after, limit=limit
        ),
        remote=listed("approvals", state=state, tenant=tenant, cursor=after, limit=limit),
    )
    answer(found, lambda: draw_approvals(found), as_json=as_json)


@app.command("show")
def show(approval: ApprovalId, *, as_json: JsonFlag = False) -> None:
    """What is asked, and what is shown beside it."""
    found = with_services(
        lambda services: services.waiting.approval(approval),
        remote=on("approval", approval, "approval"),
    )
    answer(found, lambda: draw_approval(found), as_json=as_json)


@app.command("approve")
def approve(
    approval: ApprovalId,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")] = "",
    data: Data = "{}",
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Let the run go on."""
    _decide(approval, Decision.APPROVED, reason, data, by, as_json)


@app.command("reject")
def reject(
    approval: ApprovalId,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit and told to the run.")],
    data: Data = "{}",
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Fail the step: the run takes its way out, or turns back."""
    _decide(approval, Decision.REJECTED, reason, data, by, as_json)


@app.command("link")
def link(
    approval: ApprovalId,
    *,
    name: Annotated[str, typer.Option("--for", help="Who will decide with it.")],
    hours: Annotated[float, typer.Option(min=0.01, help="How long it is good.")] = 72.0,
    as_json: JsonFlag = False,
) -> None:
    """An address at which one person decides, without a key. Once used it only says who decided."""
    lives = timedelta(hours=hours)
    url = with_services(
        lambda s: s.links.make(approval, name=name, lives=lives),
        remote=lambda client: (
            on("approval", approval, "link_approval", name=name, hours=hours)(client).url
        ),
    )
    answer({"url": url}, lambda: Text(url, overflow="fold", no_wrap=False), as_json=as_json)


def _decide(
    approval: str, decision: Decision, reason: str, data: str, by: str, as_json: bool
) -> None:
    given, who = parse_object("--data", data), acting(by)
    found = with_services(
        lambda s: s.waiting.decide(
            approval, decision, by=who, via="cli", reason=reason, data=given
        ),
        remote=on(
            "approval",
            approval,
            "decide_approval",
            str(decision),
            decides=True,
            reason=reason,
            data=given,
        ),
    )
    first = "approved once: a second person has to approve it as well"
    drawn = [
        draw_approval(found),
        *([Text(first, style="yellow")] if found.outcome is None else []),
    ]
    answer(found, lambda: Group(*drawn), as_json=as_json)
