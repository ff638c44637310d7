"""While the API is held the runs stand still: Celery, Flower, its pages and the table agree."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.flower.browser import Browser
from tests.integration.flower.deployment import Deployment, deployment, eventually
from tests.integration.flower.office import HELD_AT, Office, office
from tests.integration.flower.watcher import Flower

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow, pytest.mark.broker]

ERRANDS = 40
DONE = {"landed", "resolved", "not_needed", "skipped"}
PNG = b"\x89PNG"

Standing = set[tuple[str, str]]  # run id, and the name of the step it is at


@dataclass(frozen=True, kw_only=True)
class Held:
    """Forty errands in the hands of two workers, none of which can go on."""

    here: Deployment
    flower: Flower
    standing: Standing


@asynccontextmanager
async def held(folder: Path, **settings: str) -> AsyncIterator[Held]:
    """All errands stand still, and go on in the end.

    What blocks goes to a thread: the office must serve.
    """
    async with office() as served:
        url = {"ORCHESTRATOR_API_OFFICE_BASE_URL": served.url}
        with deployment(folder / "deployment", **url, **settings) as here:
            yield await asyncio.to_thread(_hold, here, served)
            served.go_on.set()
            await asyncio.to_thread(all_settle, here)


def _hold(here: Deployment, served: Office) -> Held:
    flower = here.flower()
    here.ask("workflows", "publish", "config/workflows")
    here.worker("w1")
    here.worker("w2")
    eventually(lambda: len(flower.get("/api/workers?refresh=1")) == 2, what="Flower sees both")
    file = here.folder / "errands.jsonl"
    lines = [
        json.dumps({"inputs": {"number": n}, "idempotency_key": f"{n}"}) for n in range(ERRANDS)
    ]
    file.write_text("\n".join(lines))
    here.ask("submit", "errand", "--file", file)
    eventually(lambda: len(served.held) == ERRANDS, what="all errands to be held", seconds=60)
    rows = here.rows("SELECT id, idempotency_key FROM runs")
    standing = {(str(run_id), HELD_AT[int(key) % 4][0]) for run_id, key in rows}
    return Held(here=here, flower=flower, standing=standing)


@pytest.mark.long
async def test_celery_flower_its_pages_and_the_table_agree(tmp_path: Path) -> None:
    """The same runs at the same steps, whoever is asked, and whatever a person looks at."""
    browser = Browser(tmp_path)
    async with held(tmp_path) as all_held:
        await asyncio.to_thread(agree, all_held)
        await asyncio.to_thread(on_pages, browser, all_held, tmp_path)


@pytest.mark.long
async def test_also_when_the_events_had_no_budget(tmp_path: Path) -> None:
    """Steps that last are shown as soon as there is some."""
    async with held(tmp_path, ORCHESTRATOR_EVENT_BUDGET_PER_SECOND="12") as all_held:
        wanted, flower = all_held.standing, all_held.flower
        await asyncio.to_thread(
            eventually, lambda: in_flower(flower) == wanted, what="Flower to catch up"
        )


def agree(all_held: Held) -> None:
    here, flower, wanted = all_held.here, all_held.flower, all_held.standing
    replies = json.loads(here.celery("inspect", "active", "--json"))
    assert len(replies) == 2
    celery = {(run["root_id"], run["name"]) for worker in replies.values() for run in worker}
    assert celery == wanted
    eventually(lambda: in_flower(flower) == wanted, what="Flower's tasks to agree", seconds=10)
    eventually(lambda: in_workers(flower) == wanted, what="its workers' pages to agree", seconds=30)
    for step in range(4):
        one = next(run for run in sorted(wanted) if run[1] == HELD_AT[step][0])
        assert standing(here.ask("runs", "show", one[0])) == one


def standing(view: Mapping[str, Any]) -> tuple[str, str]:
    """A run and the first link in its direction that is not done."""
    assert view["run"]["owner"] is not None
    links = view[view["run"]["direction"]]
    at = next(link for link in links if link["record"]["link"]["status"] not in DONE)
    return view["run"]["id"], at["label"]


def in_workers(flower: Flower) -> Standing:
    """The active tasks of each worker's page."""
    found: Standing = set()
    for name in flower.get("/api/workers"):
        worker = flower.get(f"/api/workers?refresh=1&workername={name}")[name]
        found |= {(run["root_id"], run["name"]) for run in worker.get("active", ())}
    return found


def in_flower(flower: Flower) -> Standing:
    """Flower's tasks that have started and not ended."""
    tasks = flower.tasks().values()
    return {(task["root_id"], task["name"]) for task in tasks if task["state"] == "STARTED"}


def all_settle(here: Deployment) -> None:
    sql = "SELECT status, count(*) FROM runs WHERE settled_at IS NOT NULL GROUP BY 1 ORDER BY 1"
    wanted = [("compensated", ERRANDS // 4), ("succeeded", ERRANDS - ERRANDS // 4)]
    eventually(lambda: here.rows(sql) == wanted, what="all errands to end", seconds=60)


def on_pages(browser: Browser, all_held: Held, folder: Path) -> None:
    """What a person sees of tasks, workers and queues."""
    wanted = all_held.standing
    pages = {"tasks": "tasks?state=STARTED", "workers": "workers", "broker": "broker"}
    seen = {
        name: browser.look(f"{all_held.flower.url}/{page}", folder / f"{name}.png")
        for name, page in pages.items()
    }
    assert all(picture.startswith(PNG) for _, picture in seen.values())
    rows = [row for row in seen["tasks"][0] if "STARTED" in row]
    matches = [(re.search(r"\[(\S+) @", row), row) for row in rows]
    shown = {(found[1], row.split()[0]) for found, row in matches if found}
    assert shown <= wanted
    assert len(shown) == len(rows) >= 15  # its first page

    workers = [row for row in seen["workers"][0] if "Online" in row]
    assert {row.split("@")[0] for row in workers} == {"w1", "w2"}
    assert sum(int(row.split()[2]) for row in workers) == ERRANDS

    queues = {row.split()[0]: row.split()[1] for row in seen["broker"][0][1:]}
    names = (
        "dead_letter",
        "default.compensation",
        "default.forward",
        "default.urgent",
        "maintenance",
    )
    assert queues == dict.fromkeys(names, "0")
