"""Ports that were handed out belong to nobody else for a while."""

from __future__ import annotations

import errno
import socket

import pytest

from orchestrator.embedded.address import LOOPBACK, free_port


def test_a_free_port_is_given_to_nobody_who_does_not_name_it() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use") as refused:
        other.bind((LOOPBACK, port))
    assert refused.value.errno == errno.EADDRINUSE


def test_a_server_that_names_it_has_it() -> None:
    with socket.create_server((LOOPBACK, free_port())) as server:
        client = socket.create_connection(server.getsockname(), timeout=1)
        client.close()
