"""What the check of the chart brings into its namespace beside the chart, and the values of both
releases: servers, the API that is called, secrets of the roles. Plain manifests, as kubectl wants.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.packaging import worlds
from tests.packaging.image import DEPLOY

RELEASE = "orders"
ROLES = ("worker", "api", "flower")
ADMIN = "admin"
OWNER = "orchestrator"
Manifest = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Images:
    """What the cluster can pull, or has."""

    world: str
    postgres: str = "postgres:17-alpine"
    valkey: str = "valkey/valkey:8-alpine"


@dataclass(frozen=True, kw_only=True)
class Passwords:
    """Of users of the database and of the broker; letters and digits alone."""

    owner: str = field(default_factory=lambda: secrets.token_hex(12), repr=False)
    of_roles: Mapping[str, str] = field(
        default_factory=lambda: {role: secrets.token_hex(12) for role in (*ROLES, ADMIN)},
        repr=False,
    )

    def database(self, role: str) -> str:
        """Where a role finds the database, as itself."""
        return _database(f"orchestrator_{role}", self.of_roles[role])

    def of_owner(self) -> str:
        """Where the tables' owner finds it."""
        return _database(OWNER, self.owner)

    def broker(self, role: str, number: int = 0) -> str:
        """Where a role finds the broker, as itself."""
        return f"redis://{role}:{self.of_roles[role]}@valkey:6379/{number}"

    def users(self) -> str:
        """deploy/valkey/users.acl with them."""
        text = (DEPLOY / "valkey/users.acl").read_text()
        for name, password in self.of_roles.items():
            digest = hashlib.sha256(password.encode()).hexdigest()
            text = text.replace(f"#{name.upper()}_SHA256", f"#{digest}")
        return text

    def statements(self) -> str:
        """SQL that gives the database's roles theirs, after deploy/postgres/roles.sql."""
        return "".join(
            f"ALTER ROLE orchestrator_{role} PASSWORD '{self.of_roles[role]}';\n"
            for role in ("worker", "api")
        )


def surroundings(images: Images, passwords: Passwords) -> list[Manifest]:
    """All objects but those of the chart."""
    return [
        *_secrets(passwords),
        _secret("servers", {"owner": passwords.owner, "users.acl": passwords.users()}),
        *_server("postgres", 5432, _postgres(images.postgres)),
        *_server("valkey", 6379, _valkey(images.valkey), volumes=[_volume("servers", "users")]),
        *_server("ledger", worlds.LEDGER_PORT, _ledger(images.world)),
    ]


def values(images: Images, namespace: str, *, release: int) -> Manifest:
    """Of the chart, for a small cluster; the second release differs in a setting."""
    repository, _, tag = images.world.rpartition(":")
    small = {"requests": {"cpu": "50m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}}
    return {
        "image": {"repository": repository, "tag": tag},
        "settings": {"log_level": "INFO", "retention_days": release},
        "environment": [_from_secret(name, "ledger", name) for name in worlds.SECRETS],
        "lanes": {"default": {"replicas": 2, "concurrency": 200, "resources": small}},
        "api": {"replicas": 2, "resources": small},
        "flower": {"resources": small},
        "migrator": {"resources": small},
        "preflight": {"resources": small},
        "networkPolicy": {
            "ingressNamespace": namespace,
            "metricsNamespace": namespace,
            "servers": {"namespaces": [namespace], "cidrs": []},
            "apis": {"cidrs": ["0.0.0.0/0"], "except": [], "ports": [worlds.LEDGER_PORT]},
        },
    }


def _database(user: str, password: str) -> str:
    return f"postgresql+psycopg://{user}:{password}@postgres:5432/orchestrator"


def _secrets(passwords: Passwords) -> list[Manifest]:
    both = {
        role: {
            "database-url": passwords.database(role),
            "broker-url": passwords.broker(role),
            "gate-url": passwords.broker(role, 1),
        }
        for role in ("worker", "api")
    }
    return [
        _secret("orchestrator-worker", both["worker"]),
        _secret("orchestrator-api", both["api"] | {"session-key": secrets.token_hex(32)}),
        _secret("orchestrator-migrator", {"database-url": passwords.of_owner()}),
        _secret("orchestrator-flower", {"broker-url": passwords.broker("flower")}),
        _secret("ledger", worlds.SECRETS),
    ]


def _secret(name: str, texts: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": dict(texts),
    }


def _postgres(image: str) -> Manifest:
    return {
        "image": image,
        "env": [
            {"name": "POSTGRES_USER", "value": OWNER},
            {"name": "POSTGRES_DB", "value": "orchestrator"},
            _from_secret("POSTGRES_PASSWORD", "servers", "owner"),
        ],
        "readinessProbe": _asked("pg_isready", "--host", "127.0.0.1", "--username", OWNER),
    }


def _valkey(image: str) -> Manifest:
    return {
        "image": image,
        "args": [
            "valkey-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction",
            "--aclfile", "/users/users.acl",
        ],
        "volumeMounts": [{"name": "users", "mountPath": "/users"}],
        "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 2},
    }  # fmt: skip


def _ledger(image: str) -> Manifest:
    """The API that is called; workload and judge run beside it."""
    return {
        "image": image,
        "args": list(worlds.LEDGER),
        "env": [
            *(_from_secret(name, "ledger", name) for name in worlds.SECRETS),
            _from_secret("ORCHESTRATOR_DATABASE_URL", "orchestrator-migrator", "database-url"),
        ],
        "readinessProbe": {"tcpSocket": {"port": worlds.LEDGER_PORT}, "periodSeconds": 2},
    }


def _server(
    name: str, port: int, container: Manifest, *, volumes: Sequence[Manifest] = ()
) -> list[Manifest]:
    """A deployment of one pod, and the service by which it is found."""
    labels = {"app": name}
    described = {"name": name, "ports": [{"containerPort": port}], **container}
    pod = {"containers": [described], "volumes": list(volumes), "enableServiceLinks": False}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": labels},
                "strategy": {"type": "Recreate"},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": port}]},
        },
    ]


def _volume(secret: str, name: str) -> Manifest:
    items = [{"key": "users.acl", "path": "users.acl"}]
    return {"name": name, "secret": {"secretName": secret, "items": items, "defaultMode": 0o444}}


def _from_secret(variable: str, name: str, key: str) -> Manifest:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def _asked(*command: str) -> Manifest:
    return {"exec": {"command": list(command)}, "periodSeconds": 2, "timeoutSeconds": 5}
