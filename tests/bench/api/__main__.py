"""`orchestrator bench api`: how soon lists and runs are there among a million.

A private PostgreSQL is filled through the real tables, `orchestrator api` is started beside it,
asked over one connection, and its console is painted by a real browser. Exit code 1: an answer's
95th percentile, or a paint, is above what is wanted.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from orchestrator.embedded.postgres import create_database, throwaway_postgres
from tests.bench.api import asking, filling
from tests.bench.api.serving import serving

WANTED_MS = 200.0
WANTED_PAINT_MS = 1000.0
PAINTS = 5
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
err = Console(stderr=True)


@app.command()
def main(
    *,
    runs: Annotated[int, typer.Option(min=1000, help="Runs that have ended.")] = 1_000_000,
    details: Annotated[
        int, typer.Option(min=0, help="The newest so many have steps, attempts and audit as well.")
    ] = 100_000,
    times: Annotated[int, typer.Option(min=10, help="Each question is asked so often.")] = 100,
    paint: Annotated[bool, typer.Option(help="Paint the console with Chromium as well.")] = True,
    seed: Annotated[int, typer.Option(help="Of all that is chosen at random.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How soon lists and runs are there among a million."""
    with throwaway_postgres() as server:
        url = create_database(server, "bench")
        err.print(f"filling {runs:,} runs …")
        began = time.monotonic()
        filled = asyncio.run(filling.make(url, runs=runs, details=details, seed=seed))
        err.print(f"{filled.figures()} in {time.monotonic() - began:.0f} s")
        stock = _stock(url, seed)
        with _face(url) as address, httpx.Client(base_url=address, timeout=60) as client:
            asking.ask(client, stock, 3)  # whatever is imported or planned at first
            found = asking.figures(asking.ask(client, stock, times))
            painted = painting(f"{address}/console/runs") if paint else {}
    kept = all(each["p95_ms"] < WANTED_MS for each in found.values())
    kept = kept and painted.get("first_paint_ms", 0.0) < WANTED_PAINT_MS
    report = {
        "filled": filled.figures(), "answers": found, "console": painted, "kept": kept,
        "wanted": {"p95_ms": WANTED_MS, "paint_ms": WANTED_PAINT_MS},
    }  # fmt: skip
    _show(report, as_json)
    raise typer.Exit(0 if kept else 1)


def _stock(url: str, seed: int) -> asking.Stock:
    with psycopg.connect(url) as link:
        some = "SELECT id FROM runs TABLESAMPLE SYSTEM (2) ORDER BY random() LIMIT 2000"
        ids = [row[0] for row in link.execute(some)]
        row = link.execute("SELECT now()").fetchone()
    assert row is not None
    return asking.Stock(ids=ids, now=row[0], chance=random.Random(seed))


@contextmanager
def _face(url: str) -> Iterator[str]:
    """`orchestrator api` beside the database, with default settings; its address."""
    folder = Path(tempfile.mkdtemp(prefix="bench-api-"))
    env = {
        "ORCHESTRATOR_DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg:", 1),
        "ORCHESTRATOR_STATE_DIR": str(folder), "ORCHESTRATOR_LOG_LEVEL": "ERROR",
    }  # fmt: skip
    try:
        with serving(env) as address:
            yield address
    finally:
        shutil.rmtree(folder)


def painting(url: str) -> dict[str, float]:
    """Medians of a few first visits, each with nothing in its cache: first paint, rows visible."""
    from playwright.sync_api import sync_playwright

    paints, rows = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for _ in range(PAINTS + 1):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            began = time.perf_counter()
            page.goto(url, wait_until="commit")
            page.wait_for_selector("tbody tr")
            rows.append(1e3 * (time.perf_counter() - began))
            paints.append(page.evaluate(
                "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
            ))  # fmt: skip
            page.close()
        browser.close()
    return {"first_paint_ms": _median(paints[1:]), "rows_ms": _median(rows[1:])}


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _show(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    table = Table("question", "p50 ms", "p95 ms", "max ms")
    for name, each in report["answers"].items():
        table.add_row(name, *(f"{each[key]:.0f}" for key in ("p50_ms", "p95_ms", "max_ms")))
    console = Console()
    console.print(table)
    console.print({**report["console"], "kept": report["kept"]})


if __name__ == "__main__":
    app()
