"""The table of planted faults: each can be planted and is gone afterwards; a few are hunted.

Of these each third, unless there is time for all (`make long`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.driver import RunDriver
from orchestrator.store import SqlStore
from orchestrator.store.engine import open_database
from tests.faults.mutants.__main__ import main
from tests.faults.mutants.hunting import NAMES, hunt, unbroken
from tests.faults.mutants.patching import idle_rewrites, replaced
from tests.faults.mutants.table import HARMLESS, MUTANTS, Mutant, World
from tests.sweeps import every

ALL = [*MUTANTS.values(), *HARMLESS.values()]
RUNS = 40
FEW = (  # one for each promise that can be broken quickly
    "lost_sweep", "second_run_for_a_key", "success_executed_again", "epoch_kept_at_recovery",
    "key_changed_between_attempts", "undo_in_forward_order", "undo_skipped_after_a_doubt",
    "escalation_not_written", "turned_back_after_the_pivot", "permit_not_waited_for",
    "attempt_not_written", "credential_in_the_audit", "one_step_further",
)  # fmt: skip


def test_the_table_covers_the_promises_that_a_simulation_can_judge() -> None:
    assert len(MUTANTS) >= 30
    broken = {mutant.breaks for mutant in MUTANTS.values()}
    judged = [f"P{number}" for number in (*range(1, 14), 15, 16)]
    assert broken == set(judged)
    assert all(mutant.what.endswith((".", ")")) for mutant in ALL)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_fault_is_planted_and_gone_again(mutant: Mutant, tmp_path: Path) -> None:
    before = _product()
    with mutant.sabotage():
        planted = _product() != before
        SqlStore(open_database(f"sqlite:///{tmp_path}/unused.db"))
        assert idle_rewrites() == 0, "no statement of the store has the text that it replaces"
        assert planted
    assert _product() == before


@pytest.mark.parametrize("world", [world for world in World if not world.slow])
def test_nothing_is_found_where_nothing_is_planted(world: World) -> None:
    found = hunt(unbroken(world), seeds=1, runs=RUNS)
    assert not found.broken
    assert not found.errors


@pytest.mark.parametrize("name", every(3, FEW))
def test_a_planted_fault_is_caught(name: str) -> None:
    found = hunt(MUTANTS[name], seeds=6, runs=RUNS)
    assert found.caught, found
    assert found.caught_by in NAMES


def test_what_is_caught_by_an_accident_of_its_own_does_not_count() -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("of the patch")

    @contextmanager
    def sabotage() -> Iterator[None]:
        with replaced(RunDriver, "_prepared", broken):
            yield

    fault = Mutant(name="broken", breaks="P1", what="", world=World.CALM, sabotage=sabotage)
    found = hunt(fault, seeds=1, runs=5)
    assert "ZeroDivisionError" in found.own_error
    assert not found.caught


def test_a_patch_of_what_is_not_there_is_refused() -> None:
    with (
        pytest.raises(LookupError, match="_gone: found nothing"),
        replaced(RunDriver, "_gone", None),
    ):
        pass


def test_the_command_says_who_was_caught_and_that_the_control_is_clean(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["--json", "--only", "undo_in_forward_order", "--jobs", "1", "--runs", "20"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (told["planted"], told["caught"]) == (1, 1)
    assert told["control"]["violations"] == 0
    (mutant,) = told["mutants"]
    assert (mutant["name"], mutant["breaks"]) == ("undo_in_forward_order", "P6")
    assert mutant["caught_by"] == "out_of_order_compensations"


def test_the_command_fails_when_a_fault_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        ["--only", "cancelled_after_the_pivot", "--runs", "1", "--seeds", "1", "--jobs", "1"]
    )
    assert code == 1
    assert "ESCAPED" in capsys.readouterr().out


def test_the_command_refuses_a_name_that_it_does_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--only", "nobody"]) == 2
    assert "found no nobody" in capsys.readouterr().err


def _product() -> dict[str, Any]:
    """All that a patch could touch: every name of every module, and of every class, as it is."""
    found: dict[str, Any] = {}
    for module in list(sys.modules.values()):
        name = getattr(module, "__name__", "")
        if not name.startswith("orchestrator"):
            continue
        for key, value in list(vars(module).items()):
            found[f"{name}.{key}"] = id(value)
            if isinstance(value, type) and value.__module__ == name:  # at home, and not once more
                for attribute, part in vars(value).items():
                    found[f"{name}.{key}.{attribute}"] = id(part)
    return found
