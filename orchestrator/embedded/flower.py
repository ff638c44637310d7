"""Flower as a child process: to look, not to act; loopback only, unless it asks for a password."""

from __future__ import annotations

import sys

from orchestrator.embedded.address import LOOPBACK, answers, free_port, is_loopback
from orchestrator.embedded.process import ChildSpec
from orchestrator.errors import InvalidSetting, Problem


def flower_spec(
    broker_url: str,
    *,
    host: str = LOOPBACK,
    port: int | None = None,
    basic_auth: str = "",
) -> ChildSpec:
    """Flower for the workers of `broker_url`.

    `basic_auth` is `user:password`, handed over in the environment so that no process list shows
    it. Raises InvalidSetting for an address that others can reach without it: Flower's page shows
    arguments and can be asked to act.
    """
    if not is_loopback(host) and not basic_auth:
        raise InvalidSetting(
            "Flower was not started",
            problems=[
                Problem(
                    place="flower address",
                    found=f"{host}, which other machines can reach, without a password",
                    wanted="127.0.0.1, or ORCHESTRATOR_FLOWER_BASIC_AUTH=user:password",
                )
            ],
        )
    port = port or free_port()
    return ChildSpec(
        name="flower",
        argv=_argv(host, port),
        address=f"http://{host}:{port}",
        env=_env(broker_url, basic_auth),
        ready=lambda: answers(port, host if is_loopback(host) else LOOPBACK),
        grace_seconds=5.0,
        restart=True,
    )


def _argv(host: str, port: int) -> tuple[str, ...]:
    celery = (sys.executable, "-m", "celery", "-A", "orchestrator", "flower")
    options = {
        "address": host,
        "port": str(port),
        "persistent": "False",
    }
    return (*celery, *(f"--{key}={value}" for key, value in options.items()))


def _env(broker_url: str, basic_auth: str) -> dict[str, str]:
    env = {"ORCHESTRATOR_BROKER_URL": broker_url}
    if basic_auth:
        env["FLOWER_BASIC_AUTH"] = basic_auth
    return env
