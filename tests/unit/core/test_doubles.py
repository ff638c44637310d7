"""Which effects were made twice, by whom, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.core.calls import CallMade
from orchestrator.core.doubles import Cause, RunCalls, doubles
from orchestrator.core.states import Direction

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
CHARGE = CallMade(
    seq=3, at=NOW, step="charge", direction=Direction.FORWARD, attempt=1, verify=False,
    method="POST", url="https://bank.example/charges", key="k-a", sent=1, status=201,
    outcome="landed", asked="digest-1",
)  # fmt: skip
LOST = replace(CHARGE, seq=2, sent=None, status=None, outcome="")


def run(name: str, *calls: CallMade, inputs: str = "same", tenant: str = "acme") -> RunCalls:
    return RunCalls(
        run_id=name, workflow="pay", tenant=tenant, actor=f"agent:{name}", key=f"order-{name}",
        inputs_digest=inputs, submitted_at=NOW, calls=calls,
    )  # fmt: skip


def test_two_keys_for_one_intent() -> None:
    (found,) = doubles([run("a", CHARGE), run("b", replace(CHARGE, key="k-b", asked="digest-2"))])
    assert found.cause is Cause.TWO_KEYS
    assert [effect.run_id for effect in found.effects] == ["a", "b"]
    for words in ("POST https://bank.example/charges was done twice", "agent:a", "agent:b",
                  "under the key order-a", "under the key order-b", "same inputs"):  # fmt: skip
        assert words in found.text


def test_the_same_request_of_runs_that_differ() -> None:
    (found,) = doubles([run("a", CHARGE, inputs="1"), run("b", CHARGE, inputs="2")])
    assert found.cause is Cause.SAME_REQUEST


@pytest.mark.parametrize(
    "first", [LOST, replace(CHARGE, seq=2, status=None, outcome="pending", in_doubt=True)]
)
def test_a_key_that_an_api_may_ignore(first: CallMade) -> None:
    (found,) = doubles([run("a", first, replace(CHARGE, seq=5, attempt=2))])
    assert found.cause is Cause.ONE_KEY
    assert "was sent twice" in found.text
    assert "no whole answer" in found.text
    assert "k-a" in found.text


def test_an_effect_that_was_undone_is_said_to_be() -> None:
    undo = replace(CHARGE, seq=9, direction=Direction.BACKWARD, method="DELETE")
    (found,) = doubles([run("a", CHARGE), run("b", CHARGE, undo)])
    assert [effect.undone for effect in found.effects] == [False, True]
    assert "undone since" in found.text


@pytest.mark.parametrize(
    "other",
    [
        replace(CHARGE, outcome="failed", status=402),
        replace(CHARGE, verify=True),
        replace(CHARGE, method="GET"),
        replace(CHARGE, method="TASK"),
        replace(CHARGE, direction=Direction.BACKWARD),
    ],
)
def test_what_is_no_second_effect(other: CallMade) -> None:
    assert doubles([run("a", CHARGE), run("b", other)]) == []


def test_what_the_api_has_refused_is_tried_again_without_a_word() -> None:
    refused = replace(CHARGE, seq=2, status=503, outcome="pending")
    assert doubles([run("a", refused, replace(CHARGE, seq=5, attempt=2))]) == []


def test_tenants_are_apart() -> None:
    assert doubles([run("a", CHARGE), run("b", CHARGE, tenant="globex")]) == []
