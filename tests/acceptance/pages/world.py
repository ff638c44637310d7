"""A deployment with what the pages speak of: orders in every state, made when asked for.

Payloads are sealed in it, versions and audit signed, ended runs archived; so that each page holds.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Deployment, Said, end, make_deployment
from tests.acceptance.pages.shop import shop
from tests.unit.docs.snippets import snippets

CONFIG, LAB = (Path(__file__).with_name(name) for name in ("config", "lab"))
READY_SECONDS = 60.0
VERSIONS = 5
_SHOP = """
rate: 200/second
rules:
  charges: {operation: POST /shipments, rate: 20/second}
  search: {operation: '/reservations/*', rate: 50/second}
"""
_API = "api: {name}\nbase_url: {address}\nallow_private_addresses: true\n"


@dataclass(frozen=True, kw_only=True)
class World:
    """The deployment, and what people ask it to be in."""

    deployment: Deployment
    shop: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def run(self, *words: object) -> Said:
        """A command to its end."""
        return self.deployment.run(*words, seconds=120.0)

    def must(self, *words: object) -> Any:
        """Its answer as data; it must succeed."""
        return self.deployment.ask(*words, seconds=120.0)

    def waiting(self, **inputs: object) -> str:
        """A run that waits for an approval."""
        return self._order("order", {"waiting"}, ask=True, **inputs)

    def succeeded(self) -> str:
        """A run that has."""
        return self._order("order", {"succeeded"})

    def abandoned(self) -> str:
        """A run whose parcel nobody took, and of which all else still stands."""
        run = self._order("stuck", {"waiting"}, ask=True)
        self.must("approvals", "approve", self._of_run("approvals", run), "--reason", "yes")
        self._until(run, {"escalated"})
        self.must("escalations", "abandon", self._escalation(run), "--reason", "it stays so")
        self._until(run, {"abandoned"})
        return run

    def archived(self) -> str:
        """A run that is in the archive alone."""
        run = self.succeeded()
        self.must("retention", "run", "--older-than", "0h")
        return run

    def stuck(self) -> str:
        """An escalation: the bank refuses the refund."""
        return self._escalation(self._order("stuck", {"escalated"}))

    def lost(self) -> str:
        """An escalation: nobody knows whether the charge was made."""
        return self._escalation(self._order("lost", {"escalated"}))

    def claimed(self) -> str:
        """An escalation that somebody looks into."""
        found = self.stuck()
        self.must("escalations", "claim", found)
        return found

    def approval(self) -> str:
        """What a run waits for."""
        return self._of_run("approvals", self.waiting())

    def proposal(self) -> str:
        """Of another person."""
        run = self.waiting()
        self.must(
            "runs", "edit", run, "--step", "ship", "--set", "address=7 Elm St", "--reason",
            "they have moved", "--by", "bob",
        )  # fmt: skip
        return self._of_run("proposals", run)

    def job(self) -> str:
        """One that has ended."""
        self.stuck()
        where = ("--where", "reason=compensation_failed", "--reason", "once more", "--yes")
        return str(self.must("escalations", "retry", *where)["id"])

    def agent(self) -> str:
        """The name of one with a policy."""
        name = f"bot-{next(self._numbers)}"
        self.must("agents", "set", name, "--allow", "*", "--reason", "to begin with")
        return name

    def checkpoint(self) -> str:
        """NUMBER:DIGEST of one that is kept elsewhere."""
        said = self.run("audit", "checkpoint").out
        found = re.search(r"\d+:[0-9a-f]{8,}", said)
        assert found, said
        return found[0]

    def key(self) -> str:
        """The id of one that may do little."""
        made = self.must("keys", "create", f"agent-{next(self._numbers)}", "--role", "submitter")
        return str(made["id"])

    def _order(self, kind: str, states: set[str], **inputs: object) -> str:
        order = f"{kind}-{next(self._numbers)}"
        given = {"order_id": order, **inputs}
        words = [word for name, value in given.items()
                 for word in ("--input", f"{name}={_text(value)}")]  # fmt: skip
        run = str(self.must("submit", "checkout", *words)["run_id"])
        self._until(run, states)
        return run

    def _until(self, run: str, states: set[str]) -> None:
        give_up = time.monotonic() + READY_SECONDS
        while (seen := self.must("runs", "show", run)["run"]["status"]) not in states:
            assert time.monotonic() < give_up, f"{run} is {seen}"
            time.sleep(0.05)

    def _escalation(self, run: str) -> str:
        return self._of_run("escalations", run)

    def _of_run(self, what: str, run: str) -> str:
        found = [each for each in self.must(what, "list") if each["run_id"] == run]
        return str(found[0]["id"])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Up with one worker; everything is ended on leaving."""
    deployment = make_deployment(folder / "deployment")
    config = deployment.folder / "config"
    shutil.rmtree(config)
    shutil.copytree(CONFIG, config)
    (deployment.folder / "tasks" / "__init__.py").write_text(example("README.md", "trip = "))
    _give_keys(deployment)
    with shop() as address:
        apis = config / "apis"
        (apis / "documents").mkdir(parents=True)
        shutil.copy(LAB / "payments.json", apis / "documents")
        for name, more in (("shop", _SHOP), ("payments", "")):
            (apis / f"{name}.yaml").write_text(_API.format(name=name, address=address) + more)
        process = deployment.start("up", "--workers", "1", "--json")
        try:
            assert process.stdout is not None
            process.stdout.readline()  # the store is there
            found = World(deployment=deployment, shop=address)
            found.must("workflows", "publish", config / "workflows" / "report.arazzo.yaml")
            _publish(found, config / "workflows" / "checkout.arazzo.yaml")
            yield found
        finally:
            end(process)


def _give_keys(deployment: Deployment) -> None:
    """Of versions, payloads, the audit and links."""
    keys = deployment.folder / "keys"
    keys.mkdir()
    line = _printed(deployment, "workflows", "new-key", "keys/publisher")
    _printed(deployment, "audit", "new-key", "keys/audit.key")
    (keys / "payloads").write_text(_printed(deployment, "payloads", "new-key"))
    (keys / "links").write_text("k" * 32)
    deployment.env.update({
        "ORCHESTRATOR_WORKFLOW_KEYS": json.dumps([line.split()[-1]]),
        "ORCHESTRATOR_WORKFLOW_KEY": f"file:{keys / 'publisher'}",
        "ORCHESTRATOR_AUDIT_KEY": f"file:{keys / 'audit.key'}",
        "ORCHESTRATOR_PAYLOAD_KEYS": f"file:{keys / 'payloads'}",
        "ORCHESTRATOR_LINK_KEY": f"file:{keys / 'links'}",
        "ORCHESTRATOR_PUBLIC_URL": "https://orders.example",
        "ORCHESTRATOR_ARCHIVE_URL": f"file://{deployment.folder / 'records'}",
        "ORCHESTRATOR_DRY_RUN_READS": "true",
    })  # fmt: skip


def _printed(deployment: Deployment, *words: str) -> str:
    said = deployment.run(*words)
    assert said.code == 0, said
    return said.out.strip()


def example(page: str, holds: str) -> str:
    """A block of code of a page."""
    (found,) = [
        each.text for each in snippets()
        if each.page == page and each.kind in {"python", "yaml"} and holds in each.text
    ]  # fmt: skip
    return found


def _publish(world: World, document: Path) -> None:
    text = document.read_text()
    for number in range(1, VERSIONS + 1):
        document.write_text(text.replace("release 1", f"release {number}"))
        world.must("workflows", "publish", document)
