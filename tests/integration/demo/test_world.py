"""The server refuses what the demo counts on, and tells apart "done before" and "changed since"."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.demo.desk import USER as DESK
from orchestrator.demo.desk import ReviewDesk
from orchestrator.demo.kinto import KintoClient
from orchestrator.demo.schemas import MAX_PAYMENT_CENTS, MAX_QUANTITY
from orchestrator.demo.world import read_world, record_path

GOOD: dict[str, dict[str, Any]] = {
    "stock-reservations": {"item": "rope", "quantity": 2},
    "customers": {"name": "Ada", "email": "ada@example.org"},
    "payments": {"amount": 1_980, "currency": "EUR"},
    "orders": {"item": "rope", "quantity": 2, "total": 1_980, "review": "none"},
    "mail": {"to": "ada@example.org", "subject": "Your order", "text": "Thank you."},
    "shipments": {"name": "Ada", "country": "NL", "pieces": 2},
}


@pytest.fixture
async def client(kinto_url: str) -> AsyncIterator[KintoClient]:
    async with KintoClient(kinto_url, user="checkout") as kinto:
        yield kinto


@pytest.fixture
def order_id() -> str:
    return f"t-{uuid.uuid4().hex}"


async def create(
    client: KintoClient, collection: str, order_id: str, **changed: Any
) -> tuple[int, Any, Any]:
    data = {"order_id": order_id, "changed_by": "checkout", **GOOD[collection], **changed}
    headers = {"If-None-Match": "*"}
    path = record_path(collection, order_id)
    return await client.call("PUT", path, {"data": data}, headers=headers)


@pytest.mark.parametrize("collection", GOOD)
async def test_a_good_record_is_created_once(
    client: KintoClient, order_id: str, collection: str
) -> None:
    status, first, headers = await create(client, collection, order_id)
    assert status == 201
    assert headers["ETag"] == f'"{first["data"]["last_modified"]}"'

    status, second, again = await create(client, collection, order_id)
    assert status == 412
    assert second["details"]["existing"] == first["data"]
    assert again["ETag"] == headers["ETag"]


@pytest.mark.parametrize(
    ("collection", "wrong"),
    [
        ("stock-reservations", {"quantity": MAX_QUANTITY + 1}),
        ("customers", {"email": "no address at all"}),
        ("payments", {"amount": MAX_PAYMENT_CENTS + 1}),
        ("orders", {"item": "phlogiston"}),
        ("mail", {"to": "nobody@mailbox.invalid"}),
        ("shipments", {"country": "AQ"}),
        ("payments", {"changed_by": ""}),
        ("payments", {"unknown_field": 1}),
    ],
)
async def test_the_server_itself_refuses(
    client: KintoClient, order_id: str, collection: str, wrong: dict[str, Any]
) -> None:
    status, body, _ = await create(client, collection, order_id, **wrong)
    assert status == 400
    assert body["details"]
    status, _, _ = await client.call("GET", record_path(collection, order_id))
    assert status == 404


async def test_an_undo_is_refused_once_somebody_has_changed_the_record(
    client: KintoClient, order_id: str
) -> None:
    _, _, ours = await create(client, "payments", order_id)
    path = record_path("payments", order_id)
    await client.expect({200}, "PATCH", path, {"data": {"changed_by": DESK, "remark": "held"}})

    status, body, theirs = await client.call("DELETE", path, headers={"If-Match": ours["ETag"]})
    assert status == 412
    assert body["details"]["existing"]["changed_by"] == DESK
    assert theirs["ETag"] != ours["ETag"]
    assert (await client.call("GET", path))[0] == 200


async def test_an_undo_happens_once_and_repeating_it_finds_nothing(
    client: KintoClient, order_id: str
) -> None:
    _, _, headers = await create(client, "payments", order_id)
    path = record_path("payments", order_id)
    condition = {"If-Match": headers["ETag"]}
    assert (await client.call("DELETE", path, headers=condition))[0] == 200
    assert (await client.call("DELETE", path, headers=condition))[0] == 404


async def test_the_desk_changes_the_record_and_then_files_the_review(
    client: KintoClient, kinto_url: str, order_id: str
) -> None:
    await create(client, "customers", order_id)
    await create(client, "orders", order_id, review="customers")
    async with KintoClient(kinto_url, user=DESK) as desk_client:
        desk = ReviewDesk(desk_client)
        await desk.look()
        await desk.look()
    state = await read_world(client)
    mine = [c for c in state.changes if c.record == order_id]
    assert [(c.action, c.collection) for c in mine] == [
        ("create", "customers"),
        ("create", "orders"),
        ("update", "customers"),
        ("create", "reviews"),
    ]
    assert len({c.user for c in mine}) == 2


async def test_reading_back_gives_records_and_a_strictly_ordered_journal(
    client: KintoClient, order_id: str
) -> None:
    await create(client, "payments", order_id)
    await create(client, "mail", order_id)
    await client.expect({200}, "DELETE", record_path("payments", order_id))
    state = await read_world(client)
    assert ("mail", order_id) in state.records
    assert ("payments", order_id) not in state.records
    positions = [change.position for change in state.changes]
    assert len(set(positions)) == len(positions)
    assert [(c.action, c.collection) for c in state.changes if c.record == order_id] == [
        ("create", "payments"),
        ("create", "mail"),
        ("delete", "payments"),
    ]


async def test_lists_longer_than_a_page_are_read_whole(client: KintoClient) -> None:
    pages = [item async for item in client.listed("/buckets/shop/collections?_limit=3")]
    assert len(pages) > 3
    assert len({item["id"] for item in pages}) == len(pages)
