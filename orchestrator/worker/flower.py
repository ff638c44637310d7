"""`celery -A orchestrator flower`: to look, not to act, and for this machine alone.

Flower reads its options from the environment and then from its command line, after it has loaded
the app; so what the app finds missing in the environment are Flower's defaults here.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence

from celery import Celery
from kombu.entity import Queue

from orchestrator.embedded.address import LOOPBACK, is_loopback
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import DEAD_LETTER_QUEUE

_PASSWORDS = ("basic_auth", "auth", "auth_provider")
_API = "FLOWER_UNAUTHENTICATED_API"

DEFAULTS: Mapping[str, str] = {
    "FLOWER_ADDRESS": LOOPBACK,
    # Its buttons speak to workers behind the table's back; the command line is for acting.
    "FLOWER_READ_ONLY": "True",
    # About 1.5 kB each.
    "FLOWER_MAX_TASKS": "50000",
    "FLOWER_PURGE_OFFLINE_WORKERS": "60",
    "FLOWER_TASKS_COLUMNS": "name,state,args,received,runtime,worker,uuid",  # as wide as a screen
}


def is_flower(argv: Sequence[str]) -> bool:
    """Whether this process is Flower, by its command line."""
    return "flower" in argv[1:]


def prepare_flower(app: Celery, argv: Sequence[str], environment: MutableMapping[str, str]) -> None:
    """Give Flower its defaults. Raises InvalidSetting where it would be open to other machines.

    Without workers Flower lists the app's own queues: here the dead letters, which workers must
    not consume, are one of them.
    """
    for name, value in DEFAULTS.items():
        environment.setdefault(name, value)
    protected = any(_option(argv, environment, name) for name in _PASSWORDS)
    _check_address(_option(argv, environment, "address"), protected)
    if not protected:
        environment.setdefault(_API, "true")  # as open as its pages are, and as read-only
    dead_letters = Queue(DEAD_LETTER_QUEUE)  # type: ignore[no-untyped-call] # kombu
    app.conf.task_queues = [*app.conf.task_queues, dead_letters]


def _check_address(address: str, protected: bool) -> None:
    if protected or is_loopback(address):
        return
    problem = Problem(
        place="flower --address",
        found=f"{address or 'every address'}, which other machines can reach, without a password",
        wanted="127.0.0.1, or FLOWER_BASIC_AUTH=user:password in the environment",
    )
    raise InvalidSetting("Flower was not started", problems=[problem])


def _option(argv: Sequence[str], environment: Mapping[str, str], name: str) -> str:
    """An option as Flower will find it: the command line wins over the environment."""
    for spelled in (f"--{name}=", f"--{name.replace('_', '-')}="):
        for argument in argv:
            if argument.startswith(spelled):
                return argument.removeprefix(spelled)
    return environment.get(f"FLOWER_{name.upper()}", "")
