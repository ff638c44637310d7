"""Everything that a judged run of real processes needs, private to it: broker, database, ledger,
workers. Knows nothing of faults."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet

from orchestrator.embedded.process import stop_all
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.errors import Unavailable
from orchestrator.settings import Settings, load_settings
from orchestrator.store.engine import SET_SESSION
from tests.faults.chaos.broker import Broker
from tests.faults.chaos.bystander import Bystander
from tests.faults.chaos.postgres import Postgres
from tests.faults.chaos.rabbit import RabbitBroker
from tests.faults.ledger.limits import Limit
from tests.faults.ledger.running import LedgerProcess
from tests.faults.ledger.server import TOKEN_VARIABLE
from tests.faults.publishing import publish
from tests.faults.workload import API, SHAPES, Shape
from tests.pgbouncer import start_pgbouncer

CANARY = "canary-do-not-show-"
"""The API's credential begins with it. Nothing that anybody may read has it."""
SEAL_VARIABLE = "LEDGER_SEAL"
NO_TASKS = "[]"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of the API, as workers know them and the ledger enforces them."""

    rate: int | None = None  # requests in any second
    hourly: int | None = None
    concurrency: int | None = None  # in flight at once

    def enforced(self) -> tuple[Limit, ...]:
        """As the ledger counts them."""
        rates = [Limit(amount=amount, seconds=seconds) for amount, seconds, _ in self._rates()]
        slots = () if self.concurrency is None else (Limit(amount=self.concurrency),)
        return (*rates, *slots)

    def configured(self) -> str | None:
        """The rates as a worker's file has them."""
        return "; ".join(f"{amount}/{name}" for amount, _, name in self._rates()) or None

    def _rates(self) -> list[tuple[int, float, str]]:
        both = ((self.rate, 1.0, "second"), (self.hourly, 3600.0, "hour"))
        return [(amount, seconds, name) for amount, seconds, name in both if amount is not None]


@dataclass(frozen=True, kw_only=True)
class Mood:
    """How the ledger treats requests while faults are wanted."""

    bad: float = 0.0  # share of the first few requests of each link
    latency_seconds: tuple[float, float] = (0.0, 0.02)


POOLED_SESSIONS = 8
"""Of PostgreSQL's, where two workers would open dozens."""


BROKER_VARIABLE, DATABASE_VARIABLE = "BROKER_OF_SUITES", "DATABASE_OF_SUITES"


def usual_broker() -> str:
    """Of a scene that does not say. A whole suite is played on another by the environment."""
    return os.environ.get(BROKER_VARIABLE, "redis")


def usual_database() -> str:
    """The same for the database."""
    return os.environ.get(DATABASE_VARIABLE, "sqlite")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is set up."""

    # Or "postgres"; or "pgbouncer": workers reach it through one.
    database: str = field(default_factory=usual_database)
    broker: str = field(default_factory=usual_broker)  # who speaks Redis' protocol; or "rabbitmq"
    workers: int = 2
    seed: int = 1
    limits: Limits = field(default_factory=Limits)
    mood: Mood = field(default_factory=Mood)
    settings: Mapping[str, object] = field(default_factory=dict)  # of workers, beside the defaults
    connections: int = 200  # to the API, of each worker
    broker_env: Mapping[str, str] = field(default_factory=dict)
    disk: Path | None = None  # of PostgreSQL, where it has one of its own


@dataclass(frozen=True, kw_only=True)
class Stage:
    """All of it, up."""

    scene: Scene
    state_dir: Path
    token: str = field(repr=False)
    broker: Broker | RabbitBroker
    postgres: Postgres | None
    ledger: LedgerProcess
    supervisor: Supervisor
    settings: Settings
    tables: Bystander

    @property
    def sqlite_path(self) -> Path:
        """Of the database, where it is SQLite."""
        return self.state_dir / "orchestrator.db"

    @property
    def logs(self) -> Path:
        """One file for each process."""
        return self.state_dir / "logs"

    def watch(self) -> None:
        """Start workers again that have ended. Raises Unavailable when the ledger is gone."""
        self.supervisor.watch()
        if not Path(f"/proc/{self.ledger.pid}").exists():
            raise Unavailable("ledger", self.ledger.address, f"it has ended; {self.state_dir}")

    def misbehave(self) -> None:
        """The ledger treats requests badly from now on, by the scene's seed."""
        self.ledger.faults(seed=self.scene.seed, rate=self.scene.mood.bad)

    def behave(self) -> None:
        """It treats every request well from now on."""
        self.ledger.heal()


@contextmanager
def set_up(scene: Scene, state_dir: Path) -> Iterator[Stage]:
    """Start everything but the workers (`stage.supervisor.start()`); end all of it on leaving.

    `state_dir` is a `new_folder`; it stays.
    """
    with ExitStack() as stack:
        token = f"{CANARY}{secrets.token_hex(8)}"
        logs = state_dir / "logs"
        logs.mkdir()
        broker = _broker(scene, state_dir, logs / "valkey.log")
        stack.callback(broker.stop)
        postgres = _postgres(scene, state_dir, stack)
        (state_dir / "ledger").mkdir()
        ledger = LedgerProcess(
            state_dir / "ledger",
            token=token,
            seed=scene.seed,
            latency_seconds=scene.mood.latency_seconds,
            limits=scene.limits.enforced(),
            gives_tokens=True,
        )
        stack.enter_context(ledger)
        own = _settings(scene, state_dir, postgres, broker)
        _write_config(state_dir / "config", scene, ledger)
        seal = Fernet.generate_key().decode()
        pooled = _pooled(scene, postgres, stack)
        env = {TOKEN_VARIABLE: token, SEAL_VARIABLE: seal, **_as_environment(own | pooled)}
        up = UpOptions(
            state_dir=state_dir, workers=scene.workers, broker_url=broker.url, flower=False, env=env
        )  # fmt: skip
        supervisor = Supervisor(up)
        stack.callback(supervisor.stop)
        settings = load_settings(**own)
        tables = Bystander(settings.database)
        stack.callback(tables.close)
        yield Stage(
            scene=scene,
            state_dir=state_dir, token=token, broker=broker, postgres=postgres, ledger=ledger,
            supervisor=supervisor, settings=settings, tables=tables,
        )  # fmt: skip


async def prepare(stage: Stage, shapes: Sequence[Shape] = SHAPES) -> None:
    """The newest schema, and the shapes as published workflows."""
    await publish(stage.settings.database, shapes)


def new_folder() -> Path:
    """A new folder that other accounts may pass through, as PostgreSQL's must."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-bench-"))
    folder.chmod(0o755)
    return folder


def remove(folder: Path) -> None:
    """A worker's last lines may reach its log while the folder is removed."""
    shutil.rmtree(folder, ignore_errors=True)


def _broker(scene: Scene, state_dir: Path, log_path: Path) -> Broker | RabbitBroker:
    if scene.broker == "rabbitmq":
        return RabbitBroker(state_dir, log_path=log_path)
    return Broker(state_dir, log_path=log_path, env=scene.broker_env)


def _postgres(scene: Scene, state_dir: Path, stack: ExitStack) -> Postgres | None:
    if scene.database == "sqlite":
        return None
    postgres = Postgres(scene.disk or state_dir, log_path=state_dir / "logs" / "postgres.log")
    stack.callback(postgres.stop)
    postgres.start()
    postgres.child.wait_ready()
    return postgres


def _pooled(scene: Scene, postgres: Postgres | None, stack: ExitStack) -> dict[str, object]:
    """What the workers' settings say of the database, where they reach it through PgBouncer."""
    if postgres is None or "pgbouncer" not in (scene.database, usual_database()):
        return {}
    return behind_pooler(postgres, stack)


def behind_pooler(postgres: Postgres, stack: ExitStack) -> dict[str, object]:
    """Settings that lead to this server through a PgBouncer, which ends with the stack."""
    folder = new_folder()
    stack.callback(remove, folder)
    pooler = start_pgbouncer(
        postgres.url, folder, pool_size=POOLED_SESSIONS, connect_query=SET_SESSION
    )
    stack.callback(stop_all, [pooler])
    return {"database_url": pooler.spec.address, "database_session_url": postgres.url}


def _settings(
    scene: Scene, state_dir: Path, postgres: Postgres | None, broker: Broker | RabbitBroker
) -> dict[str, object]:
    return {
        "state_dir": state_dir,
        "config_dir": state_dir / "config",
        "broker_url": broker.url,
        **({"gate_url": broker.gate_url} if broker.gate_url else {}),
        "task_modules": (),
        "credentials_key": f"env:{SEAL_VARIABLE}",
        **({} if postgres is None else {"database_url": postgres.url}),
        **scene.settings,
    }


def _write_config(folder: Path, scene: Scene, ledger: LedgerProcess) -> None:
    (folder / "apis").mkdir(parents=True)
    limits = scene.limits
    rate = limits.configured()
    text = ledger.config(rate=rate, concurrency=limits.concurrency, connections=scene.connections)
    (folder / "apis" / f"{API}.yaml").write_text(text)


def _as_environment(settings: Mapping[str, object]) -> dict[str, str]:
    named = {**settings, "task_modules": NO_TASKS}
    return {f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in named.items()}
