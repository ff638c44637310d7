"""Check whole corpora of workflow documents, in several processes."""

from __future__ import annotations

import glob
import multiprocessing
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from orchestrator.definitions.checking.checker import check_file
from orchestrator.definitions.checking.maturity import Deployment
from orchestrator.definitions.checking.report import DocumentReport, Finding
from orchestrator.definitions.checking.rules import RULES
from orchestrator.definitions.loading import PATTERNS
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import NotFound, Problem

_ENOUGH_FOR_PROCESSES = 12
"""Fewer documents are checked sooner than a process is started."""
_SNIFFED_BYTES = 4096
_ARAZZO = re.compile(rb"""(?m)^[ \t{]*["']?arazzo["']?[ \t]*:""")
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_CHUNK = 4

OpenTasks = Callable[[], TaskRegistry]
"""Imports a deployment's tasks. Travels to other processes, so it has to be picklable."""
Done = Callable[[DocumentReport], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checking:
    """Checks documents against the rules; runs and stores nothing."""

    open_tasks: OpenTasks
    deployment: Deployment
    begin_process: Callable[[], object] = dict
    """Called first in each further process, whose log must not mix with what is printed."""

    def check(
        self, files: Sequence[Path], *, jobs: int = 1, done: Done = lambda report: None,
        effects_may_stay: bool = False,
    ) -> list[DocumentReport]:  # fmt: skip
        """A report for each file, in their order. `done` is told of each when it is ready.

        `effects_may_stay`: an effect that nothing undoes is a warning only.
        """
        if jobs == 1 or len(files) < _ENOUGH_FOR_PROCESSES:
            return list(self._here(files, done, effects_may_stay))
        return self._in_processes(files, jobs, done, effects_may_stay)

    def _here(
        self, files: Sequence[Path], done: Done, effects_may_stay: bool
    ) -> Iterator[DocumentReport]:
        tasks = self.open_tasks()
        for file in files:
            report = check_file(
                file, tasks=tasks, deployment=self.deployment, effects_may_stay=effects_may_stay
            )
            done(report)
            yield report

    def _in_processes(
        self, files: Sequence[Path], jobs: int, done: Done, effects_may_stay: bool
    ) -> list[DocumentReport]:
        # Not forked: a progress bar is a thread, and a fork takes its locks along.
        context = multiprocessing.get_context("spawn")
        chunks = [files[at : at + _CHUNK] for at in range(0, len(files), _CHUNK)]
        found: dict[int, list[DocumentReport]] = {}
        with ProcessPoolExecutor(
            jobs,
            mp_context=context,
            initializer=_prepare,
            initargs=(self.begin_process, self.open_tasks, self.deployment),
        ) as pool:
            numbers = {
                pool.submit(_check, chunk, effects_may_stay): at for at, chunk in enumerate(chunks)
            }
            for future in as_completed(numbers):
                at = numbers[future]
                found[at] = _reports(future, chunks[at])
                for report in found[at]:
                    done(report)
        return [report for at in sorted(found) for report in found[at]]


_prepared: tuple[TaskRegistry, Deployment] | None = None
"""Of a process that checks for another one."""


def _prepare(begin: Callable[[], object], open_tasks: OpenTasks, deployment: Deployment) -> None:
    global _prepared  # noqa: PLW0603 - the only way from a pool's initializer to its work
    begin()
    _prepared = (open_tasks(), deployment)


def _check(files: Sequence[Path], effects_may_stay: bool) -> list[DocumentReport]:
    assert _prepared is not None, "the pool prepares its processes"
    tasks, deployment = _prepared
    return [
        check_file(file, tasks=tasks, deployment=deployment, effects_may_stay=effects_may_stay)
        for file in files
    ]


def _reports(future: Future[list[DocumentReport]], files: Sequence[Path]) -> list[DocumentReport]:
    """What a process has found; where it died (memory, a signal), that it did."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        rule = RULES["checker-failed"]
        return [
            DocumentReport(file=str(file), findings=[Finding(
                rule=rule.id, severity=rule.severity, file=str(file), line=None, pointer="",
                found=f"the process that checked it ended: {error}",
                wanted="enough memory, or fewer --jobs",
            )])
            for file in files
        ]  # fmt: skip


# --- files ----------------------------------------------------------------------------------------


def find_documents(given: Sequence[str]) -> list[Path]:
    """Workflow documents of files, folders and globs, each once, in order.

    A folder is searched with all below it: files named as `PATTERNS`, and those that begin as an
    Arazzo document does. Raises NotFound where a folder or a glob has none.
    """
    found: dict[Path, None] = {}
    for text in given:
        for path in _documents_of(text):
            found.setdefault(path)
    return list(found)


def _documents_of(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _is_document(file))
    elif not path.exists() and glob.has_magic(text):
        matches = sorted(Path(name) for name in glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns too
        files = [file for file in matches if file.is_file() and _is_document(file)]
    else:
        return [path]
    if not files:
        wanted = f"files {', '.join(PATTERNS)}, or others that begin with arazzo:"
        problem = Problem(place=text, found="no workflow document", wanted=wanted)
        raise NotFound("there is nothing to check", problems=[problem])
    return files


def _is_document(file: Path) -> bool:
    if file.suffix not in _SUFFIXES or not file.is_file():
        return False
    if any(file.match(pattern) for pattern in PATTERNS):
        return True
    with file.open("rb") as opened:
        return _ARAZZO.search(opened.read(_SNIFFED_BYTES)) is not None
