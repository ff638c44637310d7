"""Real servers for tests: a broker and a PostgreSQL of their own, started when first asked for.

A server that cannot be started skips the tests that need it, except under CI=true, where it is
a failure.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, is_hypothesis_test, settings

from orchestrator.embedded.memory import in_memory
from orchestrator.embedded.postgres import create_database, drop_database, throwaway_postgres
from orchestrator.embedded.process import stop_all
from orchestrator.store import migrate
from tests import steady
from tests.encrypted import start_broker
from tests.sweeps import so_many, sweep

# How long an example takes says what else the machine does, and nothing of what is tested.
settings.register_profile(
    "any machine", deadline=None, max_examples=so_many(40, whole=100),
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("any machine")

# Thousands of SQLite files wait for a disk in every commit; killing processes loses none of it.
if (_memory := in_memory(room_bytes=8 * 1024**3)) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_memory))

CONSOLE = Path(__file__).parent / "acceptance" / "console"
_DATABASES_OF_A_VALKEY = 16
_TEMPLATE = "migrated"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """How many run tests side by side: half as many again as there are cores.

    Whoever runs a test waits for processes, clocks and browsers two fifths of the time, in which a
    core would be idle. `PYTEST_XDIST_AUTO_NUM_WORKERS` says otherwise.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0))
    return cores + cores // 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of figures of time are measured again, see there; the slow ones come first."""
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(sweep)
    steady.measure_again_where_asked(items)
    items[:] = _slow_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def _slow_first(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """In each process's part: else all wait at the end for the one that began a slow one late.

    The console's tests share a deployment and a browser, so one process has all of them.
    """
    console = [item for item in items if CONSOLE in item.path.parents]
    slow = [item for item in items if item.get_closest_marker("slow") and item not in console]
    quick = iter([item for item in items if item not in console and item not in slow])
    size = -(-len(items) // max(processes, 2))
    others = max(processes - 1, 1)
    parts = [console, *(slow[number::others] for number in range(others))]
    return [item for part in parts for item in (*part, *islice(quick, max(size - len(part), 0)))]


@pytest.fixture
def held_still() -> steady.HeldStill:
    """Say of a figure of time that it is as it should be: `held_still(rate >= 170, f"{rate}")`."""
    return steady.held_still


def skip_or_fail(why: str) -> None:
    """Skip here, fail in continuous integration: a missing server must not hide there."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test."""
    for name in [name for name in os.environ if name.startswith("ORCHESTRATOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test that runs a whole program in this process leaves others their log records."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real server without a database number, shared by the session."""
    state_dir = tmp_path_factory.mktemp("valkey")
    try:
        server = start_broker(state_dir, log_path=state_dir / "valkey.log")
    except Exception as error:  # noqa: BLE001 -- whatever it is, there is no server
        skip_or_fail(f"no broker: {error}")
    yield server.spec.address.rpartition("/")[0]
    stop_all([server])


_database_numbers = itertools.cycle(range(_DATABASES_OF_A_VALKEY))


@pytest.fixture
def valkey_url(valkey_server: str) -> str:
    """A real, empty broker for one test: `redis://127.0.0.1:port/db`; encrypted where asked for."""
    import redis

    url = f"{valkey_server}/{next(_database_numbers)}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def servers() -> Iterator[dict[str, str]]:
    """Settings that lead a deployment to the servers a suite is played on; usually none."""
    from tests.servers import other_servers

    with other_servers() as found:
        yield found


@pytest.fixture(scope="session")
def _rabbitmq() -> Iterator[str]:
    """Address of the server for wake-ups that a suite is played on; empty: Redis' own."""
    from tests.servers import wakeups

    with wakeups() as address:
        yield address


@pytest.fixture
def broker_settings(_rabbitmq: str, valkey_url: str) -> dict[str, str]:
    """Of a face: the broker, and the gate's server where that is another."""
    if _rabbitmq:
        from tests.servers import empty

        empty(_rabbitmq)
        return {"broker_url": _rabbitmq, "gate_url": valkey_url}
    return {"broker_url": valkey_url}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a real server's maintenance database, as libpq takes it; shared by the session."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(throwaway_postgres())
        except Exception as error:  # noqa: BLE001 -- whatever it is, there is no server
            skip_or_fail(f"no PostgreSQL: {error}")
        yield url


@pytest.fixture
def postgres_dsn(postgres_server: str) -> Iterator[str]:
    """A real, empty database for one test: `postgresql+psycopg://…`."""
    with _database(postgres_server, template="template1") as dsn:
        yield dsn


@pytest.fixture(scope="session")
def migrated_postgres_template(postgres_server: str) -> str:
    """Name of a migrated database that tests copy; nobody is connected to it."""
    asyncio.run(migrate(create_database(postgres_server, _TEMPLATE)))
    return _TEMPLATE


@pytest.fixture
def migrated_postgres_dsn(postgres_server: str, migrated_postgres_template: str) -> Iterator[str]:
    """A real, migrated database without rows for one test: copied in a tenth of the time."""
    with _database(postgres_server, template=migrated_postgres_template) as dsn:
        yield dsn


@contextmanager
def _database(server: str, *, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    url = create_database(server, name, template=template)
    yield url.replace("postgresql://", "postgresql+psycopg://", 1)
    drop_database(server, name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database file for one test; it does not exist yet."""
    return f"sqlite+aiosqlite:///{tmp_path / 'orchestrator.db'}"
