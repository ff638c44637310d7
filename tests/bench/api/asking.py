"""What is asked of the REST face, over and over, and how long each answer takes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from tests.bench.api.filling import GONE, STATUSES, TENANTS, WORKFLOWS
from tests.bench.engine.figures import percentile

Params = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What there is to ask for: some ids, over all ages."""

    ids: list[str]
    now: datetime
    chance: random.Random

    def old(self) -> str:
        return self.chance.choice(self.ids)

    def week(self) -> Params:
        end = self.now - timedelta(days=self.chance.uniform(0, 170))
        return {"since": (end - timedelta(days=7)).isoformat(), "until": end.isoformat()}

    def status(self) -> str:
        return str(self.chance.choice(list(STATUSES)))

    def tenant(self) -> str:
        return self.chance.choice(list(TENANTS))

    def workflow(self) -> str:
        return self.chance.choice(list(WORKFLOWS))


def questions(stock: Stock) -> dict[str, Callable[[], tuple[str, Params]]]:
    """By name: what makes path and parameters of the next one."""

    def runs(**make: Callable[[], object]) -> Callable[[], tuple[str, Params]]:
        return lambda: ("/v1/runs", {name: each() for name, each in make.items()})

    def one(tail: str = "") -> Callable[[], tuple[str, Params]]:
        return lambda: (f"/v1/runs/{stock.old()}{tail}", {})

    def week(**make: Callable[[], object]) -> Callable[[], tuple[str, Params]]:
        return lambda: ("/v1/runs", {**stock.week(), **{name: f() for name, f in make.items()}})

    return {
        "list, newest": runs(),
        "list, 500 newest": runs(limit=lambda: 500),
        "list, deep cursor": runs(cursor=stock.old),
        "status": runs(status=stock.status),
        "status pending, 20,000 wait": runs(status=lambda: "pending"),
        "tenant": runs(tenant=stock.tenant),
        "tenant, deep cursor": runs(tenant=stock.tenant, cursor=stock.old),
        "tenant of the oldest runs alone": runs(tenant=lambda: GONE["tenant"]),
        "workflow": runs(workflow=stock.workflow),
        "workflow of the oldest runs alone": runs(workflow=lambda: GONE["workflow"]),
        "workflow, status": runs(workflow=stock.workflow, status=stock.status),
        "tenant, status": runs(tenant=stock.tenant, status=stock.status),
        "tenant, workflow": runs(tenant=stock.tenant, workflow=stock.workflow),
        "tenant, workflow that never met": runs(
            tenant=lambda: GONE["tenant"], workflow=lambda: GONE["workflow"]
        ),
        "status, workflow that never met": runs(
            status=lambda: "succeeded", tenant=lambda: "acme", workflow=lambda: "nobody's"
        ),
        "a week": week(),
        "a week, tenant, status": week(tenant=stock.tenant, status=stock.status),
        "a week, all": week(tenant=stock.tenant, status=stock.status, workflow=stock.workflow),
        "open a run": one(),
        "its chain": one("/chain"),
        "its audit": one("/audit"),
        "escalations": lambda: ("/v1/escalations", {}),
    }


def ask(client: httpx.Client, stock: Stock, times: int) -> dict[str, list[float]]:
    """Seconds of each answer. In turn, so that nothing is asked twice in a row."""
    asked = questions(stock)
    found: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(times):
        for name, make in asked.items():
            path, params = make()
            began = time.perf_counter()
            answer = client.get(path, params=params)
            found[name].append(time.perf_counter() - began)
            answer.raise_for_status()
    return found


def figures(found: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Milliseconds by question."""
    return {
        name: {
            "p50_ms": 1e3 * percentile(sorted(taken), 0.5),
            "p95_ms": 1e3 * percentile(sorted(taken), 0.95),
            "max_ms": 1e3 * max(taken),
        }
        for name, taken in found.items()
    }
