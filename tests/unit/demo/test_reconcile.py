"""The judge of the demo catches every kind of fault: each test plants one."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from orchestrator.core.states import RunStatus
from orchestrator.demo.reconcile import (
    CORRECTION_SUFFIX,
    FORWARD,
    Expected,
    Record,
    RunView,
    Verdict,
    reconcile,
)
from orchestrator.demo.seeding import Order
from orchestrator.demo.world import Change, WorldState

STEPS = ("reserve", "register", "charge", "order", "confirm", "ship")
DESK = "desk"


def order(ending: RunStatus, refused_at: str | None = None) -> Order:
    return Order(order_id="o1", inputs={}, ending=ending, refused_at=refused_at, why="")


def world(*changes: tuple[str, str, str] | tuple[str, str, str, str]) -> WorldState:
    """What the server holds after (action, collection, record[, user]) in this order."""
    records: dict[Record, dict[str, object]] = {}
    journal = []
    for position, (action, collection, record, *user) in zip(count(1), changes, strict=False):
        if action == "delete":
            del records[(collection, record)]
        else:
            records[(collection, record)] = {"id": record}
        journal.append(
            Change(
                position=position,
                action=action,
                collection=collection,
                record=record,
                user=user[0] if user else "engine",
            )
        )
    return WorldState(records=records, changes=tuple(journal))


def created(*collections: str) -> list[tuple[str, str, str]]:
    return [("create", collection, "o1") for collection in collections]


def deleted(*collections: str) -> list[tuple[str, str, str]]:
    return [("delete", collection, "o1") for collection in collections]


CORRECTED = ("create", "mail", "o1" + CORRECTION_SUFFIX)
SUCCEEDED = RunView(run_id="r1", status=RunStatus.SUCCEEDED, completed=STEPS)
REFUSED_BY_CARRIER = RunView(
    run_id="r1",
    status=RunStatus.COMPENSATED,
    failed_at="ship",
    completed=STEPS[:5],
    undone=("confirm", "order", "charge", "register", "reserve"),
)
UNDONE = [
    *created(*FORWARD[:5]),
    CORRECTED,
    *deleted("orders", "payments", "customers", "stock-reservations"),
]
STUCK_AT_PAYMENT = RunView(
    run_id="r1",
    status=RunStatus.ESCALATED,
    failed_at="ship",
    completed=STEPS[:5],
    undone=("confirm", "order"),
    named=frozenset((c, "o1") for c in ("stock-reservations", "customers", "payments")),
)
ESCALATED_WORLD = [
    *created(*FORWARD[:4]),
    ("update", "payments", "o1", DESK),
    ("create", "reviews", "o1", DESK),
    *created("mail"),
    CORRECTED,
    *deleted("orders"),
]


def verdict(
    ordered: Order, view: RunView | None, state: WorldState, expected: Expected | None = None
) -> Verdict:
    return reconcile(
        [ordered],
        {} if view is None else {"o1": view},
        state,
        effects=FORWARD,
        expected={} if expected is None else {"o1": expected},
        others=frozenset({DESK}),
    )


def counts(found: Verdict) -> dict[str, int]:
    fields = (
        "lost",
        "orphaned_effects",
        "duplicate_effects",
        "out_of_order_compensations",
        "unexpected_endings",
    )
    return {name: getattr(found, name) for name in fields if getattr(found, name)}


def test_the_three_endings_are_clean() -> None:
    assert verdict(order(RunStatus.SUCCEEDED), SUCCEEDED, world(*created(*FORWARD))).clean
    refused = order(RunStatus.COMPENSATED, "ship")
    assert verdict(refused, REFUSED_BY_CARRIER, world(*UNDONE)).clean
    escalated = order(RunStatus.ESCALATED, "ship")
    assert verdict(escalated, STUCK_AT_PAYMENT, world(*ESCALATED_WORLD)).clean


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PENDING])
def test_a_run_that_has_not_settled_is_lost_and_its_effects_orphaned(status: RunStatus) -> None:
    view = RunView(run_id="r1", status=status)
    found = verdict(order(RunStatus.SUCCEEDED), view, world(*created("stock-reservations")))
    assert counts(found) == {"lost": 1, "orphaned_effects": 1}


def test_an_order_nobody_knows_is_lost() -> None:
    assert counts(verdict(order(RunStatus.SUCCEEDED), None, world())) == {"lost": 1}


def test_a_record_of_no_run_is_orphaned() -> None:
    state = world(*created(*FORWARD), ("create", "payments", "stranger"))
    assert counts(verdict(order(RunStatus.SUCCEEDED), SUCCEEDED, state)) == {"orphaned_effects": 1}


def test_an_effect_that_was_not_undone_is_orphaned() -> None:
    state = world(*UNDONE[:-1])
    found = verdict(order(RunStatus.COMPENSATED, "ship"), REFUSED_BY_CARRIER, state)
    assert counts(found) == {"orphaned_effects": 1}


def test_a_confirmation_without_its_correction_is_orphaned() -> None:
    state = world(*[change for change in UNDONE if change != CORRECTED])
    found = verdict(order(RunStatus.COMPENSATED, "ship"), REFUSED_BY_CARRIER, state)
    assert counts(found) == {"orphaned_effects": 1}


def test_an_effect_that_the_escalation_does_not_name_is_orphaned() -> None:
    silent = replace(STUCK_AT_PAYMENT, named=STUCK_AT_PAYMENT.named - {("payments", "o1")})
    found = verdict(order(RunStatus.ESCALATED, "ship"), silent, world(*ESCALATED_WORLD))
    assert counts(found) == {"orphaned_effects": 1}


def test_an_effect_that_is_named_but_gone_is_an_untrue_ending() -> None:
    state = world(*ESCALATED_WORLD, *deleted("customers"))
    found = verdict(order(RunStatus.ESCALATED, "ship"), STUCK_AT_PAYMENT, state)
    assert counts(found)["unexpected_endings"] == 1


def test_a_missing_effect_of_a_succeeded_run_is_an_untrue_ending() -> None:
    found = verdict(order(RunStatus.SUCCEEDED), SUCCEEDED, world(*created(*FORWARD[:5])))
    assert counts(found) == {"unexpected_endings": 1}


def test_an_ending_that_the_seed_does_not_imply() -> None:
    found = verdict(order(RunStatus.SUCCEEDED), REFUSED_BY_CARRIER, world(*UNDONE))
    assert counts(found) == {"unexpected_endings": 1}


def test_a_refusal_at_another_step_than_the_seed_implies() -> None:
    found = verdict(order(RunStatus.COMPENSATED, "charge"), REFUSED_BY_CARRIER, world(*UNDONE))
    assert counts(found) == {"unexpected_endings": 1}


def test_a_second_creation_is_a_duplicate() -> None:
    state = world(*created(*FORWARD), ("create", "payments", "o1"))
    found = verdict(order(RunStatus.SUCCEEDED), SUCCEEDED, state)
    assert counts(found) == {"duplicate_effects": 1}


def test_a_creation_after_the_undo_is_caught_however_the_story_ends() -> None:
    state = world(*UNDONE, *created("payments"), *deleted("payments"))
    found = verdict(order(RunStatus.COMPENSATED, "ship"), REFUSED_BY_CARRIER, state)
    assert counts(found) == {"duplicate_effects": 1, "out_of_order_compensations": 1}


def test_a_write_over_a_record_that_is_there_is_a_duplicate() -> None:
    state = world(*created(*FORWARD), ("update", "payments", "o1"))
    found = verdict(order(RunStatus.SUCCEEDED), SUCCEEDED, state)
    assert counts(found) == {"duplicate_effects": 1}


def test_undos_out_of_order_at_the_server_are_caught() -> None:
    state = world(
        *created(*FORWARD[:5]),
        CORRECTED,
        *deleted("payments", "orders", "customers", "stock-reservations"),
    )
    found = verdict(order(RunStatus.COMPENSATED, "ship"), REFUSED_BY_CARRIER, state)
    assert counts(found) == {"out_of_order_compensations": 1}


def test_undos_out_of_order_in_the_record_are_caught() -> None:
    wrong = replace(
        REFUSED_BY_CARRIER, undone=("order", "confirm", "charge", "register", "reserve")
    )
    found = verdict(order(RunStatus.COMPENSATED, "ship"), wrong, world(*UNDONE))
    assert counts(found) == {"out_of_order_compensations": 1}


def test_an_undo_before_the_last_forward_step_is_out_of_order() -> None:
    state = world(
        *created(*FORWARD[:4]),
        *deleted("orders"),
        *created("mail"),
        CORRECTED,
        *deleted("payments", "customers", "stock-reservations"),
    )
    found = verdict(order(RunStatus.COMPENSATED, "ship"), REFUSED_BY_CARRIER, state)
    assert counts(found) == {"out_of_order_compensations": 1}


def test_what_the_operator_left_standing_is_expected_to_stand() -> None:
    kept = Expected(status=RunStatus.COMPENSATED, kept=frozenset({("payments", "o1")}))
    view = replace(
        STUCK_AT_PAYMENT,
        status=RunStatus.COMPENSATED,
        undone=("confirm", "order", "register", "reserve"),
    )
    escalated = order(RunStatus.ESCALATED, "ship")
    state = world(*ESCALATED_WORLD, *deleted("customers", "stock-reservations"))
    assert verdict(escalated, view, state, kept).clean
    gone = world(*ESCALATED_WORLD, *deleted("payments", "customers", "stock-reservations"))
    assert counts(verdict(escalated, view, gone, kept)) == {"unexpected_endings": 1}
