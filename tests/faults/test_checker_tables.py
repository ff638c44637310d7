"""Both ways to read the tables see the same, and everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.store import migrate
from tests.faults.checker.histories import compensated, succeeded
from tests.faults.checker.honest import World
from tests.faults.checker.invariants import check
from tests.faults.checker.tables import Tables, read_tables, tables_of
from tests.faults.ledger.records import Records
from tests.integration.engine.house import House
from tests.integration.engine.world import Fate, Kind, shop_plan


@pytest.fixture
async def sqlite_house(tmp_path: Path) -> AsyncIterator[House]:
    url = f"sqlite:///{tmp_path / 'orchestrator.db'}"
    await migrate(url)
    house = House(url)
    yield house
    await house.close()


@pytest.fixture
async def postgres_house(migrated_postgres_dsn: str) -> AsyncIterator[House]:
    house = House(migrated_postgres_dsn)
    yield house
    await house.close()


async def _three_runs(house: House) -> list[str]:
    """One that succeeded, one that was compensated, one that escalated with a doubt."""
    keyed, unkeyed = shop_plan([(Kind.KEYED, Kind.KEYED)] * 2), shop_plan([(Kind.UNKEYED, None)])
    house.shop.will("o-2", "s2", Fate.REFUSED)
    house.shop.will("o-3", "s1", Fate.UNSEEN)
    ids = [
        await house.submit(keyed, "o-1"),
        await house.submit(keyed, "o-2"),
        await house.submit(unkeyed, "o-3"),
    ]
    for run_id in ids:
        await house.settle(run_id)
    return ids


async def _same_both_ways(house: House) -> None:
    ids = await _three_runs(house)
    read, told = read_tables(house.url), await tables_of(house.store, ids)
    assert sorted(run.status for run in read.runs) == ["compensated", "escalated", "succeeded"]
    assert sorted(read.runs, key=lambda run: run.id) == sorted(told.runs, key=lambda run: run.id)
    for run in ids:
        assert read.audit[run] == told.audit[run]
        assert read.attempts.get(run, []) == told.attempts[run]
        assert read.escalations.get(run, []) == told.escalations[run]
        written = {(row.step, row.direction): row for row in read.links[run]}
        for row in told.links[run]:  # the ports make up what nothing was written about
            assert written.get((row.step, row.direction), row) == row
        assert all(row.status == "pending" for row in told.links[run]
                   if (row.step, row.direction) not in written)  # fmt: skip


async def test_sqlite_is_read_as_the_ports_tell_it(sqlite_house: House) -> None:
    await _same_both_ways(sqlite_house)


async def test_postgres_is_read_as_the_ports_tell_it(postgres_house: House) -> None:
    await _same_both_ways(postgres_house)


async def test_a_secret_in_any_row_is_found(sqlite_house: House, tmp_path: Path) -> None:
    plan = shop_plan([(Kind.KEYED, None)])
    run_id = await sqlite_house.submit(plan, "tok-4711")
    await sqlite_house.settle(run_id)
    read = read_tables(sqlite_house.url)
    told = await tables_of(sqlite_house.store, [run_id], with_texts=True)
    for tables in (read, told):
        verdict = check([], Records(), tables, canaries=["none", "tok-4711"])
        assert verdict.counts()["secrets"] == 1
        assert "tok-4711" not in "".join(v.detail for v in verdict.violations if v.run == "")


def test_a_secret_in_a_file_is_found(tmp_path: Path) -> None:
    clean, log = tmp_path / "clean.log", tmp_path / "worker.log"
    clean.write_text("nothing here")
    log.write_bytes(b"\xff\xfe Bearer tok-4711 \x00")
    verdict = check([], Records(), Tables(), canaries=["tok-4711"], files=[clean, log])
    assert [(found.invariant, found.run) for found in verdict.violations] == [
        ("secrets", "worker.log")
    ]


def test_only_what_was_acknowledged_can_be_lost() -> None:
    world = World()
    scribe = succeeded(world)
    nothing = Tables()
    assert check(world.seeds, Records(), nothing).counts()["lost"] == 1
    assert not check(world.seeds, Records(), nothing, acknowledged=()).violations
    unknown = check([], Records(), nothing, acknowledged=[scribe.seed.name])
    assert unknown.counts()["lost"] == 1


def test_a_run_of_a_seed_that_nobody_acknowledged_is_judged_all_the_same() -> None:
    world = World()
    scribe = compensated(world)
    scribe.row = replace(scribe.row, status="succeeded")
    verdict = check(world.seeds, world.records, world.tables, acknowledged=())
    assert verdict.counts()["unexpected_endings"] == 1
