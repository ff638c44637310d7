"""The supervisor with real child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from orchestrator.embedded import supervise, workers
from orchestrator.embedded.flower import flower_spec
from orchestrator.embedded.process import Child, ChildSpec, stop_all
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.embedded.upstate import read_up_state
from orchestrator.embedded.valkey import start_valkey
from orchestrator.errors import Conflict, InvalidSetting, Unavailable

_SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


def wait_until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def sleepy_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that only wait: what is tested is their supervision."""
    monkeypatch.setattr(workers, "worker_argv", lambda name, log_level="INFO": _SLEEPER)


@pytest.fixture
def options(tmp_path: Path) -> UpOptions:
    return UpOptions(state_dir=tmp_path / "state", workers=2, flower=False)


@pytest.mark.usefixtures("sleepy_workers")
def test_up_and_down(options: UpOptions) -> None:
    with Supervisor(options) as up:
        state = read_up_state(options.state_dir)
        assert state is not None
        assert state.broker_url == up.broker_url
        assert set(state.pids) == {"valkey", "w1", "w2"}
        assert (options.state_dir / "up.json").stat().st_mode & 0o077 == 0
        assert all(is_alive(pid) for pid in state.pids.values())
    assert not any(is_alive(pid) for pid in state.pids.values())
    assert read_up_state(options.state_dir) is None


@pytest.mark.usefixtures("sleepy_workers")
def test_a_killed_worker_starts_again(options: UpOptions) -> None:
    with Supervisor(options) as up:
        before = up.workers[0].pid
        os.kill(before, signal.SIGKILL)

        def again() -> bool:
            up.watch()
            return up.workers[0].running and up.workers[0].pid != before

        wait_until(again)
        state = read_up_state(options.state_dir)
        assert state is not None
        assert state.pids["w1"] == up.workers[0].pid


@pytest.mark.usefixtures("sleepy_workers")
def test_a_second_one_is_refused_and_leaves_the_first_alone(options: UpOptions) -> None:
    with Supervisor(options) as first:
        with pytest.raises(Conflict, match=str(os.getpid())):
            Supervisor(options).start()
        state = read_up_state(options.state_dir)
        assert state is not None
        assert state.broker_url == first.broker_url


@pytest.mark.usefixtures("sleepy_workers")
def test_a_dead_broker_ends_the_watch(options: UpOptions) -> None:
    with Supervisor(options) as up:
        state = read_up_state(options.state_dir)
        assert state is not None
        os.kill(state.pids["valkey"], signal.SIGKILL)
        deadline = time.monotonic() + 30
        assert "valkey ended" in up.run(until=lambda: time.monotonic() > deadline)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends orphans")
def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    script = f"""
        import sys, time
        from pathlib import Path
        from orchestrator.embedded import workers
        from orchestrator.embedded.supervise import Supervisor, UpOptions
        workers.worker_argv = lambda name, log_level="INFO": {_SLEEPER!r}
        Supervisor(UpOptions(state_dir=Path({str(tmp_path)!r}), flower=False)).start()
        print("up", flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "up\n"
        state = read_up_state(tmp_path)
        assert state is not None
        supervisor.kill()
        wait_until(lambda: not any(is_alive(pid) for pid in state.pids.values()))
    assert read_up_state(tmp_path) is None, "a file that a crash left behind is not believed"


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = """if True:
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("x", flush=True)
        time.sleep(60)
    """
    log = tmp_path / "log"
    spec = ChildSpec(
        name="stubborn",
        argv=(sys.executable, "-c", stubborn),
        grace_seconds=0.3,
        ready=lambda: log.read_text() == "x\n",
    )
    child = Child(spec, log)
    child.start()
    child.wait_ready()
    stop_all([child])
    assert child.exit_code == -signal.SIGKILL


def test_a_child_that_dies_at_start_shows_its_log(tmp_path: Path) -> None:
    spec = ChildSpec(
        name="broken", argv=(sys.executable, "-c", "raise SystemExit('no such thing')"), ready=bool
    )
    child = Child(spec, tmp_path / "log")
    child.start()
    with pytest.raises(Unavailable, match="no such thing"):
        child.wait_ready()


def test_restarts_back_off(tmp_path: Path) -> None:
    child = Child(ChildSpec(name="w", argv=("true",)), tmp_path / "log")
    kept = supervise._Restarted(child)
    waits = []
    for _ in range(9):
        child.started_at = 100.0
        waits.append(kept._plan(now=100.0) - 100.0)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert kept._plan(now=200.0) == 200.5, "one that ran long enough starts at once again"


def test_valkey_keeps_what_it_was_given_and_evicts_nothing(tmp_path: Path) -> None:
    for expected in (None, b"kept"):
        server = start_valkey(tmp_path, log_path=tmp_path / "log")
        with redis.Redis.from_url(server.spec.address) as client:
            assert client.get("key") == expected
            client.set("key", "kept")
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            assert client.config_get("bind")["bind"] == "127.0.0.1"
        stop_all([server])


def test_a_taken_port_is_said(tmp_path: Path, valkey_server: str) -> None:
    port = int(valkey_server.rpartition(":")[2])
    # The port answers, so only the child's own end tells that it is somebody else's server.
    with pytest.raises(Unavailable, match="valkey"):
        start_valkey(tmp_path, log_path=tmp_path / "log", port=port)


def test_flower_open_to_others_wants_a_password() -> None:
    with pytest.raises(InvalidSetting, match=r"0\.0\.0\.0"):
        flower_spec("redis://127.0.0.1:1/0", host="0.0.0.0")
    spec = flower_spec("redis://127.0.0.1:1/0", host="0.0.0.0", basic_auth="me:pw")
    assert not any("pw" in part for part in spec.argv), "process lists show arguments"
