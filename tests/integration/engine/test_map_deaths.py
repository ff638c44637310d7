"""Maps over data: whoever dies when, each item is done and counted once, and undone in its turn."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.core.events import CancelMode
from orchestrator.core.states import RunStatus
from tests.integration.engine.family import ORDER, leaf
from tests.integration.engine.mortal import MortalHouse
from tests.integration.engine.test_maps import ITEM, begun, check, each, order, settled
from tests.integration.engine.world import Fate

THREE = ["i-0", "i-1", "i-2"]
HOW = {"well": 1, "an item fails": 1, "undone": 1, "undone at once": 2, "cancelled": 1}
"""How it goes, and how many items are undone at once."""
OF_MAPS = ("await_answers", "admit", "tell_map", "record", "claim")
_ALL = [pytest.param(how, 1, marks=pytest.mark.long) for how in HOW]


async def begin(house: MortalHouse, how: str) -> str:
    child = leaf("payment", "c1", inputs_schema=ITEM)
    if how == "an item fails":
        house.shop.will(THREE[1], "c1", Fate.REFUSED)
    elif how.startswith("undone"):
        house.shop.will(ORDER, "s2", Fate.REFUSED)
    step = each(child, THREE, undo_parallel=HOW[how])
    run_id = await begun(house, order("s1", step, "s2"), child)
    if how == "cancelled":
        wanted = [run_id]

        async def cancel(name: str) -> None:
            if name == "c1" and any(house.shop.applied[item] for item in THREE) and wanted:
                redelivery = await house.store.request_cancel(
                    wanted.pop(), mode=CancelMode.UNDO, reason="no", by="ada"
                )
                await house.redeliverer.publish([redelivery] if redelivery else [])

        house.shop.on_send = cancel
    return run_id


async def deaths(
    empty: Path, folder: Path, stride: int, how: str
) -> AsyncIterator[tuple[MortalHouse, str]]:
    """A run whose worker has died at its 1st place, at its 1st + `stride`th, and so on."""
    nth, hit = 1, True
    while hit:
        own = tempfile.mkdtemp(dir=folder)
        shutil.copy(empty, f"{own}/o.db")
        house = MortalHouse(f"sqlite:///{own}/o.db", nth)
        yield house, await begin(house, how)
        await house.close()
        shutil.rmtree(own)  # there are many of them, perhaps in memory
        hit, nth = bool(house.died_at), nth + stride
    assert nth > 40, "so many places there are at least"


@pytest.mark.parametrize(("how", "stride"), [("undone", 61), *_ALL])
async def test_a_death_at_any_write_leaves_each_item_once(
    database: str, how: str, stride: int, tmp_path: Path
) -> None:
    """At each write of a worker in turn, before and after it, until there is no further one."""
    empty = Path(database.removeprefix("sqlite:///"))
    seen = set()
    async for house, run_id in deaths(empty, tmp_path, stride, how):
        run = await settled(house, run_id)
        where = house.died_at or "nowhere"
        seen.add(where)
        assert (run.status is RunStatus.SUCCEEDED) == (how == "well"), f"{run.cause}; died {where}"
        await check(house, run_id, THREE, in_turn=HOW[how] == 1)
    if stride == 1:
        assert seen > {f"{side} {name}" for side in ("before", "after") for name in OF_MAPS}
