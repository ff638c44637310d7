"""The same steps as an ordinary Celery canvas, for `celery -A tests.bench.engine.chain worker`.

Nothing is recorded: there is no result backend, which a chain does not need, and messages are
acknowledged early, as Celery does by itself. That a run has ended is written to a file by whichever
process did its last step (a few microseconds), since nothing else would know it.
"""

from __future__ import annotations

import http.client
import os
import struct
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from celery import Celery, chain

BROKER_VARIABLE = "BENCH_BROKER_URL"
FOLDER_VARIABLE = "BENCH_FOLDER"
STUB_VARIABLE = "BENCH_STUB"  # host:port
ENDED = struct.Struct("<qd")
"""One run that has ended: its number, and when (UNIX seconds)."""

app = Celery("bench", broker=os.environ.get(BROKER_VARIABLE, "redis://127.0.0.1:0/0"))
app.conf.update(
    result_backend=None,
    task_ignore_result=True,
    worker_hijack_root_logger=True,
    broker_connection_retry_on_startup=True,
)


class Refused(Exception):
    """The last step is refused."""


@app.task
def work(number: int) -> None:
    """Nothing at all."""


@app.task
def last(number: int) -> None:
    """Nothing but that the run has ended, forward or back."""
    _ended(number)


@app.task(throws=(Refused,))
def refuse(number: int) -> None:
    """As the last step of a run that is undone."""
    raise Refused


@app.task
def call(number: int) -> None:
    """One POST to the stub."""
    _post(number)


@app.task
def call_last(number: int) -> None:
    """The last one of a run."""
    _post(number)
    _ended(number)


@app.task
def inline(number: int, steps: int) -> None:
    """All steps in one task: what a message costs when nothing is recorded or handed on."""
    for _ in range(steps):
        work.run(number)
    _ended(number)


@app.task
def inline_calls(number: int, steps: int) -> None:
    """The same with calls."""
    for _ in range(steps):
        _post(number)
    _ended(number)


def forward(number: int, steps: int) -> Any:
    """A chain of steps that do nothing."""
    return chain(*(work.si(number) for _ in range(steps - 1)), last.si(number))


def calls(number: int, steps: int) -> Any:
    """A chain of calls."""
    return chain(*(call.si(number) for _ in range(steps - 1)), call_last.si(number))


def refused(number: int, steps: int) -> Any:
    """A chain whose last step is refused; a chain of compensations is linked to the error."""
    back = chain(*(work.si(number) for _ in range(steps - 2)), last.si(number))
    signature = chain(*(work.si(number) for _ in range(steps - 1)), refuse.si(number))
    return signature.on_error(back)


# --- what the tasks do ----------------------------------------------------------------------------


def _ended(number: int) -> None:
    os.write(_file(os.getpid()), ENDED.pack(number, time.time()))


@lru_cache
def _file(process_id: int) -> int:
    place = Path(os.environ[FOLDER_VARIABLE]) / f"{process_id}.ended"
    return os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


_idle: list[http.client.HTTPConnection] = []  # of this process; kept alive


def _post(number: int) -> None:
    link = _idle.pop() if _idle else http.client.HTTPConnection(os.environ[STUB_VARIABLE])
    link.request("POST", f"/keyed/{number}", headers={"Idempotency-Key": str(number)})
    answer = link.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"the stub answered {answer.status}")
    _idle.append(link)
