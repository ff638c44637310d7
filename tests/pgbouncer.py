"""A PgBouncer in transaction mode before a test's PostgreSQL (`apt-get install pgbouncer`)."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from sqlalchemy.engine import make_url

from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.process import Child, ChildSpec

_PROGRAMS = ("pgbouncer", "/usr/sbin/pgbouncer")  # Debian has it where users do not look


def program() -> str | None:
    """Where it is installed, or None."""
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


def start_pgbouncer(
    postgres_url: str, folder: Path, *, mode: str = "transaction", pool_size: int = 4,
    connect_query: str = "",
) -> Child:  # fmt: skip
    """Ready when this returns; its `address` is the URL of the same database through it.

    `folder`: a new one of `tempfile`, since others than root have to reach it. Raises Unavailable,
    and FileNotFoundError where it is not installed.
    """
    found = program()
    if found is None:
        raise FileNotFoundError("no PgBouncer: apt-get install pgbouncer")
    url = make_url(postgres_url)
    sockets = str(url.query.get("host", ""))
    server = f"host={sockets or url.host} port={url.port or 5432}"
    port = free_port()
    folder.chmod(0o755)  # it gives up root, and reads its files again
    users = folder / "users.txt"
    users.write_text(f'"{url.username}" ""\n')
    doubled = connect_query.replace("'", "''")
    query = f" connect_query='{doubled}'" if doubled else ""
    # It does not run as root; PostgreSQL's own account may use its socket.
    owner = Path(sockets).owner() if sockets else "nobody"
    account = f"user = {owner}\n" if os.getuid() == 0 else ""
    ini = folder / "pgbouncer.ini"
    ini.write_text(
        f"[databases]\n{url.database} = {server} dbname={url.database}"
        f" user={url.username}{query}\n"
        f"[pgbouncer]\nlisten_addr = {LOOPBACK}\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {users}\npool_mode = {mode}\n"
        f"default_pool_size = {pool_size}\nmax_client_conn = 500\n{account}"
    )
    address = f"postgresql://{url.username}@{LOOPBACK}:{port}/{url.database}"
    spec = ChildSpec(
        name="pgbouncer", argv=(found, str(ini)), address=address,
        ready=lambda: _answers(port), ready_seconds=10,
    )  # fmt: skip
    child = Child(spec, folder / "pgbouncer.log")
    child.start()
    child.wait_ready()
    return child


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=0.2):
            return True
    except OSError:
        return False
