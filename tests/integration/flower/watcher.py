"""What Flower tells, and the chain of a run as it shows it and as the table has it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SETTLED_STATES = {"landed": "SUCCESS", "not_needed": "SUCCESS", "failed": "FAILURE"}


@dataclass(frozen=True)
class Flower:
    """A Flower server."""

    url: str

    def get(self, path: str) -> Any:
        """The API's answer."""
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            return json.loads(response.read())

    def tasks(self) -> dict[str, dict[str, Any]]:
        """All tasks it knows, by id."""
        tasks: dict[str, dict[str, Any]] = self.get("/api/tasks?limit=100000")
        return tasks

    def depths(self) -> dict[str, int]:
        """Messages by queue, as its broker page shows them."""
        queues = self.get("/api/queues/length")["active_queues"]
        return {queue["name"]: queue["messages"] for queue in queues}


def chain_in_flower(tasks: Mapping[str, Mapping[str, Any]], run_id: str) -> list[tuple[str, str]]:
    """(name, state) of a run's tasks in order, by `root_id` and `parent_id` alone.

    Fails unless they are one unbroken chain.
    """
    children: dict[str | None, list[Mapping[str, Any]]] = {}
    count = 0
    for task in tasks.values():
        if task["root_id"] == run_id:
            count += 1
            children.setdefault(task["parent_id"], []).append(task)
    chain: list[Mapping[str, Any]] = []
    at: str | None = None
    while followers := children.get(at):
        assert len(followers) == 1, f"{at} is followed by {[task['name'] for task in followers]}"
        chain += followers
        at = followers[0]["uuid"]
    assert len(chain) == count, f"{count - len(chain)} of {count} tasks hang on nothing"
    return [(str(task["name"]), str(task["state"])) for task in chain]


def chain_in_table(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, status) of what a run did, by `runs show --json`: forward, and then backward."""
    links = [*view["forward"], *view["backward"]]
    return [(link["label"], link["record"]["link"]["status"]) for link in links if _begun(link)]


def _begun(link: Mapping[str, Any]) -> bool:
    state = link["record"]["link"]
    return state["status"] != "pending" or state["first_started_at"] is not None


def assert_same_chain(tasks: Mapping[str, Mapping[str, Any]], view: Mapping[str, Any]) -> None:
    """Names and order are the same, and so are the states where the table's are final."""
    shown, known = chain_in_flower(tasks, view["run"]["id"]), chain_in_table(view)
    assert [name for name, _ in shown] == [name for name, _ in known], (shown, known)
    for (name, state), (_, status) in zip(shown, known, strict=True):
        assert state == SETTLED_STATES.get(status, state), (name, state, status)
