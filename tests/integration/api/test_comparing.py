"""Versions of a workflow beside each other: published ones, documents, and over REST."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import InvalidDefinition, InvalidInput, NotFound
from orchestrator.ports import Role
from tests.integration.api.conftest import Face
from tests.integration.api.test_simulating import DOCUMENT, SHOP

CHANGED = DOCUMENT.replace("x-compensation: {none: nothing follows}", "x-pivot: true").replace(
    "item: {type: string}", "item: {type: string, maxLength: 9}"
)


@pytest.fixture
async def file(face: Face, tmp_path: Path) -> Path:
    """Of what is published as version 1."""
    path = tmp_path / "buy.arazzo.yaml"
    path.write_text(DOCUMENT)
    (tmp_path / "shop.json").write_text(json.dumps(SHOP))
    await face.services.workflows.publish(path, by="root")
    return path


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def said(face: Face, before: object, after: object = None) -> list[str]:
    found = await face.services.comparing.compared(str(before), after and str(after))
    return [f"{found.before} → {found.after}", *(each.what for each in found.changes)]


PIVOT = "is the pivot now: once it is done, a run no longer turns back"


async def test_what_would_be_published_beside_what_is(face: Face, file: Path) -> None:
    assert await said(face, "buy", file) == [f"buy v1 → buy of {file}"]
    write(file, CHANGED)
    changed = [f"buy v1 → buy of {file}", "item/maxLength is new: 9", PIVOT]
    assert (await said(face, "buy", file))[:3] == changed
    assert (await said(face, file))[:3] == changed, "a document alone: beside the latest"
    await face.services.workflows.publish(file, by="root")
    assert (await said(face, "buy"))[:3] == ["buy v1 → buy v2", *changed[1:]]
    assert await said(face, "buy@1", "buy@v1") == ["buy v1 → buy v1"]
    assert (await said(face, "buy@2", "buy@1"))[0] == "buy v2 → buy v1"


async def test_what_is_no_version_is_told(face: Face, file: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to compare it with"):
        await said(face, "buy")
    with pytest.raises(NotFound):
        await said(face, "buy@7", "buy")
    with pytest.raises(NotFound, match="no such file"):
        await said(face, "no/where.yaml", "buy")
    with pytest.raises(InvalidInput, match="WORKFLOW@3"):
        await said(face, "buy@Latest", "buy")
    write(file, DOCUMENT.replace("workflowId: buy", "workflowId: sell"))
    assert (await said(face, "buy", file))[0] == f"buy v1 → {file}", "the only one there"
    write(file, "arazzo: none")
    with pytest.raises(InvalidDefinition):
        await said(face, "buy", file)


async def test_over_rest(face: Face, file: Path) -> None:
    write(file, CHANGED)
    await face.services.workflows.publish(file, by="root")
    async with face.client(await face.key(Role.VIEWER)) as client:
        answer = await client.get("/v1/workflows/buy/changes")
        assert answer.status_code == 200
        told = answer.json()
        assert (told["before"], told["after"]) == ("buy v1", "buy v2")
        assert {"where": "step charge", "what": PIVOT, "weighs": True} in told["changes"]
        back = (await client.get("/v1/workflows/buy/changes?version=1&since=2")).json()
        assert (back["before"], back["after"]) == ("buy v2", "buy v1")
        first = await client.get("/v1/workflows/buy/changes?version=1")
        assert first.status_code == 422
        assert "nothing to compare it with" in first.text
