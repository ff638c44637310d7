"""An agent's part in the shop, played by rules instead of a model: `orchestrator demo --agent`.

It speaks to the real MCP server, as an agent's program does: it searches, describes, dry-runs and
executes what it finds, asks a person where a person is asked for, and follows each run to its end.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mcp import Client, StdioServerParameters
from mcp.types import TextContent

from orchestrator.core.states import RunStatus
from orchestrator.demo.kinto import KintoClient
from orchestrator.demo.shop import OWNER
from orchestrator.demo.stage import Stage
from orchestrator.demo.tokens import tokens, tokens_of
from orchestrator.demo.world import read_world
from orchestrator.errors import Conflict, Problem
from orchestrator.ports import Decision
from orchestrator.service.waiting import Waiting
from orchestrator.service.workflows import Workflows

NAME = "shop-agent"
PERSON = "ada"
LARGE = "large-order"
_MOST_LOOKS = 30
_LOOK_SECONDS = 20
_SETTLED = frozenset({"succeeded", "compensated", "abandoned", "escalated"})
_APPROVAL = {
    "stepId": "permitted",
    "description": "A person looks at it first.",
    "operationId": "$sourceDescriptions.people.approval",
    "requestBody": {
        "payload": {
            "message": "Sell {$inputs.quantity} × {$inputs.item} to {$inputs.name}?",
            "timeout": 3600,
        }
    },
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One thing that happened, as the transcript has it."""

    who: str  # user, agent or person
    says: str
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    answer: Any = None  # as the agent was given it
    failed: bool = False
    asked_tokens: int = 0  # what the call costs a model that writes it
    answered_tokens: int = 0  # and the answer, which it reads


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What somebody wants of the agent, and how that has to end."""

    says: str
    looks_for: str
    inputs: Mapping[str, Any]
    ending: RunStatus
    rehearses: bool = False  # it looks at what would be sent before it has it sent
    repeats: bool = False  # its first answer is lost, and it calls once more
    large: bool = False


def wishes(prefix: str) -> tuple[Wish, ...]:
    """Three wishes, `prefix` beginning the ids of their orders."""

    def order(number: int, **changes: Any) -> dict[str, Any]:
        order_id = f"{prefix}-{number}"
        return {
            "order_id": order_id, "name": "Clara", "email": f"{order_id}@example.org",
            "item": "compass", "quantity": 2, "unit_price": 1250, "country": "DE", **changes,
        }  # fmt: skip

    looks_for = "sell an item to a customer and have it shipped"
    return (
        Wish(
            says="Sell Clara two compasses and send them to Germany.", looks_for=looks_for,
            inputs=order(1), ending=RunStatus.SUCCEEDED, rehearses=True, repeats=True,
        ),
        Wish(
            says="Sell Clara a lantern and send it to the Antarctic.", looks_for=looks_for,
            inputs=order(2, item="lantern", quantity=1, unit_price=1899, country="AQ"),
            ending=RunStatus.COMPENSATED,
        ),
        Wish(
            says="Sell Clara twenty ropes and send them to Austria: a large order.",
            looks_for="a large order, approved by a person",
            inputs=order(3, item="rope", quantity=20, unit_price=990, country="AT"),
            ending=RunStatus.SUCCEEDED, large=True,
        ),
    )  # fmt: skip


def write_large_order(checkout: Path, folder: Path) -> Path:
    """The checkout with an approval before its first step, as a document beside its API's."""
    document = yaml.safe_load(checkout.read_text())
    document["info"] |= {"title": "Large order", "summary": "A checkout that a person approves."}
    for source in document["sourceDescriptions"]:
        if source["url"].startswith("./"):
            (folder / source["url"]).write_bytes((checkout.parent / source["url"]).read_bytes())
    document["sourceDescriptions"].append({"name": "people", "url": "waits:", "type": "openapi"})
    (workflow,) = document["workflows"]
    workflow["workflowId"] = LARGE
    workflow["summary"] = "A large order of one customer, once a person has approved it."
    workflow["steps"].insert(0, _APPROVAL)
    written = folder / f"{LARGE}.arazzo.yaml"
    written.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return written


def server_of(stage: Stage, tenant: str) -> StdioServerParameters:
    """How an agent's program starts `orchestrator mcp` here."""
    settings = {
        "ORCHESTRATOR_STATE_DIR": str(stage.settings.state_dir),
        "ORCHESTRATOR_BROKER_URL": stage.supervisor.broker_url,
    }
    command = "from orchestrator.cli.main import run; run()"
    return StdioServerParameters(
        command=sys.executable,
        args=["-c", command, "mcp", "--actor", NAME, "--tenant", tenant],
        env={**os.environ, **stage.material.environment(), **stage.world.environment(), **settings},
    )


Approve = Callable[[str], Awaitable[None]]
"""A person approves what has this id."""


class Conversation:
    """What the agent does, each turn told as soon as it is over."""

    def __init__(self, client: Client, approve: Approve, tell: Callable[[Turn], None]) -> None:
        self._client, self._approve, self._tell = client, approve, tell
        self.turns: list[Turn] = []
        self._known: dict[str, Mapping[str, Any]] = {}  # workflows that it has had described

    async def fulfil(self, wish: Wish) -> str:
        """Have a wish done, as far as it can be; the run's id.

        Raises Conflict when it does not end as it has to.
        """
        self._say(Turn(who="user", says=wish.says))
        workflow = await self._found(wish)
        if workflow not in self._known:
            self._known[workflow] = await self._call(
                "What does it need?", "describe", workflow=workflow
            )
        described = self._known[workflow]
        inputs = {k: v for k, v in wish.inputs.items() if k in described["inputs"]["properties"]}
        call = {
            "workflow": workflow, "inputs": inputs, "idempotency_key": inputs["order_id"],
        }  # fmt: skip
        if wish.rehearses:
            await self._call("What would be sent?", "execute", **call, mode="dry_run")
        call["reason"] = wish.says
        stands = await self._call("Have it done.", "execute", **call, wait_seconds=_LOOK_SECONDS)
        if wish.repeats:
            again = await self._call(
                "Was I heard? Once more, with the same key.", "execute", **call
            )
            _hold(again.get("repeated") is True, "the same key", again, "the run of the first call")
        stands = await self._followed(stands)
        _hold(stands["status"] == wish.ending, wish.says, stands["status"], wish.ending)
        says = "Done." if wish.ending is RunStatus.SUCCEEDED else stands["meaning"]
        self._say(Turn(who="agent", says=says))
        return str(stands["run"])

    async def _found(self, wish: Wish) -> str:
        found = await self._call("What is there for this?", "search", question=wish.looks_for)
        names = [each["workflow"] for each in found["result"]]
        wanted = LARGE if wish.large else "checkout"
        _hold(wanted in names, "search", names, f"{wanted} among them")
        return wanted

    async def _followed(self, stands: dict[str, Any]) -> dict[str, Any]:
        """Until it has settled; a person is asked where one is waited for."""
        for _ in range(_MOST_LOOKS):
            if stands["status"] in _SETTLED:
                return stands
            approval = stands.get("approval")
            if approval is not None:
                self._say(Turn(who="agent", says=f"I need a person: {approval['message']}"))
                await self._approve(approval["id"])
                self._say(Turn(who="person", says=f"{PERSON} approves it, in the console."))
            stands = await self._call(
                "How does it stand?", "status", run=stands["run"], wait_seconds=_LOOK_SECONDS
            )
        return stands

    async def _call(self, says: str, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self._client.call_tool(tool, arguments)
        text = "".join(each.text for each in result.content if isinstance(each, TextContent))
        answer = result.structured_content if result.structured_content is not None else text
        self._say(Turn(
            who="agent", says=says, tool=tool, arguments=arguments, answer=answer,
            failed=bool(result.is_error), asked_tokens=tokens_of(arguments),
            answered_tokens=tokens(text),
        ))  # fmt: skip
        _hold(isinstance(answer, dict) and not result.is_error, tool, text, "an answer")
        return dict(result.structured_content or {})

    def _say(self, turn: Turn) -> None:
        self.turns.append(turn)
        self._tell(turn)


async def play(
    stage: Stage, workflows: Workflows, waiting: Waiting, name: str, tell: Callable[[Turn], None]
) -> tuple[list[Turn], dict[int, int]]:
    """All wishes, one after the other: the turns, and how many records each order then has.

    `name` is the runs' tenant, and begins their orders' ids. Raises Conflict when a wish does not
    end as it has to, and Unavailable.
    """
    await stage.world.open()
    large = write_large_order(stage.material.workflow, stage.settings.state_dir)
    for document in (stage.material.workflow, large):
        await workflows.publish(document, by="demo")

    async def approve(wait_id: str) -> None:
        await waiting.decide(
            wait_id, Decision.APPROVED, by=PERSON, via="demo", reason="the stock allows it"
        )

    async with Client(server_of(stage, name)) as client:
        talk = Conversation(client, approve, tell)
        for each in wishes(name):
            stage.watch()
            await talk.fulfil(each)
    async with KintoClient(stage.world.child.spec.address, user=OWNER) as owner:
        state = await read_world(owner)
    return talk.turns, standing_orders(list(state.records), name)


def standing_orders(records: Sequence[tuple[str, str]], prefix: str) -> dict[int, int]:
    """How many records of each order, by its number, the shop has now."""
    found: dict[int, int] = {}
    for number in _numbers(records, prefix):
        found[number] = found.get(number, 0) + 1
    return found


def _numbers(records: Sequence[tuple[str, str]], prefix: str) -> Iterator[int]:
    for _, name in records:
        before, dash, number = name.rpartition("-")
        if dash and before == prefix and number.isdigit():
            yield int(number)


def _hold(holds: bool, place: str, found: Any, wanted: str) -> None:
    if not holds:
        shown = found if isinstance(found, str) else json.dumps(found, default=str)
        problem = Problem(place=place, found=shown[:500], wanted=wanted)
        raise Conflict("the agent's story did not go as it has to", problems=[problem])
