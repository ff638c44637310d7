"""`orchestrator agents …`: what software agents may do, and stopping them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli.draw_agents import draw_agent, draw_agents, draw_changes, draw_stopped
from orchestrator.cli.elsewhere import Remote, listed, sent
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import acting, with_services
from orchestrator.ports import Agent, UnderWay
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.ports import PolicyRecord
    from orchestrator.wiring_services import Services

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
    from orchestrator.service.agents_told import policy_told

    async def look(services: Services) -> Sequence[Any]:
        return [policy_told(each) for each in await services.policies.list(tenant)]

    found = plain(with_services(look, remote=listed("agents", tenant=tenant)))
    answer(found, lambda: draw_agents(found), as_json=as_json)


@app.command("show")
def show(agent: Name, *, tenant: Tenant = "default", as_json: JsonFlag = False) -> None:
    """One policy, with what is left of its budgets."""
    from orchestrator.service.agents_told import view_told

    async def look(services: Services) -> Any:
        return view_told(await services.policies.show(Agent(tenant, agent)))

    found = plain(with_services(look, remote=sent("agent", agent, tenant=tenant)))
    answer(found, lambda: draw_agent(found), as_json=as_json)


@app.command("history")
def history(agent: Name, *, tenant: Tenant = "default", as_json: JsonFlag = False) -> None:
    """What was changed, by whom and why; newest first."""
    from orchestrator.service.agents_told import change_told

    async def look(services: Services) -> Sequence[Any]:
        return [change_told(each) for each in await services.policies.history(Agent(tenant, agent))]

    found = plain(with_services(look, remote=listed("agent_changes", agent, tenant=tenant)))
    answer(found, lambda: draw_changes(found), as_json=as_json)


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
    said = {name: each for name, each in given.items() if each}
    policy = policy_of(said, "options")
    _change(
        lambda services: services.policies.set(Agent(tenant, agent), policy, by=who, reason=reason),
        sent("set_agent_policy", agent, said, reason=reason, tenant=tenant), as_json,
    )  # fmt: skip


@app.command("apply")
def apply(
    file: Annotated[Path, typer.Argument(help="YAML: agents: {NAME: {allow: …, budgets: …}}.")],
    *,
    reason: Reason = "applied from a file",
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Set the policies of a file; those of other agents stay as they are."""
    from orchestrator.definitions.agent_policies import as_said, read_policies
    from orchestrator.definitions.document import WORKFLOWS, read_document
    from orchestrator.service.agents_told import policy_told

    who = acting(by)
    named = read_policies(read_document(file, limits=WORKFLOWS))

    async def act(services: Services) -> Sequence[Any]:
        made = await services.policies.apply(named, by=who, reason=reason)
        return [policy_told(each) for each in made]

    def act_elsewhere(client: Client) -> Sequence[Any]:
        now = {(each.tenant, each.agent): each.policy for each in listed("agents")(client)}
        return [
            sent(
                "set_agent_policy", each.agent, as_said(each.policy), reason=reason,
                tenant=each.tenant,
            )(client)
            for each in named if now.get((each.tenant, each.agent)) != as_said(each.policy)
        ]  # fmt: skip

    changed = plain(with_services(act, remote=act_elsewhere))
    answer(changed, lambda: draw_agents(changed), as_json=as_json)


@app.command("stop")
def stop(
    agent: Name,
    *,
    tenant: Tenant = "default",
    runs: Annotated[
        UnderWay, typer.Option(help="Its runs that are under way: leave, or cancel (a job).")
    ] = UnderWay.LEAVE,
    reason: Reason,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """From this moment on it finds nothing and begins nothing, until it is allowed again."""
    from orchestrator.service.agents_told import policy_told

    who = acting(by)

    async def act(services: Services) -> Any:
        agent_of = Agent(tenant, agent)
        done = await services.policies.stop(agent_of, by=who, reason=reason, runs=runs)
        return {**policy_told(done.record), "job": done.job}

    elsewhere = sent("stop_agent", agent, reason=reason, runs=str(runs), tenant=tenant)
    made = plain(with_services(act, remote=elsewhere))
    answer(made, lambda: draw_stopped(made), as_json=as_json)


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
    _change(
        lambda services: services.policies.allow(Agent(tenant, agent), by=who, reason=reason),
        sent("allow_agent", agent, reason=reason, tenant=tenant), as_json,
    )  # fmt: skip


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
    _change(
        lambda services: services.policies.remove(Agent(tenant, agent), by=who, reason=reason),
        sent("remove_agent_policy", agent, reason=reason, tenant=tenant), as_json,
    )  # fmt: skip


def _change(
    change: Callable[[Services], Awaitable[PolicyRecord]], remote: Remote, as_json: bool
) -> None:
    """Make it, and show what holds from now on."""
    from orchestrator.service.agents_told import policy_told

    async def act(services: Services) -> Any:
        return policy_told(await change(services))

    made = plain(with_services(act, remote=remote))
    gone = Text(f"{made['agent']}: no policy any more")
    answer(made, lambda: gone if made["removed"] else draw_agents([made]), as_json=as_json)
