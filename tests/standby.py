"""A streaming replica of a throw-away PostgreSQL server: can be held up, killed and promoted."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from orchestrator.embedded.memory import in_memory
from orchestrator.embedded.postgres import database_url
from orchestrator.embedded.process import Child, ChildSpec
from orchestrator.store import replica
from tests.faults.chaos.postgres import ACCOUNT, accepts, program, under_its_account

PORT = 5432  # names its socket
_ROOM_BYTES = 1024**3
_COPY_SECONDS = 60
_CATCH_UP_SECONDS = 20.0


class Standby:
    """The replica. It listens on a Unix socket alone."""

    def __init__(self, primary_url: str, folder: Path) -> None:
        """`primary_url`: of the server's maintenance database; `folder`: reachable for others."""
        self._primary = primary_url
        data = folder / "data"
        subprocess.run(
            [
                *under_its_account(), program("pg_basebackup"), "-D", str(data),
                "-d", primary_url, "-R", "-X", "stream", "-c", "fast", "--no-sync",
            ],
            check=True, capture_output=True, timeout=_COPY_SECONDS, cwd="/",
        )  # fmt: skip
        self.url = f"postgresql://postgres@/postgres?host={folder}&port={PORT}"
        settings = {
            "listen_addresses": "", "unix_socket_directories": str(folder), "port": str(PORT),
            "wal_receiver_status_interval": "1", "wal_retrieve_retry_interval": "100",
            "logging_collector": "off",
        }  # fmt: skip
        self._child = Child(
            ChildSpec(
                name="standby",
                argv=(
                    *under_its_account(), program("postgres"), "-D", str(data),
                    *(part for name in settings for part in ("-c", f"{name}={settings[name]}")),
                ),
                address=self.url, ready=lambda: accepts(self.url), orphan_signal=signal.SIGQUIT,
            ),
            folder / "standby.log",
        )  # fmt: skip

    def of(self, primary_database_url: str) -> str:
        """The URL of its copy of one of the primary's databases."""
        name = primary_database_url.partition("?")[0].rpartition("/")[2]
        return database_url(self.url, name)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._child.start()
        self._child.wait_ready()

    def kill(self) -> None:
        """As `pg_ctl stop -m immediate`: it says nothing to anybody."""
        self._child.signal(signal.SIGQUIT)
        self._child.stop(by=time.monotonic() + _CATCH_UP_SECONDS)

    def catch_up(self) -> None:
        """Wait until it has replayed what the primary has written by now."""
        with psycopg.connect(self._primary, autocommit=True) as primary:
            row = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        until = time.monotonic() + _CATCH_UP_SECONDS
        with psycopg.connect(self.url, autocommit=True) as link:
            while time.monotonic() < until:
                done = link.execute("SELECT pg_last_wal_replay_lsn() >= %s", row).fetchone()
                if done == (True,):
                    return
                time.sleep(0.005)
        raise AssertionError("the replica does not catch up")

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """While it lasts it receives what the primary writes, and shows none of it."""
        with psycopg.connect(self.url, autocommit=True) as link:
            link.execute("SELECT pg_wal_replay_pause()")
            while link.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() != ("paused",):
                time.sleep(0.005)
            try:
                yield
            finally:
                link.execute("SELECT pg_wal_replay_resume()")


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things, too, a replica is waited for."""
    for name in ("FIRST_SECONDS", "MEASURING_SECONDS"):
        monkeypatch.setattr(replica, name, 30.0)


@contextmanager
def standby_of(primary_url: str) -> Iterator[Standby]:
    """One that runs for the length of the block."""
    # Short: a socket's path has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="pgs-", dir=in_memory(_ROOM_BYTES)))
    if os.geteuid() == 0:
        account = pwd.getpwnam(ACCOUNT)
        os.chown(folder, account.pw_uid, account.pw_gid)
    standby = Standby(primary_url, folder)
    standby.start()
    try:
        yield standby
    finally:
        standby.kill()
        shutil.rmtree(folder)
