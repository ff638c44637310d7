"""What property tests of whole workflows share: two calls of an API, faults and cancels, in virtual
time on the real engine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st

from orchestrator.core.events import CancelMode
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.ports import RunFilter, RunRecord
from orchestrator.testing.faults import Failing, Fault, Link, Way
from orchestrator.testing.lab import Lab
from orchestrator.testing.properties import can_happen

LONG_EXAMPLES = 400
KEY = "x-idempotency: {in: header, name: Idempotency-Key}"
HEAD = """arazzo: 1.0.1
info: {title: t, version: "1"}
sourceDescriptions: [{name: shop, url: shop.yaml, type: openapi}]
workflows:
  - workflowId: order
"""
_API = """openapi: 3.1.0
info: {title: s, version: "1"}
servers: [{url: "http://localhost"}]
paths:
  /do: {post: {operationId: do, responses: {"200": {description: ok}}}}
  /undo: {post: {operationId: undo, responses: {"200": {description: ok}}}}
"""


def step_of(name: str, *, pivot: bool = False, is_behind: bool = False) -> str:
    """A step of a workflow's `steps`, with its undo where there is a way back."""
    more = f", x-compensation: {{operationId: undo, {KEY}}}"
    if pivot or is_behind:
        more = ", x-pivot: true" if pivot else ""
    return f"      - {{stepId: {name}, operationId: do, {KEY}{more}}}\n"


def faults(steps: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Up to three (step, way, fault, times)."""
    ways, kinds = st.sampled_from([Way.DO, Way.UNDO]), st.sampled_from(list(Fault))
    return st.lists(st.tuples(steps, ways, kinds, st.integers(1, 2)), max_size=3)


def failing(drawn: Sequence[tuple[str, Way, Fault, int]]) -> list[Failing]:
    """The same, as far as they can happen together."""
    wanted = [
        Failing(link=Link(name, way), fault=fault, times=times) for name, way, fault, times in drawn
    ]
    return wanted if can_happen(wanted) else wanted[:1]


def cancels(most_tenths: int) -> st.SearchStrategy[float | None]:
    """When it is cancelled, in seconds from its begin; None: it is not."""
    return st.none() | st.integers(1, most_tenths).map(lambda tenth: tenth / 10)


@contextmanager
def played(
    folder: Path, document: str, seconds: Mapping[str, float], wanted: Sequence[Failing],
    cancelled: float | None,
) -> Iterator[tuple[Lab, str, list[RunRecord]]]:  # fmt: skip
    """The lab, the run of `order` and all runs, once nothing goes on any more."""
    told = ", ".join(map(str, wanted)) or "nothing goes wrong"
    note(f"{document}\n{told}; seconds {dict(seconds)}; cancelled after {cancelled}")
    (folder / "shop.yaml").write_text(_API)
    (folder / "w.arazzo.yaml").write_text(document)
    with Lab(folder / "w.arazzo.yaml", tasks=()) as lab:
        for name, took in seconds.items():
            lab.answer(name, 200, {}, seconds=took)
        lab.fail_as(*wanted)
        run_id = lab.submit("order", {})
        if cancelled is not None:
            lab.advance(cancelled)
            if lab.look(run_id).status not in FINAL | {RunStatus.ESCALATED}:
                lab._play(lab._store.request_cancel(
                    run_id, mode=CancelMode.UNDO, reason="changed my mind", by="ada"
                ))  # fmt: skip
        yield lab, run_id, _until_quiet(lab)


def _until_quiet(lab: Lab) -> list[RunRecord]:
    """All runs, once none is under way but such as wait for one that a person has to decide on."""
    for _ in range(600):
        lab.advance(1.0)
        runs = lab._play(lab._store.runs(RunFilter(limit=None)))
        going = [run for run in runs if run.status not in FINAL | {RunStatus.ESCALATED}]
        if not going and not lab._play(lab._store.open_maps()):
            return runs
        stuck = any(run.status is RunStatus.ESCALATED for run in runs)
        if stuck and all(run.status is RunStatus.WAITING for run in going):
            return runs
    raise AssertionError(
        [(run.workflow, run.branch, run.item, run.status, run.cause) for run in runs]
    )


def effects(lab: Lab) -> tuple[list[str], list[str]]:
    """Steps that were done and that were undone, in order; none twice with one key."""
    found = [each for each in lab.world.sent if each.had_effect]
    twice = [key for key, times in Counter(each.key for each in found).items() if times > 1]
    assert not twice, "done twice with one key"
    by_way = {
        way: [each.link.step for each in found if each.link.way is way]
        for way in (Way.DO, Way.UNDO)
    }
    return by_way[Way.DO], by_way[Way.UNDO]


def few(variable: str) -> Callable[[Any], Any]:
    """The settings of a test that is always run: the same examples each time."""
    return settings(
        max_examples=int(os.environ.get(variable, "10")), deadline=None, derandomize=True,
        suppress_health_check=_QUIET, phases=_PHASES,
    )  # fmt: skip


def many() -> Callable[[Any], Any]:
    """Those of one that has its time."""
    return settings(
        max_examples=LONG_EXAMPLES, deadline=None, suppress_health_check=_QUIET, phases=_PHASES
    )


_PHASES = [Phase.generate, Phase.shrink]
_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
