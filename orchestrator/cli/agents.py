"""`orchestrator agents …`: what software agents may do, and stopping them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import moment, table
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, with_services
from orchestrator.core.guarding import EVERYBODY, RUNS, Budget, amount_told
from orchestrator.ports import Agent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.ports import PolicyChange, PolicyRecord
    from orchestrator.service.agent_policies import PolicyView

app = typer.Typer(help="What software agents may do, and stopping them.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="The agent: its actor's name; '*': all agents of the tenant together.")
]
Tenant = Annotated[str, typer.Option(help="Of this tenant.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the change.")]
By = Annotated[str, typer.Option(help="Who acts; default: you.")]
_Texts = list[str] | None


@app.command("list")
def list_policies(
    *,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """All agents that have a policy."""
    found = with_services(lambda services: services.policies.list(tenant))
    answer([_plain(each) for each in found], lambda: _draw(found), as_json=as_json)


@app.command("show")
def show(agent: Name, *, tenant: Tenant = "default", as_json: JsonFlag = False) -> None:
    """One policy, with what is left of its budgets."""
    found = with_services(lambda services: services.policies.show(Agent(tenant, agent)))
    value = {**_plain(found.record), "left": _left(found)}
    answer(value, lambda: _draw_one(found), as_json=as_json)


@app.command("history")
def history(agent: Name, *, tenant: Tenant = "default", as_json: JsonFlag = False) -> None:
    """What was changed, by whom and why; newest first."""
    found = with_services(lambda services: services.policies.history(Agent(tenant, agent)))
    answer([_plain_change(each) for each in found], lambda: _draw_history(found), as_json=as_json)


@app.command("set")
def set_policy(
    agent: Name,
    *,
    tenant: Tenant = "default",
    allow: Annotated[
        _Texts, typer.Option(help="Workflows it may use, with * and ?; default: all. Repeatable.")
    ] = None,
    deny: Annotated[
        _Texts, typer.Option(help="Workflows it may not use, whatever is allowed. Repeatable.")
    ] = None,
    rate: Annotated[_Texts, typer.Option(help="Runs in a time: 10/minute. Repeatable.")] = None,
    budget: Annotated[
        _Texts, typer.Option(help="'100 runs/day', '500 EUR/month'. Repeatable.")
    ] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(help="The same wish again under another key: refuse, warn, or ask a person."),
    ] = None,
    duplicate_hours: Annotated[float, typer.Option(help="Looked for as far back.")] = 24.0,
    ask_above: Annotated[
        _Texts, typer.Option(help="A person approves before a larger run: '500 EUR'. Repeatable.")
    ] = None,
    ask_role: Annotated[
        _Texts, typer.Option(help="Who may: operator, approver, admin. Repeatable.")
    ] = None,
    ask_hours: Annotated[
        float | None, typer.Option(help="Within so long, else it does not begin.")
    ] = None,
    ask_requester: Annotated[
        bool, typer.Option("--ask-requester", help="Whom the agent works for may decide too.")
    ] = False,
    reason: Reason,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Give an agent a policy, instead of the one that it has."""
    from orchestrator.definitions.agent_policies import policy_of

    who = acting(by)
    given: dict[str, Any] = {"allow": allow, "deny": deny, "rates": rate, "budgets": budget}
    if duplicates is not None:
        given["duplicates"] = {"then": duplicates, "hours": duplicate_hours}
    asked = {
        "above": ask_above, "roles": ask_role, "hours": ask_hours, "requester": ask_requester,
    }  # fmt: skip
    given["approve"] = {name: said for name, said in asked.items() if said}
    policy = policy_of({name: said for name, said in given.items() if said}, "options")
    made = with_services(
        lambda services: services.policies.set(Agent(tenant, agent), policy, by=who, reason=reason)
    )
    answer(_plain(made), lambda: _draw([made]), as_json=as_json)


@app.command("apply")
def apply(
    file: Annotated[Path, typer.Argument(help="YAML: agents: {NAME: {allow: …, budgets: …}}.")],
    *,
    reason: Reason = "applied from a file",
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Set the policies of a file; those of other agents stay as they are."""
    from orchestrator.definitions.agent_policies import read_policies
    from orchestrator.definitions.document import WORKFLOWS, read_document

    who = acting(by)
    named = read_policies(read_document(file, limits=WORKFLOWS))
    changed = with_services(lambda services: services.policies.apply(named, by=who, reason=reason))
    answer([_plain(each) for each in changed], lambda: _draw(changed), as_json=as_json)


@app.command("stop")
def stop(
    agent: Name,
    *,
    tenant: Tenant = "default",
    reason: Reason,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """From this moment on it finds nothing and begins nothing, until it is allowed again."""
    who = acting(by)
    made = with_services(
        lambda services: services.policies.stop(Agent(tenant, agent), by=who, reason=reason)
    )
    answer(_plain(made), lambda: _draw([made]), as_json=as_json)


@app.command("allow")
def allow_again(
    agent: Name,
    *,
    tenant: Tenant = "default",
    reason: Reason,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Let an agent that was stopped work again, under its policy."""
    who = acting(by)
    made = with_services(
        lambda services: services.policies.allow(Agent(tenant, agent), by=who, reason=reason)
    )
    answer(_plain(made), lambda: _draw([made]), as_json=as_json)


@app.command("remove")
def remove(
    agent: Name,
    *,
    tenant: Tenant = "default",
    reason: Reason,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Take an agent's policy away; its history is kept."""
    who = acting(by)
    made = with_services(
        lambda services: services.policies.remove(Agent(tenant, agent), by=who, reason=reason)
    )
    answer(_plain(made), lambda: Text(f"{made.agent}: no policy any more"), as_json=as_json)


def _plain(record: PolicyRecord) -> dict[str, Any]:
    from orchestrator.definitions.agent_policies import as_said

    stop = record.policy.stopped
    stopped = None if stop is None else {"by": stop.by, "at": stop.at, "reason": stop.reason}
    return {
        "agent": record.agent, "tenant": record.tenant, "version": record.version,
        "changed_at": record.changed_at.isoformat(), "removed": record.removed,
        "stopped": stopped, "policy": as_said(record.policy),
    }  # fmt: skip


def _plain_change(change: PolicyChange) -> dict[str, Any]:
    from orchestrator.definitions.agent_policies import as_said

    return {
        "version": change.version, "kind": change.kind, "at": change.at.isoformat(),
        "by": change.by, "reason": change.reason, "policy": as_said(change.policy),
    }  # fmt: skip


def _left(view: PolicyView) -> list[dict[str, Any]]:
    from orchestrator.definitions.agent_policies import budget_told

    return [
        {
            "budget": budget_told(budget), "left": _amount(budget, amount),
            "until": budget.per.end_of(view.now).isoformat(),
        }
        for budget, amount in view.left
    ]  # fmt: skip


def _amount(budget: Budget, amount: int) -> str:
    return str(amount) if budget.of == RUNS else amount_told(amount)


def _draw(records: Sequence[PolicyRecord]) -> RenderableType:
    if not records:
        return Text("no agent has a policy, or none was changed", style="dim")
    from orchestrator.definitions.agent_policies import as_said

    drawn = table(
        "agent", "tenant", "state", "allow", "deny", "rates", "budgets", "asks above",
        wide=("allow", "budgets"),
    )  # fmt: skip
    for each in records:
        said, stop = as_said(each.policy), each.policy.stopped
        lists = (", ".join(said.get(name, ())) or "–" for name in ("allow", "deny", "rates"))
        drawn.add_row(
            "all together (*)" if each.agent == EVERYBODY else each.agent, each.tenant,
            "works" if stop is None else f"stopped by {stop.by}: {stop.reason}",
            *lists, ", ".join(said.get("budgets", ())) or "–",
            ", ".join(said.get("approve", {}).get("above", ())) or "–",
        )  # fmt: skip
    return drawn


def _draw_one(view: PolicyView) -> RenderableType:
    rows = [
        Text(f"{each['budget']}: {each['left']} left until {each['until']}") for each in _left(view)
    ]
    return Group(_draw([view.record]), *rows)


def _draw_history(changes: Sequence[PolicyChange]) -> RenderableType:
    drawn = table("change", "kind", "at", "by", "why", wide=("why",))
    for each in changes:
        drawn.add_row(
            str(each.version), each.kind, moment(each.at), Text(each.by), Text(each.reason)
        )
    return drawn
