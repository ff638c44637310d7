"""What a replica answers of the REST face, and what it is never asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from orchestrator.ports import Role
from orchestrator.service.doctor import Verdict
from orchestrator.settings import Settings
from orchestrator.wiring_services import open_services
from tests.integration.api.conftest import INPUTS, WORKFLOW, Face, face_of
from tests.standby import Standby, be_patient, standby_of

pytestmark = [pytest.mark.postgres, pytest.mark.broker]
AGE = "x-data-age"
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def standby(postgres_server: str) -> Iterator[Standby]:
    with standby_of(postgres_server) as made:
        yield made


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    be_patient(monkeypatch)


@pytest.fixture
def replicated(settings: Settings, migrated_postgres_dsn: str, standby: Standby) -> Settings:
    standby.catch_up()
    return settings.model_copy(
        update={
            "database_url": migrated_postgres_dsn,
            "database_read_url": standby.of(migrated_postgres_dsn),
            "database_read_max_lag_seconds": 300.0,  # however little of the machine is ours
        }
    )


@pytest.fixture
async def face(replicated: Settings, standby: Standby) -> AsyncIterator[Face]:
    async with open_services(replicated) as services:
        document = replicated.config_dir / "workflows" / f"{WORKFLOW}.arazzo.yaml"
        await services.workflows.publish(document, by="root")
    async with face_of(replicated, wants_keys=True) as made:
        standby.catch_up()
        await _asked(made)
        yield made


async def _asked(face: Face) -> None:
    """Until the replica has been looked at: whoever comes first waits for that, but not long."""
    somebody, give_up = await face.asker(Role.VIEWER), time.monotonic() + PATIENCE_SECONDS
    while AGE not in (await somebody.get("/v1/runs")).headers:
        assert time.monotonic() < give_up, "nobody asks the replica"
        await asyncio.sleep(0.05)


async def test_lists_are_the_replicas_and_say_how_old_they_are(
    face: Face, standby: Standby
) -> None:
    run_id = await face.accepted()
    standby.catch_up()
    ada = await face.asker(Role.OPERATOR)
    for path in (
        "/v1/runs", f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/chain", "/v1/escalations",
        f"/v1/runs/{run_id}/story", "/v1/audit", f"/v1/workflows/{WORKFLOW}", "/v1/pauses",
        "/v1/schedules", "/v1/jobs", "/v1/slos", "/v1/agents", "/v1/approvals", "/v1/proposals",
    ):  # fmt: skip
        answer = await ada.get(path)
        assert (answer.status_code, path) == (200, path)
        assert 0 <= float(answer.headers[AGE]) < 60, path
    for path in (
        f"/v1/runs/{run_id}?wait=0.01", "/v1/apis", "/v1/workers", "/health/ready", "/metrics",
    ):  # fmt: skip
        answer = await ada.get(path)
        assert (answer.status_code, AGE in answer.headers, path) == (200, False, path)


async def test_who_submits_sees_the_run_at_once_and_others_soon(
    face: Face, standby: Standby
) -> None:
    ada, eve = await face.asker(Role.SUBMITTER), await face.asker(Role.VIEWER)
    assert AGE in (await eve.get("/v1/runs")).headers
    with standby.held_up():
        run_id = await face.accepted()
        listed = await eve.get("/v1/runs")
        assert (listed.json()["items"], AGE in listed.headers) == ([], True)
        # Not there is not said on a replica's word, whoever asks.
        shown = await eve.get(f"/v1/runs/{run_id}")
        assert (shown.status_code, AGE in shown.headers) == (200, False)
        unknown = await eve.get("/v1/runs/00000000-0000-7000-8000-000000000000")
        assert unknown.status_code == 404

        made = await ada.post("/v1/runs", json=_submission(face))
        assert made.status_code == 201, made.text
        listed = await ada.get("/v1/runs")
        assert {each["id"] for each in listed.json()["items"]} == {run_id, made.json()["run_id"]}
        assert AGE not in listed.headers
    standby.catch_up()
    assert len((await eve.get("/v1/runs")).json()["items"]) == 2


async def test_keys_and_tags_are_the_primarys(face: Face, standby: Standby) -> None:
    run_id = await face.accepted()
    standby.catch_up()
    ada, eve = await face.asker(Role.OPERATOR), await face.asker(Role.OPERATOR)
    old_key = await face.key(Role.VIEWER, name="max")
    standby.catch_up()
    assert AGE in (await eve.get("/v1/runs")).headers
    with standby.held_up():
        # A new key is good at once, and one that was revoked is good no more.
        assert (await (await face.asker(Role.VIEWER)).get("/v1/runs")).status_code == 200
        (key,) = [each for each in await face.services.access.list() if each.name == "max"]
        await face.services.access.revoke(key.id, by="root")
        assert (await face.client(old_key).get("/v1/runs")).status_code == 401

        seen = (await eve.get(f"/v1/runs/{run_id}")).headers["etag"]
        assert (await _cancel(ada, run_id, seen)).status_code == 202
        old = await eve.get(f"/v1/runs/{run_id}")
        assert old.headers["etag"] == seen  # eve sees what was before
        refused = await _cancel(eve, run_id, old.headers["etag"])
        assert refused.status_code == 412
        # Who was told that it has changed is shown what it is now.
        assert (await eve.get(f"/v1/runs/{run_id}")).headers["etag"] != seen


async def test_doctor_and_metrics_tell_of_it(face: Face) -> None:
    checks = {each.name: each for each in await face.services.doctor.checks()}
    assert checks["replica"].verdict is Verdict.GOOD
    assert checks["replica tables"].verdict is Verdict.GOOD
    assert checks["replica role"].verdict is Verdict.WARNING  # a superuser's
    root = await face.asker(Role.ADMIN)
    lines = (await root.get("/metrics")).text.splitlines()
    (lag,) = [each for each in lines if each.startswith("orchestrator_replica_lag_seconds ")]
    assert 0 <= float(lag.split()[1]) < 60


def _submission(face: Face) -> dict[str, object]:
    return {"workflow": face.version.workflow, "inputs": INPUTS}


async def _cancel(client: httpx.AsyncClient, run_id: str, tag: str) -> httpx.Response:
    return await client.post(
        f"/v1/runs/{run_id}/cancel", json={"reason": "test"}, headers={"If-Match": tag}
    )
