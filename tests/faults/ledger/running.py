"""Starts the ledger as a process, steers it, and says how workers are told of it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.embedded.process import Child, ChildSpec, stop_all
from tests.faults.hosts.network import Host
from tests.faults.ledger.control import PREFIX, TOKEN_ENDPOINT
from tests.faults.ledger.faults import Fate
from tests.faults.ledger.limits import Limit
from tests.faults.ledger.reading import read_records
from tests.faults.ledger.records import Records
from tests.faults.ledger.server import TOKEN_VARIABLE
from tests.faults.workload import API

ROOT = Path(__file__).parents[3]
_PATIENCE_SECONDS = 60.0


class LedgerProcess:
    """A ledger of its own whose file and log are in `folder`. All methods block.

    `address` is its base URL, the same after a restart. Stop it from where it was started.
    """

    def __init__(
        self, folder: Path, *, token: str | None = None, seed: int = 0, rate: float = 0.0,
        latency_seconds: tuple[float, float] = (0.0, 0.0), limits: Sequence[Limit] = (),
        gives_tokens: bool = False, host: Host | None = None,
    ) -> None:  # fmt: skip
        self.file = folder / "ledger.jsonl"
        self.address = ""
        self._gives_tokens = gives_tokens
        self._log = folder / "ledger.log"
        self._env = {"PYTHONPATH": str(ROOT)} | ({TOKEN_VARIABLE: token} if token else {})
        low, high = latency_seconds
        self._argv = (
            *(() if host is None else host.within),
            sys.executable, "-m", "tests.faults.ledger.server", "--file", str(self.file),
            "--seed", str(seed), "--rate", str(rate), "--latency", str(low), str(high),
            *(("--gives-tokens",) if gives_tokens else ()),
            *(() if host is None else ("--host", host.address)),
            *(part for limit in limits for part in _limit_option(limit)),
        )  # fmt: skip
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        """Of the process itself; 0 before the first start."""
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start it, or start it again after `stop`. Raises Unavailable when it does not listen."""
        self._log.unlink(missing_ok=True)
        port = str(urlsplit(self.address).port or 0)
        spec = ChildSpec(
            name="ledger", argv=(*self._argv, "--port", port), env=self._env, ready=self._listens
        )
        self._child = Child(spec, self._log)
        self._child.start()
        self._child.wait_ready()

    def stop(self) -> None:
        """End it; its file stays."""
        if self._child is not None:
            stop_all([self._child])

    def __enter__(self) -> LedgerProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def records(self) -> Records:
        """What it has written down so far."""
        return read_records(self.file)

    def config(self, **settings: Any) -> str:
        """See `api_config`."""
        return api_config(self.address, fetches_tokens=self._gives_tokens, **settings)

    # --- control ----------------------------------------------------------------------------------

    def statistics(self) -> dict[str, Any]:
        """See `Desk.statistics`: requests, effects, exceeded, in_flight, to_come, …"""
        found: dict[str, Any] = self.control("GET", "statistics")
        return found

    def faults(self, *, seed: int, rate: float, weights: Mapping[str, float] | None = None) -> None:
        """Treat requests badly by chance from now on."""
        self.control("PUT", "faults", {"seed": seed, "rate": rate, "weights": weights})

    def heal(self) -> None:
        """Treat every request well from now on. Late effects still come: see `to_come`."""
        self.control("DELETE", "faults")

    def will(
        self, run: str, step: str, direction: str, *fates: Fate, question: bool = False
    ) -> None:
        """See `FaultPlan.will`."""
        wish = {"run": run, "step": step, "direction": direction, "question": question}
        self.control("POST", "table", wish | {"fates": [fate.to_json() for fate in fates]})

    def limits(self, *limits: Limit) -> None:
        """Hold these limits from now on."""
        self.control("PUT", "limits", [asdict(limit) for limit in limits])

    def latency(self, low: float, high: float) -> None:
        """Take this many seconds for an answer from now on."""
        self.control("PUT", "latency", [low, high])

    def weather(self, **wish: Any) -> None:
        """What befalls every request from now on: `away`, `retry_after`, `most_per_second`."""
        self.control("PUT", "weather", wish)

    def end_tokens(self) -> None:
        """None that was given out is good any more."""
        self.control("DELETE", "tokens")

    def control(self, method: str, route: str, wish: Any = None) -> Any:
        """One request to a control route. Raises OSError, and ValueError when it is refused."""
        parts = urlsplit(self.address)
        link = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=_PATIENCE_SECONDS
        )
        try:
            link.request(method, PREFIX + route, body=json.dumps(wish))
            answer = link.getresponse()
            found = answer.read()
        finally:
            link.close()
        if answer.status != 200:
            raise ValueError(f"{method} {route}: {answer.status} {found.decode()}")
        return json.loads(found)

    def _listens(self) -> bool:
        """Whether it has said where it listens; then it does."""
        with suppress(FileNotFoundError):
            first, newline, _ = self._log.read_text().partition("\n")
            if newline and first.startswith("http://"):
                self.address = first
                return True
        return False


def api_config(
    address: str,
    *,
    rate: str | None = None,
    concurrency: int | None = None,
    connections: int = 200,
    token: bool = True,
    fetches_tokens: bool = False,
    total_seconds: float = 5.0,
) -> str:
    """The text of a worker's `config/apis/ledger.yaml`.

    `rate` in the notation of `limits` ("200/second; 5000/hour"). With `token` workers send what
    their environment's LEDGER_TOKEN holds, or fetch a token with it.
    """
    lines = [
        f"api: {API}",
        f"base_url: {address}",
        "allow_private_addresses: true",
        f"connections: {connections}",
        f"timeouts: {{connect: 2, read: {total_seconds:g}, total: {total_seconds:g}}}",
    ]
    if rate is not None:
        lines.append(f"rate: {rate}")
    if concurrency is not None:
        lines.append(f"concurrency: {concurrency}")
    if fetches_tokens:
        lines += [
            "auth:", "  oauth2:", f"    token_url: {address}{TOKEN_ENDPOINT}",
            "    client_id: workers", f"    client_secret: env:{TOKEN_VARIABLE}",
            "    client_auth: post",
        ]  # fmt: skip
    elif token:
        lines.append(f"auth: {{bearer: 'env:{TOKEN_VARIABLE}'}}")
    return "\n".join(lines) + "\n"


def _limit_option(limit: Limit) -> tuple[str, str]:
    if limit.seconds is None:
        return "--at-once", str(limit.amount)
    return "--limit", f"{limit.amount}/{limit.seconds}"
