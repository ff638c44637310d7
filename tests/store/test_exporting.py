"""The audit for other systems: each record once, whatever happens between two exports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from orchestrator.errors import InvalidInput
from orchestrator.service import exporting
from orchestrator.service.auditing import Checkpoints
from orchestrator.service.exporting import ExportFormat, Exporting
from orchestrator.store import SqlStore, auditing, open_store
from tests.store.making import accepted, audit, claimed, write


@pytest.fixture
async def sql(url: str) -> AsyncIterator[SqlStore]:
    store = open_store(url, pool_size=2)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint covers also what has only just been accepted; pages are small."""
    monkeypatch.setattr(auditing, "SETTLING", timedelta(seconds=-10))
    monkeypatch.setattr(exporting, "RUNS_AT_ONCE", 2)


async def covered(store: SqlStore) -> None:
    await Checkpoints(store, None, every_seconds=60.0).make()


async def exported(
    store: SqlStore, since: int = 0, form: ExportFormat = ExportFormat.JSONL
) -> tuple[list[Any], int]:
    upto = await Exporting(store).reach(since)
    lines = Exporting(store).lines(since, upto, form)
    return [line async for line in lines], upto


async def test_each_record_once_and_in_order(sql: SqlStore) -> None:
    runs = await claimed(sql, 5)
    await covered(sql)
    first, cursor = await exported(sql)
    assert [line["kind"] for line in first] == ["run.accepted"] * 5
    await sql.record([write(run, audit=(audit(2), audit(3))) for run in runs[:3]])
    assert await exported(sql, cursor) == ([], cursor), "no checkpoint covers it yet"
    await covered(sql)
    await sql.request_cancel(runs[0].run.id, mode=CancelMode.STOP, by="ada", reason="why")
    await accepted(sql, 1)
    await covered(sql)
    rest, cursor = await exported(sql, cursor)
    told = [(line["run"], line["seq"]) for line in [*first, *rest]]
    assert len(told) == len(set(told)) == 5 + 6 + 1 + 1
    for run in runs:
        kept = [record.seq for record in await sql.audit(run.run.id)]
        assert [seq for run_id, seq in told if run_id == run.run.id] == kept
    assert await exported(sql, cursor) == ([], cursor)
    assert (await exported(sql))[0] == [*first, *rest], "from the beginning it is all of it"


async def test_what_was_deleted_is_left_out(sql: SqlStore) -> None:
    gone, kept = await claimed(sql, 2)
    await sql.record([write(gone, status=RunStatus.SUCCEEDED, release=True, audit=(audit(2),))])
    await covered(sql)
    await sql.retire_runs(older_than_seconds=-1)
    await sql.retire_partitions(older_than_seconds=-1)
    lines, _ = await exported(sql)
    of_gone = [line for line in lines if line["run"] == gone.run.id]
    assert [line["run"] for line in lines if line not in of_gone] == [kept.run.id]
    assert all(line["tenant"] is None for line in of_gone), "rows that wait for their partition"


async def test_as_far_as_is_wanted_and_one_tenants_alone(sql: SqlStore) -> None:
    for tenant in ("acme", "zeta", "acme"):
        await accepted(sql, 2, tenant=tenant)
        await covered(sql)
    exporting = Exporting(sql)
    assert [await exporting.reach(1, until=until) for until in (0, 2, 9)] == [1, 2, 3]
    reading = exporting.lines(0, 3, ExportFormat.JSONL, tenant="acme")
    lines = [line async for line in reading]
    assert [(line["tenant"], line["checkpoint"]) for line in lines] == [
        ("acme", 1), ("acme", 1), ("acme", 3), ("acme", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("since", [-1, 9])
async def test_a_checkpoint_that_is_not_there(sql: SqlStore, since: int) -> None:
    await accepted(sql)
    await covered(sql)
    with pytest.raises(InvalidInput, match="no such checkpoint") as error:
        await exported(sql, since)
    assert error.value.problems[0].wanted == "the number of a checkpoint, 0 to 1"


async def test_cloud_events(sql: SqlStore) -> None:
    """Attributes have lower-case letters and digits alone, and the required ones are there."""
    await accepted(sql)
    await covered(sql)
    ((line,), _) = await exported(sql, form=ExportFormat.CLOUDEVENTS)
    assert {"id", "source", "specversion", "type"} <= set(line)
    assert all(name.isalnum() and name.islower() for name in line)
    assert (line["specversion"], line["type"]) == ("1.0", "orchestrator.run.accepted")
    assert (line["id"], line["sequence"]) == (f"{line['subject']}/1", "0000000001")


async def test_ocsf(sql: SqlStore) -> None:
    (run,) = await claimed(sql)
    call = {"seconds": 0.1, "sent": 1, "base": "https://bank.example", "status": 201}
    request = {"method": "POST", "target": "/charges"}
    begun = audit(2, "step.begun", step="charge", attempt=1, request=request)
    await sql.record([write(run, audit=(begun, audit(3, "step.failed", step="charge", call=call)))])
    await covered(sql)
    (first, second, third), _ = await exported(sql, form=ExportFormat.OCSF)
    for line in (first, second, third):
        assert line["type_uid"] == line["class_uid"] * 100 + line["activity_id"]
        required = {"activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id",
                    "metadata", "actor", "api", "src_endpoint"}  # fmt: skip
        assert required <= set(line)
    assert (first["activity_id"], second["activity_id"]) == (99, 1)
    assert second["http_request"] == {"http_method": "POST", "url": {"path": "/charges"}}
    assert third["http_response"] == {"code": 201}
    assert (third["status_id"], third["severity_id"]) == (2, 3)
