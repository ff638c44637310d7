"""The testing kit on a small workflow: what it shows is what the engine does, and it can fail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from orchestrator import NotLanded, Workflow, task
from orchestrator.errors import Conflict, InvalidInput
from orchestrator.testing import (
    Answer,
    Coverage,
    Fault,
    Lab,
    NotSettled,
    Sent,
    assert_compensated_in_reverse,
    assert_effects,
    assert_escalated,
    assert_safe,
    assert_succeeded,
    assert_waiting,
)
from orchestrator.testing.api import NoAnswer

ORDER = Path(__file__).with_name("order.arazzo.yaml")


@pytest.fixture
def shop() -> Iterator[Lab]:
    with Lab(ORDER) as opened:
        yield opened


def test_answers_come_from_the_document(shop: Lab) -> None:
    run = shop.run("order", amount=5)
    assert_succeeded(run)
    assert_effects(run, ["charge", "order", "mail"])
    (charge,) = run.requests("charge")
    assert (charge.body, charge.status) == ({"amount": 5}, 201)
    assert run.steps[0].forward.outputs == {"id": "textxxxx", "state": "open"}
    assert run.outputs == {"charge": "textxxxx"}


def test_answers_of_the_test_come_first(shop: Lab) -> None:
    def echo(sent: Sent) -> Answer:
        return Answer(201, {"id": f"ch-{sent.body['amount']}"})

    shop.answer("charge", echo)
    shop.answer("order", 409, {"detail": "sold out"})
    run = shop.run("order", amount=7)
    assert_compensated_in_reverse(run)
    assert_effects(run, ["charge", "undo charge"])
    (refund,) = run.requests("charge", undo=True)
    assert refund.target == "/charges/ch-7/refund"
    assert "sold out" in run.cause


def test_answers_come_one_after_the_other(shop: Lab) -> None:
    shop.answer("mail", Answer(500), Answer(500), Answer(202))
    run = shop.run("order", amount=7)
    assert_succeeded(run)
    assert [sent.status for sent in run.requests("mail")] == [500, 500, 202]
    assert run.seconds > 1  # of waiting between the attempts


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_of_a_step_with_a_key(shop: Lab, fault: Fault) -> None:
    shop.fail("charge", fault)
    run = shop.run("order", amount=5)
    assert_safe(run)
    assert run.status == ("compensated" if fault is Fault.REFUSED else "succeeded")
    assert run.requests("charge")[0].fault is fault
    assert run.effects.count("charge") == (fault is not Fault.REFUSED)


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.KILLED_AFTER, Fault.LOST])
def test_a_doubt_is_asked_for(shop: Lab, fault: Fault) -> None:
    shop.fail("order", fault)
    run = shop.run("order", amount=5)
    assert_succeeded(run)
    assert run.effects.count("order") == 1
    assert run.calls.count("verify order") == 1


@pytest.mark.parametrize("fault", [each for each in Fault if each.passes])
def test_each_fault_of_an_undo_passes(shop: Lab, fault: Fault) -> None:
    shop.fail("mail", Fault.REFUSED)
    shop.fail("order", fault, undo=True)
    run = shop.run("order", amount=5)
    assert_compensated_in_reverse(run)
    assert_effects(run, ["charge", "order", "undo order", "undo charge"])


def test_a_refused_undo_stops_the_run(shop: Lab) -> None:
    shop.fail("mail", Fault.REFUSED)
    shop.fail("order", Fault.REFUSED, undo=True)
    run = shop.run("order", amount=5)
    assert_escalated(run, "order", undo=True)
    assert_effects(run, ["charge", "order"])
    with pytest.raises(AssertionError, match="stuck at the undo of order; wanted stuck at charge"):
        assert_escalated(run, "charge")


def test_time_is_virtual(shop: Lab) -> None:
    begun = time.monotonic()
    run = shop.run("asked")
    assert_waiting(run)
    shop.advance(9 * 86400.0)
    assert_waiting(shop.look(run))
    shop.advance(2 * 86400.0)
    assert_compensated_in_reverse(shop.go_on(run))  # nobody has answered within ten days
    assert (shop.now - run.record.created_at).days == 11
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("approve", "ending"), [(True, "succeeded"), (False, "compensated")])
def test_people_answer(shop: Lab, approve: bool, ending: str) -> None:
    run = shop.decide(shop.run("asked"), approve=approve)
    assert run.status == ending
    with pytest.raises(LookupError, match="asks nobody"):
        shop.decide(run)
    with pytest.raises(Conflict):
        shop.signal(run, "late")


def test_what_does_not_end_is_told(shop: Lab) -> None:
    shop.answer("charge", 201, {"id": "x"}, seconds=20)
    with pytest.raises(NotSettled, match="not settled after 10 s"):
        shop.go_on(shop.submit("order", {"amount": 1}), patience_seconds=10)


def test_mistakes_of_a_test_are_told(shop: Lab) -> None:
    with pytest.raises(LookupError, match=r"calls 'undo mail'; wanted one of: .*undo charge"):
        shop.fail("mail", Fault.REFUSED, undo=True)
    with pytest.raises(LookupError, match="wanted one of: asked, order"):
        shop.run(amount=5)
    with pytest.raises(InvalidInput, match="/amount"):
        shop.run("order", amount="much")

    def wrong(sent: Sent) -> Answer:
        raise KeyError("what the test itself has broken")

    shop.answer("charge", wrong)
    with pytest.raises(KeyError, match="itself has broken"):
        shop.run("order", amount=5)


def test_criteria_that_no_documented_answer_meets(tmp_path: Path) -> None:
    text = ORDER.read_text().replace(
        "outputs: {id: $response.body#/id, state: $response.body#/state}",
        "successCriteria: [{condition: $response.body#/state == 'refunded'}]\n"
        "        outputs: {id: $response.body#/id}",
    )
    (tmp_path / ORDER.name).write_text(text)
    (tmp_path / "samples.openapi.yaml").write_text(
        ORDER.with_name("samples.openapi.yaml").read_text()
    )
    wanted = r'say what it answers: lab.answer\("charge", …\)'
    with Lab(tmp_path / ORDER.name) as lab, pytest.raises(NoAnswer, match=wanted):
        lab.run("order", amount=5)


def test_judges_see_what_is_wrong(shop: Lab) -> None:
    run = shop.run("order", amount=5)
    with pytest.raises(AssertionError, match="found succeeded; wanted compensated"):
        assert_compensated_in_reverse(run)
    with pytest.raises(AssertionError, match="wanted the effects"):
        assert_effects(run, ["order", "charge", "mail"])
    run.sent[1].key, run.sent[1].link = run.sent[0].key, run.sent[0].link
    with pytest.raises(AssertionError, match="charge was done 2 times"):
        assert_safe(run)


def test_undos_in_the_wrong_order_are_seen(shop: Lab) -> None:
    shop.fail("mail", Fault.REFUSED)
    run = shop.run("order", amount=5)
    assert_compensated_in_reverse(run)
    first, second = (each for each in run.sent if each.link.way == "undo")
    first.link, second.link = second.link, first.link
    with pytest.raises(AssertionError, match="undone in the order"):
        assert_compensated_in_reverse(run)


# --- Python ---------------------------------------------------------------------------------------


@task(effects="keyed")
def book(city: str) -> dict[str, str]:
    """Runs for real."""
    if city == "Atlantis":
        raise NotLanded("nothing flies there")
    return {"flight": f"{city}-1"}


@task(effects="keyed")
async def cancel(flight: str) -> None:
    """Its undo."""


@task(effects="keyed")
def pay(flight: str) -> dict[str, str]:
    """The second step."""
    return {"paid": flight}


TRIP = Workflow("trip", inputs={"city": str}).step(book, compensate=cancel).step(
    pay, no_compensation="it is the last one"
)  # fmt: skip


@pytest.mark.parametrize("fault", Fault)
def test_functions_are_called_for_real(fault: Fault) -> None:
    with Lab(TRIP) as lab:
        assert_effects(lab.run(city="Rome"), ["book", "pay"])
        assert lab.run(city="Atlantis").effects == []
        lab.answer("pay", 422)
        assert_effects(lab.run(city="Oslo"), ["book", "undo book"])
        lab.answer("pay", 200, {"paid": "made up"})
        lab.fail("book", fault)
        run = lab.run(city="Nice")
        assert_safe(run)
        assert run.effects.count("book") == (fault is not Fault.REFUSED)


def test_a_python_file_is_read_with_what_its_apis_say(tmp_path: Path) -> None:
    (tmp_path / "shop.openapi.yaml").write_text(ORDER.with_name("samples.openapi.yaml").read_text())
    (tmp_path / "orders.py").write_text(
        "from orchestrator import Api, ApiWorkflow\n"
        "call = Api('shop', 'shop.openapi.yaml').call(\n"
        "    'createCharge', body={'amount': '$inputs.amount'}, key='Key',\n"
        "    outputs={'id': '$response.body#/id'})\n"
        "buy = ApiWorkflow('buy', inputs={'amount': int}).step(\n"
        "    'charge', call, no_undo='it is the last one')\n"
    )
    with Lab(tmp_path / "orders.py") as lab:
        run = lab.run(amount=5)
        assert_effects(run, ["charge"])
        assert run.steps[0].forward.outputs == {"id": "textxxxx"}


def test_limits_hold_on_virtual_time(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text("api: shop\nrate: 1/second\n")
    with Lab(ORDER, apis=tmp_path) as lab:
        run = lab.run("order", amount=5)
        assert_succeeded(run)
        times = [sent.at for sent in run.sent]
        assert all(later - sooner >= 0.95 for sooner, later in pairwise(times)), times


def test_a_run_that_a_step_begins_is_played_too(tmp_path: Path) -> None:
    document = yaml.safe_load(ORDER.read_text())
    begins = {
        "stepId": "begin", "workflowId": "order", "x-child": {"onCancel": "cancel"},
        "parameters": [{"name": "amount", "value": 5}],
    }  # fmt: skip
    bill = {
        "stepId": "bill", "operationId": "createCharge",
        "x-compensation": {"none": "it is the last one"},
    }  # fmt: skip
    document["workflows"].append({"workflowId": "outer", "steps": [begins, bill]})
    (tmp_path / ORDER.name).write_text(yaml.safe_dump(document))
    (tmp_path / "samples.openapi.yaml").write_text(
        ORDER.with_name("samples.openapi.yaml").read_text()
    )
    with Lab(tmp_path / ORDER.name) as lab:
        lab.fail("bill", Fault.REFUSED)
        assert lab.run("outer").status == "compensated"
        done = [str(sent.link) for sent in lab.world.sent if sent.had_effect]
        assert done == ["charge", "order", "mail", "undo order", "undo charge"]


# --- coverage -------------------------------------------------------------------------------------


def test_coverage_names_what_was_never_taken() -> None:
    coverage = Coverage()
    with Lab(ORDER, coverage=coverage) as lab:
        lab.run("order", amount=5)
        assert coverage.missing("order") == [
            "charge fails", "undo charge", "order fails", "undo order", "mail fails",
            "mail failure: again",
        ]  # fmt: skip
        lab.answer("mail", Answer(500), Answer(422))
        lab.run("order", amount=5)
        assert coverage.missing("order") == ["charge fails", "order fails"]
        assert "asked: 0 of 7" in coverage.report()[0]
        assert 0 < coverage.share < 1
