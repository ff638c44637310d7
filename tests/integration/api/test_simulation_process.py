"""A run that is played in the real process, over the whole way."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import httpx

from orchestrator.client import AsyncClient, ask
from orchestrator.ports import Role
from orchestrator.ports.dry_runs import Mode
from tests.integration.api.conftest import Face
from tests.integration.api.test_simulating import DOCUMENT, INPUTS, SHOP, STEPS, WORKFLOW


async def test_the_real_process_plays_it(face: Face, tmp_path: Path) -> None:
    (tmp_path / "buy.arazzo.yaml").write_text(DOCUMENT)
    (tmp_path / "shop.json").write_text(json.dumps(SHOP))
    (made,) = await face.services.workflows.publish(tmp_path / "buy.arazzo.yaml", by="root")
    there = dataclasses.replace(face, version=made.version)
    key = await there.key(Role.SUBMITTER, tenant="acme", name="bot")
    transport = httpx.ASGITransport(there.app)
    async with AsyncClient("http://localhost", key=key, transport=transport) as bot:
        found = await bot(ask.plan_run(WORKFLOW, INPUTS, mode=Mode.SIMULATE, fail_at="charge"))
    assert (found.ends, found.undone, found.stands) == ("compensated", ["reserve"], ["mail"])
    assert [each.step for each in found.steps if each.way != "undo"] == STEPS
    assert {each.answer for each in found.steps[:2]} == {"200, made up"}
