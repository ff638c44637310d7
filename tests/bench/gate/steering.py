"""The API's process, from outside."""

from __future__ import annotations

import json
import math
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.embedded.process import Child, ChildSpec, stop_all
from tests.bench.gate.api import LOOPBACK
from tests.bench.gate.judging import GRACE_SECONDS, Call, Limit

ROOT = Path(__file__).parents[3]
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Of an API's process so far."""

    calls: int
    violations: int  # refused by its own limit
    in_flight: int
    token_requests: int
    cpu_seconds: float


class ApiProcess:
    """Leaving it as a context ends it. Methods block, and raise OSError when it is gone."""

    def __init__(
        self, folder: Path, *, name: str, limit: Limit, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self.name, self.limit = name, limit
        self.address = ""
        self._control_port = 0
        self._log = folder / f"api-{name}.log"
        self._log.unlink(missing_ok=True)
        argv = (
            *(sys.executable, "-m", "tests.bench.gate.api"),
            *("--limit", f"{limit.amount}/{limit.seconds}", "--grace", str(grace_seconds)),
        )
        env = {"PYTHONPATH": str(ROOT)}
        spec = ChildSpec(name=f"api-{name}", argv=argv, env=env, ready=self._listens)
        self._child = Child(spec, self._log)

    def __enter__(self) -> ApiProcess:
        self._child.start()
        self._child.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        stop_all([self._child])

    def set(self, **wish: Any) -> None:
        """mode (api.Mode), latency_seconds, limit_factor, retry_after_seconds, wants_token."""
        self._ask({"do": "set", "to": wish})

    def revoke(self) -> None:
        """The token that it gave is good no more."""
        self._ask({"do": "revoke"})

    def statistics(self) -> Statistics:
        """So far."""
        return Statistics(**self._ask({"do": "statistics"}))

    def calls(self) -> list[Call]:
        """All so far, in order of arrival."""
        return [
            Call(at=at, ended=math.inf if ended is None else ended, tenant=tenant, status=status)
            for at, ended, tenant, status in self._ask({"do": "calls"})
        ]

    def _ask(self, wish: Mapping[str, Any]) -> Any:
        place = (LOOPBACK, self._control_port)
        with socket.create_connection(place, timeout=_PATIENCE_SECONDS) as link:
            link.sendall(json.dumps(wish).encode() + b"\n")
            with link.makefile("rb") as lines:
                answer = json.loads(lines.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["ok"]

    def _listens(self) -> bool:
        with suppress(FileNotFoundError):
            first, newline, _ = self._log.read_text().partition("\n")
            if newline and first.startswith("http://"):
                self.address, _, port = first.partition(" ")
                self._control_port = int(port)
                return True
        return False
