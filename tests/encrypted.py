"""A broker that talks TLS alone, and only to who has a name and a password.

For suites that are played on one (`tests/faults/brokers.py`): who starts them sets the environment
that `prepare` gives, and then each broker of tests and chaos is such a server.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import redis
import trustme

from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.process import Child, ChildSpec
from orchestrator.embedded.valkey import start_valkey, valkey_spec
from orchestrator.errors import Unavailable

VARIABLE = "ENCRYPTED_BROKER"
NAME, PASSWORD = "tests", "hunter2-and-more"
_CA, _CERTIFICATE, _KEY = "ca.pem", "server.pem", "server.key"
_TRUSTED = "SSL_CERT_FILE"  # as OpenSSL reads it
_TRIES = 5


def prepare(folder: Path) -> dict[str, str]:
    """Certificates in a folder, and the environment in which brokers are such, and are trusted."""
    ca = trustme.CA()
    certificate = ca.issue_cert(LOOPBACK)
    ca.cert_pem.write_to_path(str(folder / _CA))
    certificate.cert_chain_pems[0].write_to_path(str(folder / _CERTIFICATE))
    certificate.private_key_pem.write_to_path(str(folder / _KEY))
    return {VARIABLE: str(folder), _TRUSTED: str(folder / _CA)}


def trust() -> dict[str, str]:
    """What a process with an environment of its own needs of ours to trust such a broker."""
    return {name: os.environ[name] for name in (_TRUSTED,) if name in os.environ}


def start_broker(state_dir: Path, *, log_path: Path, env: Mapping[str, str] | None = None) -> Child:
    """A server, ready when this returns; encrypted where the environment says so."""
    if VARIABLE not in os.environ:
        return start_valkey(state_dir, log_path=log_path, env=env)
    for _ in range(_TRIES):
        spec = _encrypted(valkey_spec(state_dir, free_port()), Path(os.environ[VARIABLE]))
        child = Child(replace(spec, env=env or {}), log_path)
        child.start()
        try:
            child.wait_ready()
        except Unavailable:
            child.signal(signal.SIGKILL)
        else:
            return child
    raise Unavailable("broker", LOOPBACK, f"did not start, {_TRIES} times: {log_path}")


def _encrypted(spec: ChildSpec, folder: Path) -> ChildSpec:
    port = spec.argv[spec.argv.index("--port") + 1]
    url = f"rediss://{NAME}:{PASSWORD}@{LOOPBACK}:{port}/0"
    options = (
        *("--port", "0", "--tls-port", port, "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(folder / _CERTIFICATE), "--tls-key-file", str(folder / _KEY)),
        *("--tls-ca-cert-file", str(folder / _CA)),
        *("--user", "default", "off"),
        *("--user", NAME, "on", f">{PASSWORD}", "~*", "&*", "+@all"),
    )
    data = spec.argv[spec.argv.index("--dir") + 1]
    return replace(spec, argv=(*spec.argv, *options), address=url, ready=lambda: _serves(url, data))


def _serves(url: str, data: str) -> bool:
    """Whether it answers, and is ours."""
    try:
        with redis.Redis.from_url(url, socket_timeout=0.5) as client:
            return bool(client.config_get("dir")["dir"] == data)
    except redis.RedisError:
        return False
