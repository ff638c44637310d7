"""Addresses of local servers: free ports, and whether something answers."""

from __future__ import annotations

import ipaddress
import socket

from ephemeral_port_reserve import reserve

LOOPBACK = "127.0.0.1"
KEPT_SECONDS = 75
"""Servers keep idle connections open so long: longer than usual clients do (httpx: 5 s, which is
uvicorn's own choice, too). Who sends while the other end closes has its call lost.
"""


def free_port() -> int:
    """A TCP port of the loopback address that the system gives to nobody else for a minute.

    Only to who names it and sets SO_REUSEADDR, as servers do. Such another process may still take
    it before it is used; callers start again with another one.
    """
    port: int = reserve(LOOPBACK)
    return port


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def answers(port: int, host: str = LOOPBACK) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
