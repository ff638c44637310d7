"""Where a worker's CPU goes: py-spy beside one worker, its samples by part of the program."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.engine.ours import Crew

_RATE = 200  # samples per second
_END_SECONDS = 60
_FORMATS = {".svg": "flamegraph", ".json": "speedscope"}

# The innermost frame that belongs to a part decides. Redis, asyncio and the like serve whoever
# calls them, so they are none.
_PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("http client", ("aiohttp/", "yarl/", "multidict/", "aiosignal/", "frozenlist/",
                     "orchestrator/engine/http.py", "orchestrator/engine/egress.py")),
    ("gate", ("orchestrator/coordination/", "orchestrator/engine/gate", "limits/")),
    ("store", ("sqlalchemy/", "psycopg", "aiosqlite/", "orchestrator/store/",
               "orchestrator/engine/batching.py")),
    ("celery and kombu", ("celery/", "kombu/", "billiard/", "vine/", "amqp/")),
    ("worker", ("orchestrator/worker/",)),
    ("events", ("orchestrator/engine/showing.py",)),
    ("logging", ("structlog/", "logging/", "orchestrator/telemetry/")),
    ("definitions", ("orchestrator/definitions/", "jsonschema/")),
    ("core", ("orchestrator/core/",)),
    ("engine", ("orchestrator/engine/", "orchestrator/service/", "orchestrator/ports/")),
    ("tasks", ("tests/bench/",)),
)  # fmt: skip
OTHER = "other"


def program() -> Path:
    """py-spy, installed beside this Python. Raises RuntimeError when it is not."""
    found = Path(sys.executable).with_name("py-spy")
    if not found.exists():
        raise RuntimeError(f"py-spy is not installed: {sys.executable} -m pip install py-spy")
    return found


class Profile:
    """One recording, written to `file` as its suffix says: .svg, .json (speedscope), else raw."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._file, self._raw = file.absolute(), folder / "profile.raw"

    @contextmanager
    def beside(self, crew: Crew) -> Iterator[None]:
        """Records the first worker. Raises RuntimeError when py-spy could not."""
        pid = crew.supervisor.workers[0].pid
        kind = _FORMATS.get(self._file.suffix)
        recordings = [_record(pid, self._raw, "raw")]
        if kind is not None:
            recordings.append(_record(pid, self._file, kind))
        try:
            yield
        finally:
            for recording in recordings:
                _end(recording)
        if kind is None:
            self._file.write_text(self._raw.read_text())

    def shares(self) -> dict[str, float]:
        """Share of the samples by part, largest first."""
        return shares(self._raw.read_text().splitlines())


def shares(lines: Iterable[str]) -> dict[str, float]:
    """Of stacks as py-spy writes them raw: frames from the outermost in, then their samples."""
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, samples = line.rpartition(" ")
        found[part_of(stack.split(";"))] += int(samples)
    total = found.total()
    return {part: round(count / total, 3) for part, count in found.most_common()}


def part_of(frames: Iterable[str]) -> str:
    """The part of a stack, its frames from the outermost in."""
    for frame in reversed(list(frames)):
        file = frame.rpartition("(")[2]
        for part, places in _PARTS:
            if any(place in file for place in places):
                return part
    return OTHER


def table(found: Mapping[str, float]) -> str:
    """For people."""
    return "\n".join(f"{part:>22}  {share:6.1%}" for part, share in found.items())


def _record(pid: int, file: Path, kind: str) -> subprocess.Popen[bytes]:
    # Without stopping the worker: two may look at it, and it is measured as it is.
    argv = (str(program()), "record", "--nonblocking", "--threads", "-r", str(_RATE), "-f", kind)
    return subprocess.Popen(
        [*argv, "-o", str(file), "-p", str(pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def _end(recording: subprocess.Popen[bytes]) -> None:
    recording.send_signal(signal.SIGINT)
    try:
        _, said = recording.communicate(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        recording.kill()
        _, said = recording.communicate()
    if recording.returncode != 0:
        raise RuntimeError(f"py-spy: {said.decode(errors='replace').strip()[-500:]}")
