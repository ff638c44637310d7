"""Tasks that try what a task must not be able to do, and say what they got.

Whatever they try is harmless should it succeed: they also run where only limits hold them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator import InDoubt, NotLanded, TaskContext, call_api, task

_FORKS = 50  # bounded, should they succeed
_CLONE_NEWUSER = 0x10000000
_PTRACE_ATTACH = 16


@task(isolation="process")
def add(a: int, b: int) -> dict[str, int]:
    print("what a task prints goes elsewhere")
    return {"sum": a + b, "pid": os.getpid()}


@task(isolation="process")
async def who(context: TaskContext) -> dict[str, Any]:
    return {
        "run": context.run_id, "direction": str(context.direction), "key": context.idempotency_key,
    }  # fmt: skip


@task(isolation="process")
def refuse(how: str) -> Any:
    if how == "not landed":
        raise NotLanded("not today", retryable=True, retry_after_seconds=7)
    if how == "in doubt":
        raise InDoubt("who knows")
    if how == "list":
        return [1]
    raise ValueError(how)


@task(isolation="process")
def look_around(readable: list[str], writable: list[str]) -> dict[str, Any]:
    """What can be seen: environment, descriptors, processes, and which of these hold anything."""
    return {
        "environment": dict(os.environ),
        "descriptors": _names("/proc/self/fd"),
        "processes": [name for name in _names("/proc") if name.isdecimal()],
        "readable": [path for path in readable if _something(path)],
        "writable": [path for path in writable if _tried(_opens(path)) == "done"],
        "loaded": sorted(name for name in sys.modules if name.startswith("orchestrator")),
    }


def _names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def _something(path: str) -> bool:
    try:
        return bool(_names(path) if Path(path).is_dir() else Path(path).read_bytes())
    except OSError:
        return False


def _opens(path: str) -> Callable[[], object]:
    return lambda: Path(path).open("ab").close()


@task(isolation="process")
def connect(addresses: list[list[Any]], unix: list[str]) -> dict[str, list[str]]:
    """What became of connections to these."""
    said = [_tried(_connects(host, port)) for host, port in addresses]
    return {"said": [*said, *(_tried(_connects_unix(path)) for path in unix)]}


def _connects(host: str, port: int) -> Callable[[], object]:
    return lambda: socket.create_connection((host, port), 2)


def _connects_unix(path: str) -> Callable[[], object]:
    return lambda: socket.socket(socket.AF_UNIX).connect(path.replace("@", "\0"))


@task(isolation="process")
def fork_many() -> dict[str, Any]:
    """How many processes it got, by each way."""
    return {
        "fork": sum(_forked() for _ in range(_FORKS)),
        "program": _tried(lambda: subprocess.run([sys.executable, "-c", ""], check=True)),
        "spawn": _tried(lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})),
        "threads": _threads(),
    }


def _forked() -> bool:
    try:
        pid = os.fork()
    except OSError:
        return False
    if pid == 0:
        time.sleep(5)
        os._exit(0)
    return True


def _threads() -> bool:
    """Threads are no processes, and allowed."""
    thread = threading.Thread(target=time.sleep, args=(0,))
    thread.start()
    thread.join()
    return True


@task(isolation="process")
def ask_kernel() -> dict[str, int]:
    """What comes of calls that are ways out: 0 and above would be success."""
    libc = ctypes.CDLL(None, use_errno=True)
    return {
        "unshare": libc.unshare(_CLONE_NEWUSER),
        "mount": libc.mount(b"none", bytes(Path.cwd()), b"tmpfs", 0, None),
        "ptrace": libc.ptrace(_PTRACE_ATTACH, os.getppid(), 0, 0),
        "memfd": libc.memfd_create(b"x", 0),
        "setuid": libc.setuid(0),
        "kill": libc.kill(os.getppid() or 2, 0),
    }


@task(isolation="process")
def take_memory() -> dict[str, int]:
    return {"bytes": len(bytearray(4 << 30))}


@task(isolation="process")
def crash() -> dict[str, int]:
    ctypes.string_at(0)
    return {}


@task(isolation="process")
def write_much() -> dict[str, int]:
    """How much went into one file, and then into many."""
    return {"one": _fill(["one"]), "many": _fill([f"many-{number}" for number in range(20)])}


def _fill(names: list[str]) -> int:
    written = 0
    chunk = bytes(1 << 20)
    for name in names:
        try:
            with Path(name).open("wb", buffering=0) as file:
                for _ in range(64):
                    written += file.write(chunk)
        except OSError:
            continue
    return written


@task(isolation="process")
def loop() -> dict[str, int]:
    """For ever, deaf to what can be ignored, and with CPU."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


@task(isolation="process")
def spin() -> dict[str, int]:
    while True:
        pass


@task(isolation="process")
def flood(descriptor: int) -> dict[str, int]:
    """Write for ever; 3 is where answers go (see guest.py)."""
    while True:
        os.write(descriptor, b"x" * 65536)


@task(isolation="process")
def forge(text: str) -> dict[str, int]:
    """Write an answer of one's own, and go on as if nothing were."""
    os.write(3, text.encode())
    time.sleep(60)
    return {}


@task(isolation="process")
def leave(code: int) -> dict[str, int]:
    print("last words", file=sys.stderr, flush=True)
    os._exit(code)


@task(isolation="process")
def leave_traces() -> dict[str, Any]:
    before = _names(".")
    Path("trace").write_text("I was here")
    return {"before": before, "folder": str(Path.cwd())}


def _tried(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "done"


@task(isolation="process", calls=["shop"], effects="keyed")
def order(wishes: list[dict[str, Any]], then: str = "") -> dict[str, Any]:
    """Ask for these calls, and say what came of each; in the end do what `then` says."""
    found = [_asked(wish) for wish in wishes]
    if then == "refuse":
        raise NotLanded(f"after {found}")
    if then == "break":
        os._exit(3)
    return {"found": found}


def _asked(wish: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = call_api(**wish)
    except NotLanded as error:
        return {"not_landed": error.reason, "retryable": error.retryable}
    except InDoubt as error:
        return {"in_doubt": error.reason}
    return {"status": answer.status, "body": answer.body.decode(), "headers": dict(answer.headers)}


@task(isolation="process", calls=["shop"], effects="none")
def look(wishes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"found": [_asked(wish) for wish in wishes]}


@task(isolation="process", calls=["shop"])
def order_without_key(wishes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"found": [_asked(wish) for wish in wishes]}


@task(isolation="process", calls=["shop"], effects="none")
def shout(text: str, times: int) -> dict[str, Any]:
    """Whatever, on the line on which calls are asked for."""
    asks = int(sys.argv[2])
    for _ in range(times):
        os.write(asks, text.encode())
    return {"heard": os.read(int(sys.argv[3]), 65_536).decode()}
