"""Journals of each release are replayed: today's program decides as it was decided then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.core import deciding, journal
from orchestrator.core.plan import Effects
from orchestrator.core.saga import Saga, undo_order
from orchestrator.core.states import RunStatus
from orchestrator.wiring import version
from tests.faults import journals
from tests.faults.journals import Recorded


@pytest.mark.parametrize("release", journals.releases())
def test_what_was_decided_is_decided_again(release: str) -> None:
    for number, recorded in enumerate(journals.read(release), 1):
        found = list(journals.differences(recorded))
        assert not found, f"{release}, line {number}, {recorded.plan.workflow}: {found}"


def test_this_release_is_kept_and_shows_all_that_can_happen() -> None:
    runs = journals.read(version())
    told = [entry for run in runs for entry in run.entries]
    assert {entry["event"] for entry in told} == journal.EVENTS.keys()
    commands = {entry["then"].split()[0] for entry in told if "then" in entry}
    assert commands == {"perform", "verify", "wait", "escalate", "finish", "hold"}
    assert {run.ends["status"] for run in runs} >= {str(status) for status in _ENDS}
    assert any(run.deadline_at for run in runs)
    effects = {step.call.effects for run in runs for step in run.plan.steps}
    assert effects == set(Effects)


_ENDS = (
    RunStatus.SUCCEEDED, RunStatus.COMPENSATED, RunStatus.ABANDONED, RunStatus.ESCALATED,
    RunStatus.WAITING, RunStatus.PARKED, RunStatus.PAUSED,
)  # fmt: skip


@contextmanager
def undone_forward() -> Iterator[None]:
    """A release that undoes in the order in which the steps were done."""

    def wrong(saga: Saga) -> list[int]:
        return undo_order(saga)[::-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deciding, "undo_order", wrong)
        yield


def test_a_release_that_decides_otherwise_is_found_out() -> None:
    with undone_forward():
        found = [list(journals.differences(run)) for run in journals.read(version())]
    assert sum(bool(each) for each in found) > 10
    assert any("ReplayDiffers" in each[0] for each in found if each)


def test_another_end_is_named_with_its_place() -> None:
    run = journals.read(version())[0]
    ends = {**run.ends, "status": "pending", "of a gone field": 1}
    other = Recorded(plan=run.plan, entries=run.entries, deadline_at=run.deadline_at, ends=ends)
    told = list(journals.differences(other))
    assert [each.split(" is ")[0] for each in told] == [
        "in the end /status", "in the end /of a gone field",
    ]  # fmt: skip


def test_what_is_kept_stays_and_what_is_new_comes_after_it(tmp_path: Path) -> None:
    runs = journals.read(version())
    assert journals.keep("9.9.9", runs[:3], tmp_path) == 3
    before = (tmp_path / "9.9.9" / "runs.jsonl").read_bytes()
    assert journals.keep("9.9.9", runs[:3], tmp_path) == 0
    assert journals.keep("9.9.9", runs[:5], tmp_path) == 2
    assert (tmp_path / "9.9.9" / "runs.jsonl").read_bytes().startswith(before)
    assert journals.read("9.9.9", tmp_path) == runs[:5]
