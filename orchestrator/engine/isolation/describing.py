"""What is in modules that nobody but sandboxes imports: one is asked, and its answer is kept."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
import structlog

from orchestrator.definitions.task_descriptions import read_descriptions
from orchestrator.definitions.tasks import Task
from orchestrator.engine.isolation.sandbox import Sandbox, trees_of
from orchestrator.engine.isolation.talking import Stopped
from orchestrator.errors import InvalidSetting, Problem

log = structlog.get_logger(__name__)

_SECONDS = 60.0  # to import what they need
_MOST_BYTES = 4 * 1024 * 1024
_KEPT = "isolated-tasks"
_WANTED = "a sandbox that starts and says what is in it (setting isolation.mode)"


def describe(modules: Sequence[str], sandbox: Sandbox, *, kept_in: Path) -> list[Task]:
    """The tasks in these modules, all of which are isolated.

    What was said of the same sources is kept below `kept_in`, so that each command does not start
    a sandbox. Raises InvalidSetting.
    """
    file = kept_in / _KEPT / f"{_digest(modules)}.json"
    said = _kept(file)
    if said is None:
        said = _asked(modules, sandbox)
        tasks = read_descriptions(said, modules)
        _keep(file, said)
        return tasks
    return read_descriptions(said, modules)


def _asked(modules: Sequence[str], sandbox: Sandbox) -> object:
    request = orjson.dumps({"describe": modules})
    try:
        text = sandbox.start().ask(request, until=time.monotonic() + _SECONDS, most=_MOST_BYTES)
        answer = orjson.loads(text)
    except (Stopped, OSError) as error:
        raise _failed(modules, f"a process that {error}", _WANTED) from error
    except orjson.JSONDecodeError as error:
        raise _failed(modules, f"what is not JSON ({error})", "a description") from error
    match answer:
        case {"tasks": said}:
            return said
        case {"refused": {"place": str(place), "found": str(found), "wanted": str(wanted)}}:
            problem = Problem(place=place[:500], found=found[:1000], wanted=wanted[:500])
            raise InvalidSetting("a module of isolated tasks is not loaded", problems=[problem])
    raise _failed(modules, "another answer", "a description of its tasks")


def _failed(modules: Sequence[str], found: str, wanted: str) -> InvalidSetting:
    problem = Problem(place=f"module {', '.join(modules)}", found=found, wanted=wanted)
    return InvalidSetting("isolated tasks cannot be described", problems=[problem])


# --- kept -----------------------------------------------------------------------------------------


def _digest(modules: Sequence[str]) -> str:
    """Of all sources that lie where the modules do, and of what reads them."""
    sources = sorted(
        file
        for tree in trees_of(modules)
        for file in ([tree] if tree.is_file() else tree.rglob("*.py"))
    )
    digest = hashlib.sha256(json.dumps([sys.version, *modules]).encode())
    ours = Path(__file__).parents[2] / "definitions"
    for file in (*sources, *sorted(ours.glob("task*.py")), ours / "signatures.py"):
        digest.update(f"{file}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _kept(file: Path) -> object:
    try:
        found: object = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as error:
        log.warning("isolated_tasks.not_kept", file=str(file), why=str(error))
        return None
    return found


def _keep(file: Path, said: object) -> None:
    """Whole or not at all; where it cannot be, the next process asks again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as made:
            made.write(orjson.dumps(said))
        Path(made.name).replace(file)
    except OSError as error:
        log.info("isolated_tasks.not_kept", file=str(file), why=str(error))
