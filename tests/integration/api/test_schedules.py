"""Schedules over HTTP: by the client, and by commands elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from orchestrator.cli import schedules
from orchestrator.client import AsyncClient, ask
from orchestrator.errors import Conflict, InvalidInput, NotAllowed, NotFound
from orchestrator.ports import Role
from tests.integration.api.conftest import INPUTS, Face
from tests.integration.api.test_commands_elsewhere import address, commands

__all__ = ["address"]  # a fixture


@pytest.fixture
async def client(face: Face) -> AsyncIterator[AsyncClient]:
    key = await face.key(Role.ADMIN, tenant="acme")
    async with AsyncClient(
        "http://localhost", key=key, transport=httpx.ASGITransport(face.app)
    ) as made:
        yield made


async def test_one_is_set_read_changed_and_deleted(face: Face, client: AsyncClient) -> None:
    wanted = {
        "workflow": face.version.workflow, "cron": "30 2 * * *", "zone": "Europe/Berlin",
        "inputs": INPUTS,
    }  # fmt: skip
    made = await client(ask.set_schedule("nightly", wanted, reason="new"))
    assert (made.tenant, made.version, made.changed_by) == ("acme", 1, "ada")
    seen = await client(ask.schedule("nightly"))
    assert len(seen.value.upcoming) == 5
    assert seen.value.next_at == seen.value.upcoming[0]
    changed = await client(
        ask.set_schedule("nightly", {**wanted, "overlap": "queue"}, reason="all", tag=seen.tag)
    )
    assert changed.schedule.overlap == "queue"
    assert changed.next_at == made.next_at
    with pytest.raises(Conflict, match="has changed"):
        await client(ask.set_schedule("nightly", wanted, reason="late", tag=seen.tag))
    assert (await client(ask.pause_schedule("nightly", reason="wrong"))).next_at is None
    assert (await client(ask.resume_schedule("nightly", reason="right"))).next_at is not None
    (now,) = (await client(ask.trigger_schedule("nightly"))).times
    days = await client(
        ask.backfill_schedule("nightly", since=now - timedelta(days=3), until=now, dry_run=True)
    )
    assert len(days.times) == 3
    found = (await client(ask.schedule("nightly"))).value
    assert [(each.at, each.kind, each.state) for each in found.firings] == [(now, "manual", "due")]
    assert [each.kind for each in found.changes] == ["resume", "pause", "set", "set"]
    await client(ask.delete_schedule("nightly", reason="over"))
    assert (await client(ask.schedules())).items == []
    with pytest.raises(NotFound):
        await client(ask.schedule("nightly"))


async def test_what_cannot_be_one_is_refused_with_its_place(
    face: Face, client: AsyncClient
) -> None:
    wrong = {"workflow": face.version.workflow, "cron": "61 * * * *", "zone": "Mars/Base"}
    with pytest.raises(InvalidInput) as refused:
        await client(ask.set_schedule("nightly", wrong, reason="x"))
    assert [each.place for each in refused.value.problems] == ["zone", "cron"]
    with pytest.raises(InvalidInput, match="inputs"):
        await client(
            ask.set_schedule("nightly", {**wrong, "cron": "0 * * * *", "zone": "UTC"}, reason="x")
        )


async def test_commands_from_elsewhere(face: Face, address: str) -> None:
    admin = commands(address, await face.key(Role.ADMIN))
    viewer = commands(address, await face.key(Role.VIEWER))
    given = [f"{name}={value}" for name, value in INPUTS.items()]
    inputs = [word for each in given for word in ("--input", each)]
    mine = ("nightly", "--tenant", "acme")
    made = await admin(
        schedules.app, "set", *mine, "--workflow", face.version.workflow, "--every", "1h",
        *inputs, "--reason", "new",
    )  # fmt: skip
    assert made["schedule"]["every_seconds"] == 3600
    assert "every 1:00:00" in await viewer(schedules.app, "list", drawn=True)
    with pytest.raises(NotAllowed):
        await viewer(schedules.app, "pause", *mine, "--reason", "x")
    (at,) = (await admin(schedules.app, "trigger", *mine))["times"]
    assert datetime.fromisoformat(at).tzinfo == UTC
    shown = await viewer(schedules.app, "show", *mine, drawn=True)
    assert "due" in shown
    assert "new" in shown
    assert (await admin(schedules.app, "delete", *mine, "--reason", "over"))["name"] == "nightly"
    assert "no schedules" in await viewer(schedules.app, "list", drawn=True)
