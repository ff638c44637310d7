"""A deployment over several hosts: database, broker and API on one each, workers on the others."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from cryptography.fernet import Fernet

from orchestrator.embedded.process import Child, stop_all
from orchestrator.embedded.workers import worker_spec
from orchestrator.settings import Settings, load_settings
from tests.bench.engine.steps import MODULE
from tests.faults.chaos.broker import Broker
from tests.faults.chaos.bystander import Bystander
from tests.faults.chaos.postgres import Postgres
from tests.faults.chaos.stage import CANARY, SEAL_VARIABLE
from tests.faults.hosts.network import CLIENTS, Host, Network
from tests.faults.ledger.running import ROOT, LedgerProcess
from tests.faults.ledger.server import TOKEN_VARIABLE
from tests.faults.workload import API

LATENCY_SECONDS = (0.0, 0.05)
WARM_SECONDS = 60.0
UP_SECONDS = 240.0
SETTINGS = {"concurrency": 1000}  # a survivor has room for the runs of the others


def on_host(host: Host, argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command line that runs there."""
    return (*host.within, *argv)


@dataclass(kw_only=True)
class Crew:
    """One worker on each of its hosts, until it is ended. Nobody starts it again."""

    env: Mapping[str, str]
    logs: Path
    argv: Callable[[Host, tuple[str, ...]], tuple[str, ...]] = on_host
    children: dict[str, Child] = field(default_factory=dict)  # by host
    rounds: int = 0

    def start(self, host: Host, *, code: Path = ROOT, places: int | None = None) -> Child:
        """A worker of the release whose folder this is; `places`: runs that it holds at once."""
        self.rounds += 1
        env = {**self.env, "PYTHONPATH": f"{code}:{ROOT}"}
        if places is not None:
            env["ORCHESTRATOR_CONCURRENCY"] = str(places)
        spec = worker_spec(host.name, env=env)
        log = self.logs / f"{host.name}-{self.rounds}.log"
        child = Child(replace(spec, argv=self.argv(host, spec.argv)), log)
        child.start()
        self.children[host.name] = child
        return child

    def end_warm(self, host: Host) -> int | None:
        """SIGTERM, and wait until it has handed its runs back; its exit code."""
        child = self.children[host.name]
        child.signal(signal.SIGTERM)
        child.stop(by=time.monotonic() + WARM_SECONDS)
        return child.exit_code

    def kill(self, host: Host) -> None:
        """SIGKILL."""
        self.children[host.name].signal(signal.SIGKILL)
        self.children[host.name].stop(by=0.0)

    def cpu_seconds(self) -> float:
        """Of all that run, with their children."""
        return sum(
            times.user + times.system
            for child in self.children.values() if child.running
            for each in _family(child.pid)
            for times in [each.cpu_times()]
        )  # fmt: skip

    def stop(self) -> None:
        """End all."""
        stop_all(list(self.children.values()))


@dataclass(frozen=True, kw_only=True)
class Site:
    """All of it, up; workers are not."""

    state_dir: Path
    network: Network
    broker: Broker
    postgres: Postgres
    ledger: LedgerProcess
    settings: Settings
    tables: Bystander
    crew: Crew

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.state_dir / "logs"

    def hosts(self, count: int) -> list[Host]:
        """Those of workers, made when they are first asked for."""
        names = [f"worker{number}" for number in range(1, count + 1)]
        return [self.network.hosts.get(name) or self.network.add(name) for name in names]

    def next_release(self) -> Path:
        """A folder with the code as a later release would bring it."""
        folder = self.state_dir / "next-release"
        if not folder.exists():
            shutil.copytree(ROOT / "orchestrator", folder / "orchestrator")
        return folder

    def wait_for(self, *hosts: Host) -> dict[str, str]:
        """Until a worker of each of them is registered: their ids, by host. Raises TimeoutError."""
        end = time.monotonic() + UP_SECONDS
        while True:
            living = self.tables.living()
            found = {
                each.name: living[pid]
                for each in hosts
                if (pid := self.crew.children[each.name].pid) in living
            }
            if len(found) == len(hosts):
                return found
            if time.monotonic() > end:
                missing = sorted({each.name for each in hosts} - found.keys())
                raise TimeoutError(f"no worker of {', '.join(missing)} within {UP_SECONDS:g} s")
            time.sleep(0.1)


@contextmanager
def set_up(state_dir: Path, *, seed: int) -> Iterator[Site]:
    """Start the servers on hosts of their own; end all on leaving. `state_dir` stays."""
    logs = state_dir / "logs"
    logs.mkdir()
    network = Network()
    token = f"{CANARY}{secrets.token_hex(8)}"
    with ExitStack() as stack:
        broker = Broker(state_dir, log_path=logs / "valkey.log", host=network.add("broker"))
        stack.callback(broker.stop)
        postgres = Postgres(
            state_dir, log_path=logs / "postgres.log", host=network.add("database"),
            clients=CLIENTS,
        )  # fmt: skip
        stack.callback(postgres.stop)
        postgres.start()
        postgres.child.wait_ready()
        (state_dir / "ledger").mkdir()
        ledger = LedgerProcess(
            state_dir / "ledger", token=token, seed=seed, latency_seconds=LATENCY_SECONDS,
            host=network.add("api"),
        )  # fmt: skip
        stack.enter_context(ledger)
        own = {
            "state_dir": state_dir, "config_dir": state_dir / "config", "broker_url": broker.url,
            "database_url": postgres.url, "credentials_key": f"env:{SEAL_VARIABLE}", **SETTINGS,
        }  # fmt: skip
        (state_dir / "config" / "apis").mkdir(parents=True)
        (state_dir / "config" / "apis" / f"{API}.yaml").write_text(ledger.config())
        secret = {TOKEN_VARIABLE: token, SEAL_VARIABLE: Fernet.generate_key().decode()}
        crew = Crew(env={**secret, **_as_environment(own, (MODULE,))}, logs=logs)
        stack.callback(crew.stop)
        settings = load_settings(**own, task_modules=(MODULE,))
        tables = Bystander(settings.database)
        stack.callback(tables.close)
        yield Site(
            state_dir=state_dir, network=network, broker=broker, postgres=postgres, ledger=ledger,
            settings=settings, tables=tables, crew=crew,
        )  # fmt: skip


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _as_environment(settings: Mapping[str, object], modules: Sequence[str]) -> dict[str, str]:
    named = {**settings, "task_modules": json.dumps(modules)}
    return {f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in named.items()}
