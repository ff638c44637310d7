"""The testing kit on runs that begin others: branches of a block, other workflows, their undos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator import Workflow, task
from orchestrator.errors import Conflict
from orchestrator.testing import (
    Answer,
    Coverage,
    Fault,
    Lab,
    assert_compensated_in_reverse,
    assert_effects,
    assert_escalated,
    assert_safe,
    assert_succeeded,
    assert_waiting,
)
from orchestrator.testing.judging import AT_ONCE_SECONDS

ORDER = Path(__file__).with_name("order.arazzo.yaml")


@task(effects="keyed")
def do() -> dict[str, bool]:
    return {"did": True}


@task(effects="keyed")
def undo(did: bool) -> None: ...


def did(*names: str) -> Workflow:
    made = Workflow("part")
    for name in names:
        made = made.step(do, id=name, compensate=undo)
    return made


TRIP = (
    Workflow("trip")
    .step(do, id="book", compensate=undo)
    .parallel("both", {"air": did("fly", "seat"), "land": did("sleep")}, fail="collect")
    .step(do, id="tell", no_compensation="nothing follows")
)


@pytest.fixture
def trip() -> Iterator[Lab]:
    with Lab(TRIP) as opened:
        for name, seconds in (("fly", 1.0), ("sleep", 2.0), ("seat", 3.0)):
            opened.answer(name, Answer(200, {"did": True}, seconds=seconds))
        yield opened


def test_branches_are_seen_in_the_order_in_which_they_were_done(trip: Lab) -> None:
    run = trip.run()
    assert_succeeded(run)
    assert run.done == ["book", "fly", "sleep", "seat", "both", "tell"]
    assert_effects(run, ["book", "fly", "sleep", "seat", "tell"])
    assert [sent.attempt for sent in run.requests("seat")] == [1]
    assert [child.record.branch for child in run.children] == ["both/air", "both/land"]
    assert "seat" in str(run)


def test_blocks_are_undone_in_one_chain(trip: Lab) -> None:
    trip.fail("tell", Fault.REFUSED)
    run = trip.run()
    assert_compensated_in_reverse(run)
    assert run.undone == ["seat", "sleep", "fly", "both", "book"]
    assert run.effects[-4:] == ["undo seat", "undo sleep", "undo fly", "undo book"]


@pytest.mark.parametrize("fault", [Fault.KILLED_AFTER, Fault.LOST_ANSWER, Fault.REFUSED])
@pytest.mark.parametrize("step", ["fly", "sleep", "seat"])
def test_whatever_fails_in_a_branch_is_safe(trip: Lab, step: str, fault: Fault) -> None:
    trip.fail(step, fault)
    run = trip.run()
    assert_safe(run)
    assert run.status == ("compensated" if fault is Fault.REFUSED else "succeeded")


def test_a_wrong_order_across_branches_is_found(trip: Lab) -> None:
    trip.fail("tell", Fault.REFUSED)
    run = trip.run()
    (sleep,) = run.requests("sleep")
    assert sleep.over is not None
    sleep.over -= 1.0 - AT_ONCE_SECONDS / 2  # no longer the later one, but near enough
    assert_compensated_in_reverse(run)
    sleep.over -= 0.5
    with pytest.raises(AssertionError, match="wanted fly before sleep, which was done earlier"):
        assert_compensated_in_reverse(run)


def test_what_is_left_in_a_branch_is_found(trip: Lab) -> None:
    trip.fail("tell", Fault.REFUSED)
    run = trip.run()
    for child in run.children:
        for sent in child.requests("sleep", undo=True):
            sent.had_effect = False
    assert_compensated_in_reverse(run)  # the engine says that it was undone
    trip.fail("tell", Fault.REFUSED)
    trip.fail("sleep", Fault.REFUSED, undo=True)
    stuck = trip.run()
    assert_escalated(stuck, "sleep", undo=True)
    assert_safe(stuck)
    skipped = trip.skip(stuck)
    assert skipped.status == "compensated"
    with pytest.raises(AssertionError, match="sleep was done and has not been undone"):
        assert_compensated_in_reverse(skipped)


def test_people_help_where_a_branch_is_stuck(trip: Lab) -> None:
    trip.fail("tell", Fault.REFUSED)
    trip.fail("sleep", Fault.REFUSED, undo=True)
    stuck = trip.run()
    assert_waiting(stuck)
    assert_compensated_in_reverse(trip.retry(stuck))
    with pytest.raises(LookupError, match="is not escalated; it is compensated"):
        trip.retry(stuck)


def test_a_run_is_cancelled_while_its_branches_go_on(trip: Lab) -> None:
    run = trip.submit("trip", {})
    trip.advance(1.5)
    cancelled = trip.cancel(run)
    assert_compensated_in_reverse(cancelled)
    assert set(cancelled.done) > {"book", "fly"}
    with pytest.raises(Conflict):
        trip.cancel(run)
    stopped = trip.submit("trip", {})
    trip.advance(1.5)
    assert trip.cancel(stopped, stop=True).status == "abandoned"


def test_an_undo_is_vouched_for_or_given_up(trip: Lab) -> None:
    ends = []
    for act in (trip.resolve, trip.abandon):
        trip.fail("tell", Fault.REFUSED)
        trip.fail("book", Fault.REFUSED, undo=True)
        run = trip.run()
        assert_escalated(run, "book", undo=True)
        ends.append(str(act(run).status))
    assert ends == ["compensated", "abandoned"]


def test_somebody_in_a_branch_is_asked() -> None:
    asked = Workflow("asked").parallel(
        "both", {"one": Workflow("a").approval("Well?"), "two": Workflow("b").wait_for("go")}
    )
    with Lab(asked) as lab:
        run = lab.run()
        assert_waiting(run)
        assert lab.signal(run, "go").status == "waiting"
        assert_succeeded(lab.decide(run))


def test_coverage_counts_what_branches_went_through(trip: Lab) -> None:
    coverage = Coverage()
    with Lab(TRIP, coverage=coverage) as lab:
        lab.fail("tell", Fault.REFUSED)
        lab.run()
    missing = coverage.missing("trip")
    assert {"fly", "undo fly", "undo sleep", "book"}.isdisjoint(missing)
    assert {"fly fails", "tell"} <= set(missing)


@pytest.fixture
def outer(tmp_path: Path) -> Iterator[Lab]:
    document = yaml.safe_load(ORDER.read_text())
    begins = {
        "stepId": "begin", "workflowId": "order", "x-child": {"onCancel": "cancel"},
        "parameters": [{"name": "amount", "value": 5}],
    }  # fmt: skip
    bill = {
        "stepId": "charge", "operationId": "createCharge",
        "x-compensation": {"none": "it is the last one"},
    }  # fmt: skip
    document["workflows"].append({"workflowId": "outer", "steps": [begins, bill]})
    (tmp_path / ORDER.name).write_text(yaml.safe_dump(document))
    openapi = ORDER.with_name("samples.openapi.yaml")
    (tmp_path / openapi.name).write_text(openapi.read_text())
    with Lab(tmp_path / ORDER.name) as opened:
        yield opened


def test_steps_of_another_workflow_are_named_by_it(outer: Lab) -> None:
    run = outer.run("outer")
    assert_succeeded(run)
    assert run.done == ["order.charge", "order.order", "order.mail", "begin", "charge"]
    assert_effects(run, ["order.charge", "order.order", "order.mail", "charge"])
    assert len(run.requests("order.charge")) == len(run.requests("charge")) == 1


def test_what_another_workflow_did_is_undone_before_what_came_before_it(outer: Lab) -> None:
    outer.answer("charge", Answer(201, {"id": "first"}), Answer(422))
    run = outer.run("outer")
    assert_compensated_in_reverse(run)
    assert run.undone == ["order.order", "order.charge", "begin"]
    outer.answer("charge", Answer(201, {"id": "first"}), Answer(422))
    outer.fail("order", Fault.REFUSED, undo=True)
    assert_escalated(outer.run("outer"), "order.order", undo=True)


def test_a_workflow_in_python_begins_another_and_undoes_it_in_its_place() -> None:
    inner = Workflow("inner", outputs={"did": "$steps.book.outputs.did"})
    inner = inner.step(do, id="book", compensate=undo).step(do, id="seat", compensate=undo)
    nested = (
        Workflow("nested", outputs={"did": "$steps.begin.outputs.did"})
        .step(do, id="first", compensate=undo)
        .child("begin", inner)
        .child("aside", inner, wait=False)
        .step(do, id="last", no_compensation="nothing follows")
    )
    with Lab(nested) as lab:
        run = lab.run()
        assert_succeeded(run)
        assert (run.outputs, len(run.children)) == ({"did": True}, 2)
        lab.fail("last", Fault.REFUSED)
        back = lab.run()
    assert back.status == "compensated"
    assert back.undone == ["inner.seat", "inner.book", "begin", "first"]


def test_items_of_a_map_are_seen() -> None:
    car = Workflow("car", inputs={"number": int}).step(do, id="wash", compensate=undo)
    fleet = (
        Workflow("fleet")
        .each("cars", car, item="number", count=3, parallel=2)
        .step(do, id="tell", no_compensation="nothing follows")
    )
    with Lab(fleet) as lab:
        lab.fail("tell", Fault.REFUSED)
        run = lab.run()
        assert_compensated_in_reverse(run)
        assert run.done == ["car.wash"] * 3 + ["cars"]
        assert run.undone == ["car.wash"] * 3 + ["cars"]
        lab.fail("tell", Fault.REFUSED)
        lab.fail("wash", Fault.REFUSED, undo=True)
        stuck = lab.run()
        assert_escalated(stuck, "car.wash", undo=True)
        assert_compensated_in_reverse(lab.retry(stuck))
