"""Software agents: what each may do, how much of it is used, and the way to stop one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import Request, Response
from nicegui import ui

from orchestrator.console.asking import Again, Question, ask
from orchestrator.console.desk import Desk, Visitor
from orchestrator.console.frame import frame, heading, keyed, shown, to_login, verbatim
from orchestrator.console.links import link_to, page
from orchestrator.console.tables import cell, link_cell, row, table
from orchestrator.core.guarding import EVERYBODY
from orchestrator.definitions.agent_policies import DEFAULT_TENANT
from orchestrator.errors import InvalidInput, NotFound, Problem
from orchestrator.ports import Agent, UnderWay
from orchestrator.service.agents_told import change_told, view_told
from orchestrator.service.principal import Principal

Told = Mapping[str, Any]
EVERY_SECONDS = 10.0
"""To know what was used, the policy's row is taken for a moment; agents want it as well."""
MEANS = "From now on it finds nothing and begins nothing, until somebody allows it again."
_RUNS = {UnderWay.LEAVE: "Its runs go on", UnderWay.CANCEL: "Its runs are undone, by a job"}


def register(desk: Desk) -> None:
    """All on one page, and a page for each."""

    @page("/agents")
    async def agents(request: Request) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        with frame("Agents", await visitor.principal()):
            await _all(visitor)
        return None

    @page("/agents/{tenant}/{name}")
    async def agent(request: Request, tenant: str, name: str) -> Response | None:
        visitor = await desk.visitor(request)
        if visitor is None:
            return to_login()
        who = await visitor.principal()
        with frame(f"Agent {_called(name)}", who):
            if not who.sees(tenant):
                tenant = who.tenant or tenant  # as if it were not there
            await _one(visitor, Agent(tenant, name))
        return None


async def _all(visitor: Visitor) -> None:
    again: Again

    async def look() -> None:
        await again()

    async def read() -> list[Told]:
        who = await visitor.principal()
        return [view_told(each) for each in await visitor.services.policies.overview(who.tenant)]

    with ui.row():
        keyed(ui.button("Stop an agent…", on_click=lambda: _choose(visitor, look)), "s")
    again = await shown(
        visitor, read, lambda found: _show(visitor, look, found), every=EVERY_SECONDS
    )  # fmt: skip


def _show(visitor: Visitor, again: Again, agents: Sequence[Told]) -> None:
    if not agents:
        ui.label("No agent has a policy. Each may do what its key's role allows.")
        return
    columns = ("Agent", "Tenant", "State", "Used today", "Left", "Asks above", "")
    with table(*columns, of="Agents"):
        for each in agents:
            with row():
                link_cell(_called(each["agent"]), _address(each))
                cell(each["tenant"])
                with ui.element("td").classes("q-pr-md"):
                    _state(each)
                cell(", ".join(_used(each)) or "nothing")
                cell(", ".join(f"{left['left']} of {left['budget']}" for left in each["left"]))
                cell(", ".join(each["policy"].get("approve", {}).get("above", ())))
                with ui.element("td"):
                    _button(visitor, each, again)


async def _one(visitor: Visitor, agent: Agent) -> None:
    again: Again

    async def look() -> None:
        await again()

    async def read() -> tuple[Told, Sequence[Told]]:
        policies = visitor.services.policies
        history = [change_told(each) for each in await policies.history(agent)]
        return view_told(await policies.show(agent)), history

    try:
        await read()
    except NotFound as error:
        ui.label(str(error))
        return
    again = await shown(
        visitor, read, lambda found: _show_one(visitor, look, *found), every=EVERY_SECONDS
    )  # fmt: skip


def _show_one(visitor: Visitor, again: Again, agent: Told, history: Sequence[Told]) -> None:
    with ui.row().classes("items-center gap-4"):
        _state(agent)
        _button(visitor, agent, again)
        if agent["agent"] != EVERYBODY:
            link_to("Its runs", f"/runs?actor={quote(agent['agent'])}&tenant={agent['tenant']}")
    heading("What it has used")
    with table("Of", "Today", "This month", of="What it has used"):
        for what, used in agent["used"].items():
            with row():
                cell(what)
                cell(used.get("day", "0"))
                cell(used.get("month", "0"))
    if agent["left"]:
        with table("Budget", "Left", "Until (UTC)", of="Budgets"):
            for left in agent["left"]:
                with row():
                    cell(left["budget"])
                    cell(left["left"])
                    cell(left["until"][:16].replace("T", " "), wraps=False)
    heading("What it may do")
    verbatim(orjson.dumps(agent["policy"], option=orjson.OPT_INDENT_2).decode())
    heading("What was changed")
    with table("Change", "What", "By", "At (UTC)", "Why", of="Changes"):
        for each in history:
            with row():
                cell(str(each["version"]))
                cell(each["kind"])
                cell(each["by"])
                cell(each["at"][:19].replace("T", " "), wraps=False)
                cell(each["reason"])


def _state(agent: Told) -> None:
    stop = agent["stopped"]
    with ui.element("div"):
        if stop is None:
            ui.badge("works", color="positive").props("text-color=white")
            return
        ui.badge("stopped", color="negative").props("text-color=white")
        ui.label(f"by {stop['by']}: {stop['reason']}")


def _used(agent: Told) -> list[str]:
    return [
        f"{used['day']} {what}" for what, used in agent["used"].items() if "day" in used
    ]  # fmt: skip


def _button(visitor: Visitor, told: Told, again: Again) -> ui.button:
    """Stops it, or ends its stop."""
    agent, title = Agent(told["tenant"], told["agent"]), _called(told["agent"])
    if told["stopped"] is None:
        question = _stopping(visitor, f"Stop {title}", lambda _: agent)
    else:

        async def allow(who: Principal, reason: str) -> str:
            _check(who, agent)
            await visitor.services.policies.allow(agent, by=who.name, reason=reason)
            return f"{title} may work again."

        question = Question(title=f"Let {title} work again", verb="Allow", does=allow)
    button = ui.button(f"{question.verb}…", on_click=lambda: ask(visitor, question, again))
    return button.props("outline dense no-wrap").classes("q-px-sm")


def _choose(visitor: Visitor, again: Again) -> None:
    """Stop one that has no policy yet, too."""
    fields: dict[str, ui.input] = {}

    def draw() -> None:
        fields["name"] = ui.input("The agent's name ('*': all of the tenant)").classes("w-full")
        fields["tenant"] = ui.input("Tenant", placeholder=DEFAULT_TENANT).classes("w-full")

    def agent_of(who: Principal) -> Agent:
        name, tenant = fields["name"].value.strip(), fields["tenant"].value.strip()
        if not name:
            problem = Problem(place="agent", found="nothing", wanted="its name")
            raise InvalidInput("who is to be stopped", problems=[problem])
        return Agent(who.tenant_of(tenant or None) or DEFAULT_TENANT, name)

    ask(visitor, _stopping(visitor, "Stop an agent", agent_of, draw), again)


def _stopping(visitor: Visitor, title: str, agent_of: Any, draw: Any = lambda: None) -> Question:
    chosen: list[ui.radio] = []

    def more() -> None:
        draw()
        choices = {str(name): said for name, said in _RUNS.items()}
        radio = ui.radio(choices, value=str(UnderWay.LEAVE))
        chosen[:] = [radio.props('inline aria-label="Its runs under way"')]

    async def stop(who: Principal, reason: str) -> str:
        agent, runs = agent_of(who), UnderWay(chosen[0].value)
        _check(who, agent)
        done = await visitor.services.policies.stop(agent, by=who.name, reason=reason, runs=runs)
        if done.job is None:
            return f"{_called(agent.name)} is stopped."
        return f"{_called(agent.name)} is stopped; {done.job.total:,} runs are undone, see Jobs."

    return Question(title=title, verb="Stop", does=stop, means=MEANS, more=more, grave=True)


def _check(who: Principal, agent: Agent) -> None:
    who.tenant_of(agent.tenant)


def _called(name: str) -> str:
    return "all agents (*)" if name == EVERYBODY else name


def _address(agent: Told) -> str:
    return f"/agents/{quote(agent['tenant'], safe='')}/{quote(agent['agent'], safe='')}"
