"""Whether a policy lets a run in: each rule refuses, says what was found, and when it passes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.guarding import (
    MILLION,
    RUNS,
    Asking,
    Before,
    Book,
    Budget,
    Charge,
    Duplicates,
    Period,
    Policy,
    Question,
    Rate,
    Refusal,
    Stop,
    Threshold,
    amount_told,
    left,
    look_back,
    spending,
)

NOW = datetime(2026, 2, 28, 23, 59, 30, tzinfo=UTC)
TEN_EUR = Charge(run_id="r", workflow="order", amount=10 * MILLION, currency="EUR")
A_RUN = Charge(run_id="r", workflow="order")


def refusal(policy: Policy, charge: Charge = A_RUN, **known: object) -> Refusal | None:
    book = Book(policy=policy, now=NOW)
    for name, value in known.items():
        setattr(book, name, value)
    found = book.refusals(charge)
    assert len(found) <= 1
    return found[0] if found else None


def test_without_rules_everything_may_begin() -> None:
    assert refusal(Policy(), TEN_EUR) is None


@pytest.mark.parametrize(
    ("allow", "deny", "workflow", "is_allowed"),
    [
        (("order*",), (), "order_book", True),
        (("order*",), (), "refund", False),
        (("*",), ("refund*",), "refund_all", False),
        (("refund",), ("re*",), "refund", False),  # what is denied goes before
        ((), (), "order", False),
        (("Order",), (), "order", False),
    ],
)
def test_workflows_are_allowed_by_name(
    allow: tuple[str, ...], deny: tuple[str, ...], workflow: str, *, is_allowed: bool
) -> None:
    policy = Policy(allow=allow, deny=deny)
    assert policy.allows(workflow) is is_allowed
    found = refusal(policy, Charge(run_id="r", workflow=workflow))
    assert (found is None) is is_allowed
    assert found is None or (found.rule, found.found) == ("allow", f"workflow {workflow}")


def test_who_was_stopped_begins_nothing() -> None:
    found = refusal(Policy(stopped=Stop(by="ada", reason="mad", at="2026")))
    assert found is not None
    assert (found.rule, found.found) == ("stopped", "stopped by ada at 2026: mad")


def test_a_rate_looks_over_the_time_that_has_just_passed() -> None:
    policy = Policy(rates=(Rate(runs=2, seconds=60),))
    at = [NOW - timedelta(seconds=seconds) for seconds in (1, 59, 61)]
    assert refusal(policy, latest=at[2:]) is None
    assert refusal(policy, latest=[at[0], at[2]]) is None
    found = refusal(policy, latest=at)
    assert found is not None
    assert (found.is_rate, found.found, found.wanted) == (True, "2 runs within 60 s", "at most 2")
    assert found.passes_at == at[1] + timedelta(seconds=60)
    # A moment before it still refuses, at that moment it does not.
    book = Book(policy=policy, now=found.passes_at, latest=at)
    assert book.refusals(A_RUN) == []


def test_of_runs_at_once_no_more_are_let_in_than_a_rate_allows() -> None:
    book = Book(policy=Policy(rates=(Rate(runs=3, seconds=60),)), now=NOW)
    let_in = 0
    for _ in range(10):
        if not book.refusals(A_RUN):
            book.charge(A_RUN)
            let_in += 1
    assert let_in == 3


def test_a_budget_of_runs_is_for_the_calendars_day() -> None:
    policy = Policy(budgets=(Budget(of=RUNS, most=5, per=Period.DAY),))
    assert refusal(policy, spent={(RUNS, "2026-02-28"): 4}) is None
    assert refusal(policy, spent={(RUNS, "2026-02-27"): 9}) is None
    found = refusal(policy, spent={(RUNS, "2026-02-28"): 5})
    assert found is not None
    assert (found.rule, found.is_rate) == ("budgets", False)
    assert found.found == "1 runs beside 5 runs of this day"
    assert found.wanted == "at most 5 runs per day"
    assert found.passes_at == datetime(2026, 3, 1, tzinfo=UTC)


def test_an_amount_that_would_go_beyond_its_budget_is_refused_to_the_millionth() -> None:
    policy = Policy(budgets=(Budget(of="EUR", most=100 * MILLION, per=Period.MONTH),))
    assert refusal(policy, TEN_EUR, spent={("EUR", "2026-02"): 90 * MILLION}) is None
    found = refusal(policy, TEN_EUR, spent={("EUR", "2026-02"): 90 * MILLION + 1})
    assert found is not None
    assert found.found == "10 EUR beside 90.000001 EUR of this month"
    assert found.wanted == "at most 100 EUR per month"
    assert found.passes_at == datetime(2026, 3, 1, tzinfo=UTC)


def test_what_is_more_than_the_whole_budget_never_passes() -> None:
    policy = Policy(budgets=(Budget(of="EUR", most=9 * MILLION, per=Period.DAY),))
    found = refusal(policy, TEN_EUR)
    assert found is not None
    assert found.passes_at is None


def test_another_currency_is_no_way_around_a_budget() -> None:
    policy = Policy(budgets=(Budget(of="USD", most=100 * MILLION, per=Period.DAY),))
    found = refusal(policy, TEN_EUR)
    assert found is not None
    assert (found.found, found.wanted) == ("EUR", "a currency with a budget: USD")
    assert refusal(policy) is None, "a run that declares no amount needs no budget"


def test_what_is_charged_is_spent() -> None:
    budget = Budget(of="EUR", most=25 * MILLION, per=Period.DAY)
    book = Book(policy=Policy(budgets=(budget,)), now=NOW)
    assert book.charge(TEN_EUR) == spending(TEN_EUR, NOW)
    assert book.charge(TEN_EUR) == {
        (RUNS, "2026-02-28"): 1, (RUNS, "2026-02"): 1,
        ("EUR", "2026-02-28"): 10 * MILLION, ("EUR", "2026-02"): 10 * MILLION,
    }  # fmt: skip
    assert left(book.policy, book.spent, NOW) == [(budget, 5 * MILLION)]
    assert [each.rule for each in book.refusals(TEN_EUR)] == ["budgets"]


@pytest.mark.parametrize(
    ("per", "ends"),
    [
        (Period.DAY, datetime(2026, 3, 1, tzinfo=UTC)),
        (Period.MONTH, datetime(2026, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_period_ends_where_the_next_begins(per: Period, ends: datetime) -> None:
    assert per.end_of(NOW) == ends
    assert per.name_of(per.end_of(NOW)) != per.name_of(NOW)
    assert per.name_of(per.end_of(NOW) - timedelta(microseconds=1)) == per.name_of(NOW)


@pytest.mark.parametrize("refuse", [True, False])
def test_the_same_wish_again_is_refused_or_told(*, refuse: bool) -> None:
    policy = Policy(duplicates=Duplicates(refuse=refuse, seconds=3600))
    first, again = (Charge(run_id=n, workflow="order", intent="i") for n in ("r1", "r2"))
    book = Book(policy=policy, now=NOW)
    assert book.before(first) is None
    book.charge(first)
    assert book.before(again) == Before(run_id="r1", at=NOW)
    assert book.before(replace(again, intent="other")) is None
    found = book.refusals(again)
    assert [each.rule for each in found] == ["duplicates"] * refuse
    if refuse:
        assert found[0].found == "the same wish as run r1 of 2026-02-28T23:59:30+00:00"
        assert found[0].passes_at == NOW + timedelta(hours=1)
    assert Book(policy=Policy(), now=NOW, wishes=book.wishes).before(again) is None


def test_how_far_to_look_back_is_the_largest_rate() -> None:
    rates = (Rate(runs=3, seconds=1), Rate(runs=40, seconds=60))
    assert look_back([Policy(rates=rates), Policy()]) == 40
    assert look_back([Policy()]) == 0


@pytest.mark.parametrize(
    ("millionths", "told"),
    [(0, "0"), (12_500_000, "12.5"), (100 * MILLION, "100"), (1, "0.000001")],
)
def test_amounts_are_told_without_needless_digits(millionths: int, told: str) -> None:
    assert amount_told(millionths) == told


def questions(policy: Policy, charge: Charge, **wishes: Before) -> list[Question]:
    return Book(policy=policy, now=NOW, wishes=wishes).questions(charge)


@pytest.mark.parametrize(
    ("above", "currency", "euros", "asks"),
    [
        (("EUR", 10), "EUR", 10, False),
        (("EUR", 10), "EUR", 11, True),
        (("EUR", 10), "USD", 1, True),  # else whoever names the currency would choose
        (("EUR", 0), "EUR", 0, False),  # spends nothing
    ],
)
def test_a_person_is_asked_above_an_amount(
    above: tuple[str, int], currency: str, euros: int, *, asks: bool
) -> None:
    policy = Policy(asking=Asking(above=(Threshold(of=above[0], most=above[1] * MILLION),)))
    charge = Charge(run_id="r", workflow="o", amount=euros * MILLION, currency=currency)
    found = questions(policy, charge)
    assert bool(found) is asks
    for each in found:
        assert (each.rule, each.found) == ("approve", f"{euros} {currency}")
        assert each.wanted == f"at most {above[1]} EUR without a person's approval"


def test_the_smallest_of_several_amounts_counts() -> None:
    above = tuple(Threshold(of="EUR", most=most * MILLION) for most in (20, 5))
    assert questions(Policy(asking=Asking(above=above)), TEN_EUR)
    assert not questions(Policy(), TEN_EUR)


@pytest.mark.parametrize(
    ("refuse", "ask", "asks"), [(True, False, 0), (False, False, 0), (False, True, 1)]
)
def test_a_person_is_asked_about_what_was_wanted_before(
    *, refuse: bool, ask: bool, asks: int
) -> None:
    policy = Policy(duplicates=Duplicates(refuse=refuse, ask=ask, seconds=60))
    again = Charge(run_id="r", workflow="order", intent="i")
    found = questions(policy, again, i=Before(run_id="first", at=NOW))
    assert len(found) == asks
    assert not found or "run first" in found[0].found
    assert questions(policy, again) == []
    assert bool(refusal(policy, again, wishes={"i": Before(run_id="first", at=NOW)})) is refuse
