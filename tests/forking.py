"""Commands as processes of their own that are forked from one which has loaded the modules already.

Of a short command's CPU time nine tenths are the loading of modules, which is the same each time.
Here it is done once for a test session: a server loads them and forks for each command. The command
has its own arguments, folder, environment, output and exit code, and ends as any process does.
What a start itself does is tested where `COMMAND` is started (`tests/acceptance`), and in
`tests/unit/cli/test_start.py`.

    python -m tests.forking FD      the server, which ends when the other end of its socket closes
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOADED = (
    "orchestrator.cli.main", "orchestrator.wiring_services", "orchestrator.engine.http",
    "alembic.command", "aiosqlite", "psycopg", "sqlalchemy.dialects.sqlite.aiosqlite",
)  # fmt: skip
COLUMNS = "160"
"""Consoles look for it when they are made, which is before there is a command."""
_LARGEST_REQUEST = 1 << 18


def run_command(
    arguments: Sequence[object], *, cwd: Path, env: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """`orchestrator …` to its end. Raises TimeoutExpired, and has killed it then."""
    argv = [str(argument) for argument in arguments]
    request = {"argv": argv, "cwd": str(cwd), "env": dict(env)}
    with ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        reading, writing = os.pipe()
        reply = stack.enter_context(os.fdopen(reading, "rb", buffering=0))
        try:
            fds = [out.fileno(), err.fileno(), writing]
            socket.send_fds(_server(), [json.dumps(request).encode()], fds)
        finally:
            os.close(writing)
        if not (told := reply.readline()):
            raise AssertionError("the server of commands has ended: see its standard error")
        pid = int(told)
        waiting = select.poll()  # `select` knows no descriptors from 1024 on
        waiting.register(reply, select.POLLIN | select.POLLHUP)
        if not waiting.poll(seconds * 1000):
            os.killpg(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(argv, seconds)
        code = int(reply.readline())
        said = [_text(file) for file in (out, err)]
    return subprocess.CompletedProcess(argv, code, *said)


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode())


@lru_cache(maxsize=1)
def _server() -> socket.socket:
    """Our end of its socket. The server ends with this process, whatever happens to that."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST_REQUEST)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forking", str(theirs.fileno())], cwd=ROOT,
            env={**os.environ, "COLUMNS": COLUMNS}, pass_fds=[theirs.fileno()],
            start_new_session=True,
        )  # fmt: skip

    def end() -> None:
        ours.close()
        process.wait(10)

    atexit.register(end)
    return ours


# --- the server -----------------------------------------------------------------------------------


def serve(channel: socket.socket) -> Mapping[str, Any] | None:
    """Fork for each request; None once nobody asks any more.

    In the process that is to be the command: its request, with its output in place.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        data, fds, _, _ = socket.recv_fds(channel, _LARGEST_REQUEST, 3)
        if not data:
            return None
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            channel.close()
            _fork_and_tell(*fds)
            found: Mapping[str, Any] = json.loads(data)
            return found
        for fd in fds:
            os.close(fd)


def _fork_and_tell(out: int, err: int, reply: int) -> None:
    """Returns in the command only; the other one waits for it and tells its id and exit code."""
    if command := os.fork():
        os.write(reply, f"{command}\n".encode())
        _, status = os.waitpid(command, 0)
        os.write(reply, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    for fd in (nothing, out, err, reply):
        os.close(fd)


def become(request: Mapping[str, Any]) -> None:
    """The command, as its console script would begin it."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    path = request["env"].get("PYTHONPATH", "")
    sys.path[:0] = [folder for folder in path.split(os.pathsep) if folder]
    sys.argv = ["orchestrator", *request["argv"]]
    importlib.import_module("orchestrator.cli.main").run()


def main() -> None:
    """Serve, or be a command."""
    for module in LOADED:
        importlib.import_module(module)
    gc.freeze()  # what is shared with the commands is not searched, so not copied either
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        become(request)


if __name__ == "__main__":
    main()
