"""Addresses of local servers: free ports, and whether something answers."""

from __future__ import annotations

import ipaddress
import socket

LOOPBACK = "127.0.0.1"
KEPT_SECONDS = 75
"""Servers keep idle connections open so long: longer than usual clients do (httpx: 5 s, which is
uvicorn's own choice, too). Who sends while the other end closes has its call lost.
"""


def free_port() -> int:
    """A TCP port that was free on the loopback address a moment ago.

    Another process may take it before it is used; callers start again with another one.
    """
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
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
