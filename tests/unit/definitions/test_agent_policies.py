"""Policies of agents as people write them: read whole, refused with each place that is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.guarding import (
    MILLION,
    RUNS,
    Asking,
    Budget,
    Duplicates,
    Period,
    Policy,
    Rate,
    Threshold,
)
from orchestrator.definitions.agent_policies import (
    as_said,
    millionths,
    policy_of,
    read_policies,
)
from orchestrator.definitions.document import parse_document
from orchestrator.errors import InvalidDefinition

WHOLE = {
    "allow": ["order*"], "deny": ["order_all"], "rates": ["10/minute", "1/second"],
    "budgets": ["100 runs/day", "500.25 EUR/month"],
    "duplicates": {"then": "warn", "hours": 0.5},
    "approve": {"above": ["500 EUR"], "roles": ["operator"], "requester": True, "hours": 2.0},
}  # fmt: skip


def test_a_policy_is_read_whole_and_told_as_it_was_said() -> None:
    policy = policy_of(WHOLE, "options")
    assert policy == Policy(
        allow=("order*",), deny=("order_all",),
        rates=(Rate(runs=10, seconds=60), Rate(runs=1, seconds=1)),
        budgets=(
            Budget(of=RUNS, most=100, per=Period.DAY),
            Budget(of="EUR", most=500_250_000, per=Period.MONTH),
        ),
        duplicates=Duplicates(refuse=False, seconds=1800),
        asking=Asking(
            above=(Threshold(of="EUR", most=500 * MILLION),), roles=("operator",), requester=True,
            seconds=7200,
        ),
    )  # fmt: skip
    assert as_said(policy) == WHOLE
    assert policy_of({}, "options") == Policy()


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"allow": "order"}, "/allow"),
        ({"allow": [1]}, "/allow/0"),
        ({"deny": [""]}, "/deny/0"),
        ({"rates": ["10 per minute"]}, "/rates/0"),
        ({"rates": ["0/minute"]}, "/rates/0"),
        ({"rates": ["1001/day"]}, "/rates/0"),
        ({"rates": ["5/fortnight"]}, "/rates/0"),
        ({"budgets": [100]}, "/budgets/0"),
        ({"budgets": ["1.5 runs/day"]}, "/budgets/0"),
        ({"budgets": ["100 EUR/hour"]}, "/budgets/0"),
        ({"budgets": ["100 eur/day"]}, "/budgets/0"),
        ({"budgets": ["-1 EUR/day"]}, "/budgets/0"),
        ({"budgets": ["NaN EUR/day"]}, "/budgets/0"),
        ({"budgets": ["0.0000001 EUR/day"]}, "/budgets/0"),
        ({"duplicates": {"hours": 1}}, "/duplicates"),
        ({"duplicates": {"then": "perhaps"}}, "/duplicates/then"),
        ({"approve": []}, "/approve"),
        ({"approve": {"above": "500 EUR"}}, "/approve/above"),
        ({"approve": {"above": ["500"]}}, "/approve/above/0"),
        ({"approve": {"above": ["500 EUR/day"]}}, "/approve/above/0"),
        ({"approve": {"above": ["5 runs"]}}, "/approve/above/0"),
        ({"approve": {"roles": ["viewer"]}}, "/approve/roles/0"),
        ({"approve": {"requester": "yes"}}, "/approve/requester"),
        ({"approve": {"hours": 9999}}, "/approve/hours"),
        ({"approve": {"below": []}}, "/approve/below"),
        ({"duplicates": {"then": "warn", "hours": 0}}, "/duplicates/hours"),
        ({"duplicates": {"then": "warn", "hours": 9999}}, "/duplicates/hours"),
        ({"tenant": "acme"}, "/tenant"),
    ],
)
def test_what_cannot_be_a_rule_is_refused_with_its_place(said: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        policy_of(said, "options")
    (problem,) = refused.value.problems
    assert f"({place})" in problem.place


@pytest.mark.parametrize("then", ["refuse", "ask", "warn"])
def test_what_becomes_of_a_repeated_wish_is_told_as_it_was_said(then: str) -> None:
    said = {"allow": ["*"], "duplicates": {"then": then, "hours": 24.0}}
    policy = policy_of(said, "options")
    assert policy.duplicates is not None
    assert (policy.duplicates.refuse, policy.duplicates.ask) == (then == "refuse", then == "ask")
    assert as_said(policy) == said


def test_a_file_names_agents_and_lines() -> None:
    named = read_policies(parse_document(
        'agents:\n  bot: {tenant: acme, budgets: [5 runs/day]}\n  "*": {deny: [refund]}\n',
        name="agents.yaml",
    ))  # fmt: skip
    assert [(each.tenant, each.agent) for each in named] == [("acme", "bot"), ("default", "*")]
    assert named[1].policy == Policy(deny=("refund",))
    with pytest.raises(InvalidDefinition) as refused:
        read_policies(parse_document("agents:\n  bot:\n    rates: [often]\n", name="agents.yaml"))
    assert refused.value.problems[0].place == "agents.yaml:3 (/agents/bot/rates/0)"
    with pytest.raises(InvalidDefinition, match="no agents"):
        read_policies(parse_document("{}", name="agents.yaml"))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (19.99, 19_990_000), (0, 0), ("12.5", 12_500_000), (10**9, 10**9 * MILLION),
        (True, None), (-1, None), (None, None), ("much", None), (float("nan"), None),
        (float("inf"), None), (10**9 + 1, None), (0.1 + 0.2, None), ([], None),
    ],
)  # fmt: skip
def test_amounts_are_exact_or_none(value: object, found: int | None) -> None:
    assert millionths(value) == found
