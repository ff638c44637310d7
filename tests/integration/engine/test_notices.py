"""Targets are told of each escalation once, over real HTTP, whoever tells and however often."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from orchestrator.engine.notices import AppriseSender, WebhookSender, signature, text_of, title_of
from orchestrator.errors import InvalidSetting
from orchestrator.ports.notices import NoticeSender
from orchestrator.service.notifying import Notifier
from orchestrator.service.urgency import Urgency
from orchestrator.store import open_store
from tests.integration.engine.house import House
from tests.integration.engine.world import Fate, Kind, shop_plan

SECRET = "whsec_" + base64.b64encode(b"a key of the receiver's").decode()
NOW = 1_800_000_000
Heard = tuple[str, dict[str, str], bytes]


class Receiver:
    """Somebody who is told, and may not want to hear it."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.heard.append((self.path, headers, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def webhook(receiver: Receiver, *, private: bool = True) -> WebhookSender:
    return WebhookSender(
        "ops", f"http://127.0.0.1:{receiver.port}/hook?room=1", SECRET,
        allow_private_addresses=private, wall_seconds=lambda: NOW + 0.7,
    )  # fmt: skip


async def escalate(house: House, many: int) -> list[str]:
    for number in range(many):
        order = f"o-{number}"
        house.shop.will(order, "s1", Fate.UNSEEN)
        await house.submit(shop_plan([(Kind.UNKEYED, Kind.KEYED)]), order)
    await house.work()
    found = await house.store.escalations()
    assert len(found) == many
    return [each.id for each in found]


@asynccontextmanager
async def notifiers(house: House, senders: Sequence[NoticeSender]) -> AsyncIterator[list[Notifier]]:
    """One for each sender, as worker processes of their own."""
    stores = [open_store(house.url) for _ in senders]
    yield [
        Notifier(store, {"ops": sender}, Urgency())
        for store, sender in zip(stores, senders, strict=True)
    ]
    for store in stores:
        await store.close()
    for sender in senders:
        await sender.aclose()


async def due_again(house: House) -> None:
    """The time of all has come."""
    await house.execute(
        "UPDATE notices SET due_at ="
        " (SELECT opened_at FROM escalations WHERE id = notices.escalation_id)"
    )


async def test_each_is_told_once_by_whoever_and_signed(house: House, receiver: Receiver) -> None:
    await _each_once(house, receiver)


@pytest.mark.postgres
async def test_each_is_told_once_on_a_server(postgres_house: House, receiver: Receiver) -> None:
    await _each_once(postgres_house, receiver)


async def _each_once(house: House, receiver: Receiver) -> None:
    known = await escalate(house, 5)
    async with notifiers(house, [webhook(receiver) for _ in range(3)]) as several:
        await asyncio.gather(*(each.one_pass() for each in several * 2))
        await due_again(house)
        await asyncio.gather(*(each.one_pass() for each in several))
    assert sorted(h["webhook-id"] for _, h, _ in receiver.heard) == [f"{k}.ops" for k in known]
    for path, headers, body in receiver.heard:
        assert path == "/hook?room=1"
        said = f"{headers['webhook-id']}.{NOW}.".encode() + body
        mac = hmac.new(b"a key of the receiver's", said, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
        assert headers["webhook-timestamp"] == str(NOW)
        told = json.loads(body)
        assert told["type"] == "escalation.opened"
        assert (told["data"]["severity"], told["data"]["api"]) == ("high", "shop")
        assert f"{told['data']['id']}.ops" == headers["webhook-id"]


async def test_what_is_not_taken_is_told_again_later(house: House, receiver: Receiver) -> None:
    (known,) = await escalate(house, 1)
    receiver.answers = [500, 302, 200]
    async with notifiers(house, [webhook(receiver)]) as (notifier,):
        await notifier.one_pass()
        await notifier.one_pass()
        assert len(receiver.heard) == 1, "not at once"
        for _ in range(3):
            await due_again(house)
            await notifier.one_pass()
    assert [h["webhook-id"] for _, h, _ in receiver.heard] == [f"{known}.ops"] * 3


async def test_one_that_is_closed_before_is_not_told(house: House, receiver: Receiver) -> None:
    (known,) = await escalate(house, 1)
    await house.escalations.abandon(known, by="ada", reason="r")
    async with notifiers(house, [webhook(receiver)]) as (notifier,):
        await notifier.one_pass()
    assert receiver.heard == []


async def test_one_that_is_closed_before_it_is_told_again_is_not(
    house: House, receiver: Receiver
) -> None:
    (known,) = await escalate(house, 1)
    receiver.answers = [500]
    async with notifiers(house, [webhook(receiver)]) as (notifier,):
        await notifier.one_pass()
        await house.escalations.abandon(known, by="ada", reason="r")
        await due_again(house)
        await notifier.one_pass()
    assert len(receiver.heard) == 1


async def test_private_addresses_are_for_who_asks(house: House, receiver: Receiver) -> None:
    await escalate(house, 1)
    async with notifiers(house, [webhook(receiver, private=False)]) as (notifier,):
        await notifier.one_pass()
    assert receiver.heard == []


async def test_apprise_tells_what_it_has_an_address_for(house: House, receiver: Receiver) -> None:
    (known,) = await escalate(house, 1)
    sender = AppriseSender("ops", f"json://127.0.0.1:{receiver.port}/chat")
    receiver.answers = [500]
    async with notifiers(house, [sender]) as (notifier,):
        await notifier.one_pass()
        await due_again(house)
        await notifier.one_pass()
        await notifier.one_pass()
    assert len(receiver.heard) == 2
    path, _, body = receiver.heard[1]
    assert path == "/chat"
    assert known in json.loads(body)["message"]
    assert "needs a person (in_doubt)" in json.loads(body)["title"]


def test_what_a_chat_reads() -> None:
    told = {
        "id": "w", "workflow": "order", "message": "Pay 7?", "roles": ["approver", "operator"],
        "expires_at": None, "link": "https://x/approve/t",
    }  # fmt: skip
    titles = [
        title_of({"type": f"approval.{occasion}", "data": told})
        for occasion in ("asked", "reminded", "expired")
    ]
    assert titles == [
        "order asks: Pay 7?",
        "order still asks: Pay 7?",
        "order got no answer: Pay 7?",
    ]
    others = {"workflow": "order", "urgency": "page", "proposed_by": "ada", "act": "abandoned"}
    for kind, title in (
        ("slo.alarm", "page: order uses up its error budget too fast"),
        ("proposal.opened", "ada proposes for order: abandoned"),
    ):
        assert title_of({"type": kind, "data": others}) == title
    assert text_of({"data": told}).splitlines()[3:] == [
        "roles: approver, operator", "link: https://x/approve/t",
    ]  # fmt: skip


def test_an_address_that_nobody_knows() -> None:
    with pytest.raises(InvalidSetting, match="target ops"):
        AppriseSender("ops", "nonsense://x")


def test_a_secret_is_taken_as_it_is_or_by_its_prefix() -> None:
    # The example of the Standard Webhooks' own libraries.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    said = b'{"test": 2432232314}'
    known = "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert signature(secret, known, 1614265330, said) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
    assert signature("plain", known, 1, b"") != signature("other", known, 1, b"")
