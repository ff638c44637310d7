"""Links to approvals: looking decides nothing, the form decides once, and a used link says who."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from orchestrator.errors import Conflict, InvalidInput, InvalidSetting
from orchestrator.ports import Role
from orchestrator.settings import Settings
from tests.integration.api.conftest import Face, face_of
from tests.integration.api.operations import under_four_eyes

YES = {"decision": "approved", "reason": "fine"}


async def link(face: Face, wait_id: str, hours: float = 1.0, name: str = "Ada <ada@x>") -> str:
    return await face.services.links.make(wait_id, name=name, lives=timedelta(hours=hours))


async def test_a_link_decides_once_and_then_says_who_did(face: Face) -> None:
    wait = await face.asking(asked={"message": "<b>pay?</b>", "show": {"to": "<i>"}})
    anybody = face.client()
    url = await link(face, wait.id)
    for _ in range(2):  # a mail scanner looks, too
        page = await anybody.get(url)
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
        assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "&lt;b&gt;pay?" in page.text
    assert "&lt;i&gt;" in page.text
    assert "<b>" not in page.text
    assert (await face.services.waiting.approval(wait.id)).is_open
    done = await anybody.post(url, data=YES)
    assert done.status_code == 200
    found = await face.services.waiting.approval(wait.id)
    assert (found.closed_by, found.via, found.outcome) == ("Ada <ada@x>", "link", "approved")
    again = await anybody.post(url, data=YES)
    assert (again.status_code, "approved by Ada &lt;ada@x&gt;" in again.text) == (409, True)
    seen = await anybody.get(url)
    assert (seen.status_code, "approved by Ada" in seen.text) == (200, True)
    assert "<form" not in seen.text


async def test_a_link_that_was_touched_or_is_over_decides_nothing(face: Face) -> None:
    wait = await face.asking()
    anybody = face.client()
    url = await link(face, wait.id)
    head, _, token = url.rpartition("/")
    other = await link(face, (await face.asking()).id)
    mixed = other.rpartition("/")[2].split(".")[0] + "." + token.split(".")[1]
    for bad in (token[:-2] + "xx", mixed, "nonsense", "a.b"):
        assert (await anybody.get(f"{head}/{bad}")).status_code == 404
        assert (await anybody.post(f"{head}/{bad}", data=YES)).status_code == 404
    over = await link(face, wait.id, hours=1e-8)  # to the second below, so it is over at once
    page = await anybody.get(over)
    assert page.status_code == 410
    assert (await anybody.post(over, data=YES)).status_code == 409
    assert (await anybody.post(url, data={"decision": "perhaps"})).status_code == 422
    assert (await anybody.post(url, data={"decision": "rejected"})).status_code == 422
    assert (await face.services.waiting.approval(wait.id)).is_open


async def test_what_cannot_be_linked_is_said(face: Face) -> None:
    wait = await face.asking()
    for name, hours in ((" ", 1.0), ("ada", 0.0), ("ada", 24.0 * 365)):
        with pytest.raises(InvalidInput):
            await face.services.links.make(wait.id, name=name, lives=timedelta(hours=hours))
    url = await link(face, wait.id)
    assert re.fullmatch(r"http://localhost/approve/[A-Za-z0-9_.-]+", url)
    await face.client().post(url, data=YES)
    with pytest.raises(Conflict, match="approved"):
        await link(face, wait.id)


async def test_without_a_key_there_are_no_links(settings: Settings) -> None:
    without = settings.model_copy(update={"link_key": ""})
    async with face_of(without, wants_keys=True) as plain:
        wait = await plain.asking()
        boss = await plain.asker(Role.ADMIN)
        said = await boss.post(f"/v1/approvals/{wait.id}/links", json={"name": "Ada"})
        assert (said.status_code, said.json()["problems"][0]["place"]) == (422, "setting link_key")
        with pytest.raises(InvalidSetting, match="link_key"):
            await link(plain, wait.id)
        assert (await plain.client().get("/approve/a.b")).status_code == 404


async def test_who_may_decide_makes_links_over_rest(face: Face) -> None:
    wait = await face.asking(asked={"message": "pay?", "roles": ["approver"]})
    operator, bob = await face.asker(Role.OPERATOR), await face.asker(Role.APPROVER)
    url, wish = f"/v1/approvals/{wait.id}/links", {"name": "Ada Lovelace", "hours": 1}
    assert (await operator.post(url, json=wish)).status_code == 403
    made = await bob.post(url, json=wish)
    assert made.status_code == 201
    assert (await face.client().post(made.json()["url"], data=YES)).status_code == 200
    decided = await bob.get(f"/v1/approvals/{wait.id}")
    assert decided.json()["closed_by"] == "Ada Lovelace (by a link of ada)"
    assert (await bob.post(url, json=wish)).status_code == 409


async def test_where_two_approve_each_has_a_link(face: Face) -> None:
    of = await under_four_eyes(face)
    wait = await face.asking(**of)
    anybody, first = face.client(), await link(face, wait.id)
    kept = await anybody.post(first, data=YES)
    assert (kept.status_code, "Your approval is kept" in kept.text) == (200, True)
    assert (await anybody.post(first, data=YES)).status_code == 409
    (waits,) = await face.services.proposals.list()
    assert (waits.proposed_by, waits.via) == ("Ada <ada@x>", "link")
    other = await link(face, wait.id, name="Bob")
    done = await anybody.post(other, data=YES)
    assert (done.status_code, "It is approved by Ada" in done.text) == (200, True)
