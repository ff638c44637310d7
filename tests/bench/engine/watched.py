"""Flower beside our workers, as an operator would have it open all day."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.embedded.upstate import read_up_state
from tests.bench.engine import costs
from tests.bench.engine.ours import Crew

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.2
_CALM_SECONDS, _CALM_SHARE = 1.0, 0.05  # CPU of one core
_CALM_PATIENCE_SECONDS = 15.0


class Watching:
    """What Flower cost and saw in one round."""

    def __init__(self) -> None:
        self.more: dict[str, float] = {}

    @contextmanager
    def beside(self, crew: Crew) -> Iterator[None]:
        """Begins when Flower knows all workers; then it counts. Raises TimeoutError."""
        pid, url = _flower(crew)
        _until_seen(url, len(crew.supervisor.workers))
        _until_calm(pid)
        before = costs.cpu_seconds({"flower": [pid]})["flower"]
        yield
        self.more["cpu_seconds_of_flower"] = costs.cpu_seconds({"flower": [pid]})["flower"] - before
        self.more["tasks_in_flower"] = len(_get(url, "/api/tasks?limit=100000"))


def _flower(crew: Crew) -> tuple[int, str]:
    up = read_up_state(crew.place.folder)
    assert up is not None
    return up.pids["flower"], up.flower_url


def _until_seen(url: str, workers: int) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    seen: Any = ()
    while time.monotonic() < end:
        try:
            seen = _get(url, "/api/workers?refresh=1")
        except urllib.error.HTTPError:  # it answers so as long as it knows none
            seen = ()
        if len(seen) >= workers:
            return
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"Flower sees {len(seen)} of {workers} workers")


def _until_calm(pid: int) -> None:
    """Its start is over: it has asked the workers what they are, and waits for events."""
    end = time.monotonic() + _CALM_PATIENCE_SECONDS
    used = costs.cpu_seconds({"flower": [pid]})["flower"]
    while time.monotonic() < end:
        time.sleep(_CALM_SECONDS)
        before, used = used, costs.cpu_seconds({"flower": [pid]})["flower"]
        if used - before <= _CALM_SHARE * _CALM_SECONDS:
            return


def _get(url: str, path: str) -> Any:
    with urllib.request.urlopen(url + path, timeout=_PATIENCE_SECONDS) as answer:
        return json.load(answer)
