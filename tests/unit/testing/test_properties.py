"""Whatever fails in a workflow, one thing or a few, nothing is left half done."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from orchestrator.testing import Failing, Fault, Lab, assert_safe, every_failure, failures
from orchestrator.testing.faults import Link, Way
from orchestrator.testing.properties import can_happen

ORDER = Path(__file__).with_name("order.arazzo.yaml")
# Checked elsewhere, one by one: here the same in a row.
EACH = every_failure(ORDER, workflow="order")


def test_every_failure_is_each_call_with_each_fault() -> None:
    assert len(EACH) == len(Fault) * 5
    assert str(EACH[0]) == "charge: refused"
    assert "undo charge: busy, after mail: refused" in map(str, EACH)


def test_each_failure_alone_is_safe() -> None:
    endings = set()
    for failing in EACH:
        with Lab(ORDER) as lab:
            lab.fail_as(failing)
            run = lab.run("order", amount=3)
            assert_safe(run)
            endings.add(str(run.status))
            assert any(sent.fault is failing.fault for sent in run.sent), failing
    assert endings == {"succeeded", "compensated", "escalated"}


@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(failures(ORDER, workflow="order"))
def test_a_few_failures_together_are_safe(failing: list[Failing]) -> None:
    with Lab(ORDER) as lab:
        lab.fail_as(*failing)
        assert_safe(lab.run("order", amount=3))


def test_a_workflow_that_doubles_is_found(tmp_path: Path) -> None:
    """Its author says that the API honours a key, and the API does not."""
    with Lab(ORDER) as lab:
        lab.world._answers = _Forgetful()
        lab.fail("charge", Fault.LOST_ANSWER)
        with pytest.raises(AssertionError, match="charge was done 2 times"):
            assert_safe(lab.run("order", amount=3))


class _Forgetful(dict[object, object]):
    def get(self, key: object, default: object = None) -> object:
        return default


def test_what_an_api_has_done_it_does_not_refuse_afterwards() -> None:
    ship, pay = Link("ship"), Link("pay", Way.UNDO)
    lost = Failing(link=ship, fault=Fault.LOST_ANSWER)
    refused = Failing(link=ship, fault=Fault.REFUSED)
    undo = Failing(link=pay, fault=Fault.BUSY, after=refused)
    assert not can_happen([lost, refused])
    assert not can_happen([undo, lost])
    assert can_happen([Failing(link=ship, fault=Fault.LOST), undo])
    assert can_happen([lost, Failing(link=pay, fault=Fault.REFUSED)])
