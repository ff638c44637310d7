"""The demo with its workers behind a recording proxy, and limits of the test's own."""

from __future__ import annotations

import io
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from rich.console import Console

from orchestrator.demo.material import Material, find_material
from orchestrator.demo.progress import LiveProgress
from orchestrator.demo.scenario import Result, Scenario, Services
from orchestrator.demo.shop import DOCUMENT, Shop
from orchestrator.demo.watching import Watcher
from orchestrator.demo.world import start_kinto
from orchestrator.embedded.process import stop_all
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.settings import Settings, load_settings
from orchestrator.wiring_services import open_services
from tests.integration.gate.processes import Event
from tests.servers import as_environment, other_servers

ROOT = Path(__file__).parents[2]
END_SECONDS = 20


class Recorded:
    """The proxy's process and, once it has ended, what it has seen."""

    def __init__(self, upstream: str, path: Path, delay_seconds: float) -> None:
        self._path = path
        script = Path(__file__).with_name("recording_proxy.py")
        port = str(urlsplit(upstream).port)
        self._process = subprocess.Popen(
            [sys.executable, str(script), port, str(path), str(delay_seconds)],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def hurry(self) -> None:
        """Hold no answer back any more."""
        self._process.send_signal(signal.SIGUSR1)

    def end(self) -> list[Event]:
        """Stop it; its events in order of time."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=END_SECONDS)
        lines = (line.split() for line in self._path.read_text().splitlines())
        return [Event(at=float(at), begins=sign == "+", connection=int(n)) for at, sign, n in lines]

    def calls(self) -> list[tuple[str, str, str, int]]:
        """Once it has ended: method, target, digest of the body and status of all it passed on."""
        text = Path(f"{self._path}.calls").read_text()
        return [tuple(json.loads(line)) for line in text.splitlines()]

    def kill(self) -> None:
        """End it whatever has happened."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate(timeout=END_SECONDS)


@dataclass(frozen=True, kw_only=True)
class LimitedDemo:
    """Server, proxy, broker and workers, all up. Nothing restarts what ends."""

    shop: Shop
    proxy: Recorded
    supervisor: Supervisor
    settings: Settings
    material: Material

    def settled(self) -> int:
        """How many runs have settled."""
        database = self.settings.state_dir / "orchestrator.db"
        try:
            with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10) as link:
                rows = link.execute("SELECT count(*) FROM runs WHERE settled_at IS NOT NULL")
                return int(rows.fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # not migrated yet

    async def play(self, runs: int) -> Result:
        """The demo's own scenario, up to the verdict."""
        progress = LiveProgress(Console(file=io.StringIO()), total=runs, flower_url="")
        async with open_services(self.settings) as services:
            await services.workflows.publish(self.material.workflow, by="test")
            watcher = Watcher(
                services.runs, tenant="limited", expected=runs, progress=progress,
                keep_alive=lambda: None,
            )  # fmt: skip
            return await Scenario(
                services=Services(
                    submitter=services.submitter, runs=services.runs,
                    escalations=services.escalations,
                ),
                world=self.shop, orders=self.shop.seed(runs, seed=1, prefix="limited"),
                tenant="limited", watcher=watcher,
            ).play()  # fmt: skip


@contextmanager
def limited_demo(
    tmp_path: Path,
    *,
    limits: Mapping[str, object],
    delay_seconds: float,
    reload_seconds: float = 5.0,
) -> Iterator[LimitedDemo]:
    """Start all of it with these limits for the server's API; everything is ended on leaving."""
    config = _configured(tmp_path / "config", limits)
    found = find_material(ROOT / "config", DOCUMENT)
    shop = Shop(child=start_kinto(tmp_path / "kinto.log"))
    proxy = Recorded(shop.child.spec.address, tmp_path / "events", delay_seconds)
    address = f"http://127.0.0.1:{proxy.port}{urlsplit(shop.child.spec.address).path}"
    with ExitStack() as stack:
        stack.callback(stop_all, [shop.child])
        stack.callback(proxy.kill)
        settings: dict[str, Any] = {
            "state_dir": tmp_path, "config_dir": config, "concurrency": 200,
            "api_reload_seconds": reload_seconds, **stack.enter_context(other_servers()),
        }  # fmt: skip
        env = {
            **found.environment(), **shop.environment(),
            "ORCHESTRATOR_API_KINTO_BASE_URL": address,
            **as_environment({name: str(value) for name, value in settings.items()}),
        }  # fmt: skip
        options = UpOptions(
            state_dir=tmp_path, workers=2, broker_url=settings.get("broker_url", ""),
            flower=False, env=env,
        )  # fmt: skip
        up = stack.enter_context(Supervisor(options))
        settings["broker_url"] = up.broker_url
        yield LimitedDemo(
            shop=shop, proxy=proxy, supervisor=up, material=found,
            settings=load_settings(**settings),
        )  # fmt: skip


def _configured(folder: Path, limits: Mapping[str, object]) -> Path:
    """The repository's API configuration with other limits."""
    (folder / "apis").mkdir(parents=True)
    configure(folder, limits)
    return folder


def configure(folder: Path, limits: Mapping[str, object]) -> None:
    """Write the file as editors and deployments do: whole, in the place of the one before."""
    api = yaml.safe_load((ROOT / "config" / "apis" / "kinto.yaml").read_text())
    new = folder / "kinto.new"
    new.write_text(yaml.safe_dump({**api, **limits}))
    new.replace(folder / "apis" / "kinto.yaml")
