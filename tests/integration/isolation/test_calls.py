"""Isolated tasks that call APIs: over the worker's gate, and no further than they may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator.core.exchange import FrozenRequest, Outcome
from orchestrator.core.states import Direction
from orchestrator.definitions.tasks import TaskRegistry, task_of
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.http import HttpTransport
from orchestrator.engine.isolation.brokering import ApiDesk, granted, key_of, require_grants
from orchestrator.engine.isolation.crew import IsolatedTasks
from orchestrator.engine.isolation.sandbox import Bounds, Sandbox
from orchestrator.engine.tasks import TaskTransport
from orchestrator.errors import HeldUp, InDoubt, InvalidSetting, NotLanded
from orchestrator.ports import AttemptContext, GateBusy, Seen, Visit
from tests.integration.isolation import hostile
from tests.integration.isolation.test_isolation import ROOT, possible

MODULE = hostile.__name__
BOUNDS = Bounds(memory_bytes=512 << 20, cpu_seconds=60, file_bytes=1 << 20)
LIMIT = 60.0
KEYED = {MODULE: {"shop": "Idempotency-Key"}}
CHARGE = {"api": "shop", "method": "POST", "target": "/charges", "json": {"amount": 5}}
PRICE = {"api": "shop", "method": "GET", "target": "/prices/1?x=%20"}

__all__ = ["possible"]


@dataclass
class Permit:
    gate: Gate
    fresh: bool = True

    def release(self, seen: Seen | None = None) -> None:
        self.gate.told.append(("release", None if seen is None else seen.outcome))

    def give_up(self, *, after_seconds: float, timeout_seconds: float | None) -> None:
        self.gate.told.append(("give_up", None))

    def hand_back(self) -> None:
        self.gate.told.append(("hand_back", None))


@dataclass
class Gate:
    """Lets everybody in, but for what `busy` says; notes who came and how it went."""

    visits: list[Visit] = field(default_factory=list)
    told: list[tuple[str, Any]] = field(default_factory=list)
    busy: float = 0.0

    def try_enter(self, visit: Visit) -> Permit | None:
        raise AssertionError("a function waits in turn")

    def turns_away(self, visit: Visit, *, patience_seconds: float) -> GateBusy | None:
        raise AssertionError("a function waits in turn")

    async def enter(self, visit: Visit, *, patience_seconds: float) -> Permit:
        self.visits.append(visit)
        if self.busy:
            raise GateBusy(self.busy)
        return Permit(self)


Answering = Callable[[str, dict[str, str], bytes], tuple[int, bytes] | None]


@dataclass
class Api:
    """A real server on loopback; what it was sent, and what it answers (None: nothing, ever)."""

    port: int = 0
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: Answering = lambda line, headers, body: (200, b'{"ok": true}')

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n"):
                pairs = [line.split(": ", 1) for line in head[1:] if line]
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.seen.append((head[0].removesuffix(" HTTP/1.1"), headers, body))
                answer = self.answers(*self.seen[-1])
                if answer is None:
                    await asyncio.sleep(3600)
                    return
                status, text = answer
                told = f"HTTP/1.1 {status} x\r\nX-Api: yes\r\nContent-Length: {len(text)}\r\n\r\n"
                writer.write(told.encode() + text)
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()


@dataclass
class World:
    api: Api
    gate: Gate
    transport: TaskTransport

    async def call(
        self, function: Callable[..., Any], *, seconds: float = LIMIT, attempt: int = 1,
        context: AttemptContext | None = None, **arguments: Any,
    ) -> Any:  # fmt: skip
        found = task_of(function)
        assert found is not None
        request = FrozenRequest(
            method="TASK", target=found.name, body=json.dumps(arguments).encode(), key="step-key"
        )
        context = context or AttemptContext(
            run_id="run-1", step_id="s", attempt=attempt, direction=Direction.FORWARD,
            tenant="acme",
        )  # fmt: skip
        answer = await self.transport.send("tasks", request, context, timeout_seconds=seconds)
        return json.loads(answer.body)


@asynccontextmanager
async def world(grants: Any = None, **config: Any) -> AsyncIterator[World]:
    api, gate = Api(), Gate()
    async with await asyncio.start_server(api.talk, "127.0.0.1", 0) as server:
        api.port = server.sockets[0].getsockname()[1]
        known = {
            "name": "shop", "base_url": f"http://127.0.0.1:{api.port}/api",
            "allow_private_addresses": True, **config,
        }  # fmt: skip
        apis = {"shop": ApiConfig(**known), "bank": ApiConfig(**{**known, "name": "bank"})}
        http = HttpTransport(apis)
        sandbox = Sandbox(
            BOUNDS, readable=[Path(hostile.__file__), ROOT / "tests" / "__init__.py"], line=True
        )
        crew = IsolatedTasks(sandbox, at_once=2, spares=0, most_answer_bytes=100_000)
        tasks = [task_of(value) for value in vars(hostile).values()]
        registry = TaskRegistry([each for each in tasks if each is not None])
        desk = ApiDesk(gate, http, KEYED if grants is None else grants, most_bytes=100_000)
        transport = TaskTransport(registry, threads=1, isolated=crew, apis=desk)
        try:
            yield World(api, gate, transport)
        finally:
            await transport.aclose()
            await http.aclose()


async def test_a_call_goes_the_way_of_all_calls() -> None:
    async with world(headers=(("Authorization", "Bearer hunter2-and-more"),)) as here:
        context = AttemptContext(
            run_id="run-1", step_id="s", attempt=2, direction=Direction.BACKWARD, tenant="acme"
        )
        said = await here.call(hostile.order, context=context, wishes=[PRICE, CHARGE])
        price, charge = said["found"]
        assert (price["status"], json.loads(price["body"])) == (200, {"ok": True})
        assert charge["headers"]["x-api"] == "yes"
        (first, asked, _), (second, sent, body) = here.api.seen
        assert (first, second) == ("GET /api/prices/1?x=%20", "POST /api/charges")
        assert json.loads(body) == {"amount": 5}
        assert sent["idempotency-key"] == key_of("step-key", 2, "shop", "POST", "/charges")
        assert "idempotency-key" not in asked
        assert sent["authorization"] == "Bearer hunter2-and-more"
        assert "hunter2" not in str(said)
        assert [each.operation for each in here.gate.visits] == ["GET /prices/1", "POST /charges"]
        assert {(each.tenant, each.undo, each.retry) for each in here.gate.visits} == {
            ("acme", True, True)
        }
        assert here.gate.told == [("release", Outcome.LANDED)] * 2
        told = context.trail.calls
        assert [(each["operation"], each["status"], each["sent"]) for each in told] == [
            ("GET /prices/1", 200, 1), ("POST /charges", 200, 1)
        ]  # fmt: skip
        assert told[1]["key"] == sent["idempotency-key"]


async def test_each_attempt_has_the_same_keys() -> None:
    async with world() as here:
        for attempt in (1, 2):
            await here.call(hostile.order, attempt=attempt, wishes=[CHARGE, CHARGE])
        keys = [headers["idempotency-key"] for _, headers, _ in here.api.seen]
        assert keys[:2] == keys[2:]
        assert keys[0] != keys[1]


REFUSED = {
    "an API that it does not name": {**PRICE, "api": "bank"},
    "an API that there is not": {**PRICE, "api": "nobody"},
    "another address": {**PRICE, "target": "http://169.254.169.254/latest"},
    "an address without a scheme": {**PRICE, "target": "//169.254.169.254/latest"},
    "out of the base path": {**PRICE, "target": "/../admin"},
    "out of it, encoded": {**PRICE, "target": "/a/%2e%2E/%2e./admin"},
    "backslashes": {**PRICE, "target": "/a\\..\\admin"},
    "a second request": {**PRICE, "target": "/ HTTP/1.1\r\nHost: x\r\n\r\nGET /"},
    "a fragment": {**PRICE, "target": "/a#b"},
    "a method": {**PRICE, "method": "CONNECT"},
    "a method in other letters": {**PRICE, "method": "get"},
    "credentials of its own": {**PRICE, "headers": {"Authorization": "Bearer mine"}},
    "a cookie": {**PRICE, "headers": {"cookie": "a=b"}},
    "another host": {**PRICE, "headers": {"Host": "evil.example"}},
    "a key of its own": {**CHARGE, "headers": {"idempotency-KEY": "mine"}},
    "a header within a header": {**PRICE, "headers": {"X-A": "b\r\nX-C: d"}},
    "framing": {**CHARGE, "headers": {"Transfer-Encoding": "chunked"}},
}


async def test_what_it_may_not_is_told_and_does_not_leave() -> None:
    async with world() as here:
        said = await here.call(hostile.order, wishes=[*REFUSED.values(), PRICE])
        *refused, allowed = said["found"]
        wrong = [
            (name, found)
            for name, found in zip(REFUSED, refused, strict=True)
            if "not_landed" not in found or found["retryable"]
        ]
        assert wrong == []
        assert allowed["status"] == 200
        assert [line for line, _, _ in here.api.seen] == ["GET /api/prices/1?x=%20"]


async def test_effects_say_which_calls_may_be_made() -> None:
    async with world(grants={MODULE: {"shop": ""}}) as here:
        (looked, changed) = (await here.call(hostile.look, wishes=[PRICE, CHARGE]))["found"]
        assert looked["status"] == 200
        assert "effects none; wanted GET or HEAD" in changed["not_landed"]
        (keyless,) = (await here.call(hostile.order, wishes=[CHARGE]))["found"]
        assert "not known to honour idempotency keys" in keyless["not_landed"]
        (unkeyed,) = (await here.call(hostile.order_without_key, wishes=[CHARGE]))["found"]
        assert unkeyed["status"] == 200
        assert [line for line, _, _ in here.api.seen] == [
            "GET /api/prices/1?x=%20", "POST /api/charges"
        ]  # fmt: skip
        (_, headers, _) = here.api.seen[-1]
        assert not [name for name in headers if "key" in name]


@pytest.mark.parametrize("then", ["refuse", "break"])
async def test_a_failure_after_an_effect_is_a_doubt(then: str) -> None:
    async with world() as here:
        with pytest.raises(InDoubt, match="after shop POST /charges, which may have landed"):
            await here.call(hostile.order, wishes=[CHARGE], then=then)
        here.api.answers = lambda *_: (402, b"{}")
        with pytest.raises(NotLanded) as declined:
            await here.call(hostile.order, wishes=[CHARGE], then=then)
        assert not declined.value.settles_doubt, "an earlier attempt may have gone another way"
        here.api.answers = lambda *_: (503, b"{}")
        with pytest.raises(InDoubt):
            await here.call(hostile.order, wishes=[CHARGE], then=then)


async def over_in_a_call(here: World, function: Callable[..., Any], wish: Any) -> Exception:
    """How a call ends whose API never answers; again with more time where a process came late."""
    before = len(here.api.seen)
    for seconds in (2, 8, 32):
        try:
            await here.call(function, wishes=[wish], seconds=seconds)
        except (NotLanded, InDoubt) as error:
            if len(here.api.seen) > before:
                return error
    raise AssertionError("no process was there within 32 s")


async def test_time_that_is_over_in_a_call_leaves_a_doubt() -> None:
    async with world() as here:
        here.api.answers = lambda *_: None
        changed = await over_in_a_call(here, hostile.order, CHARGE)
        assert isinstance(changed, InDoubt)
        assert "no result in time (after shop POST /charges, which may" in changed.reason
        looked = await over_in_a_call(here, hostile.look, PRICE)
        assert isinstance(looked, NotLanded)
        assert "no result in time" in looked.reason
        assert [kind for kind, _ in here.gate.told] == ["give_up", "release"] * 2


async def test_a_gate_that_admits_nobody_is_told_and_nothing_leaves() -> None:
    async with world() as here:
        here.gate.busy = 90
        (found,) = (await here.call(hostile.order, wishes=[CHARGE]))["found"]
        assert "admits nobody" in found["not_landed"]
        assert found["retryable"]
        assert here.api.seen == []


async def test_who_may_have_lost_the_run_sends_nothing_more() -> None:
    async with world() as here:
        context = AttemptContext(
            run_id="run-1", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="acme",
            may_go_on=lambda: not here.api.seen,
        )  # fmt: skip
        said = await here.call(hostile.order, context=context, wishes=[CHARGE, CHARGE])
        landed, held_up = said["found"]
        assert landed["status"] == 200
        assert "came too late" in held_up["not_landed"]
        assert len(here.api.seen) == 1
        lost = replace(context, may_leave=lambda: False)
        with pytest.raises(HeldUp):
            await here.call(hostile.order, context=lost, wishes=[CHARGE])


async def test_noise_on_the_line_is_answered_or_ended() -> None:
    async with world() as here:
        for text in ("nonsense\n", "[]\n", '{"api": 7}\n', "\x00\n", '{"api": "shop"}\n'):
            heard = await here.call(hostile.shout, text=text, times=1)
            assert "what is no request" in heard["heard"]
        with pytest.raises(NotLanded, match="two calls at once"):
            await here.call(hostile.shout, text="{}\n{}\n", times=1)
        with pytest.raises(NotLanded, match="a call of more than"):
            await here.call(hostile.shout, text="x" * 60_000, times=3)
        assert here.api.seen == []


async def test_without_a_grant_a_declaration_is_worth_nothing() -> None:
    order, look = task_of(hostile.order), task_of(hostile.look)
    assert order is not None
    assert look is not None
    assert granted(order, {}) == {}
    assert granted(order, {"tests": {"shop": "K"}}) == {"shop": "K"}
    assert granted(order, {"tests": {"shop": "K"}, MODULE: {"bank": ""}}) == {}
    with pytest.raises(InvalidSetting, match="no grant of shop") as refused:
        require_grants([order, look], {"tests.integration": {"bank": ""}})
    assert len(refused.value.problems) == 2
    async with world(grants={}) as here:
        (found,) = (await here.call(hostile.look, wishes=[PRICE]))["found"]
        assert "wanted one that it may call: none" in found["not_landed"]
        assert here.api.seen == []
