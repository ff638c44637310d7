"""What is found, in which order, why, and that no question breaks it. Without a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ports.finding import About, Fit
from orchestrator.search import HybridFinder
from orchestrator.service.wording import why

REFUND = About(
    name="refundPayment", title="Give a customer the money back", apis="bank",
    steps="refund mail", operations="post /refunds", inputs="payment amount", outputs="receipt",
)  # fmt: skip
ORDER = About(
    name="order_goods", title="Order goods and pay for them", apis="shop",
    steps="reserve charge ship", inputs="item amount card", outputs="parcel",
)  # fmt: skip
CLOSE = About(
    name="close-account", title="End a customer's account", apis="crm",
    steps="refund archive mail", inputs="customer reason",
)  # fmt: skip


def finder_of(*abouts: About) -> HybridFinder:
    finder = HybridFinder()
    finder.learn(abouts)
    return finder


FINDER = finder_of(REFUND, ORDER, CLOSE)


def found(question: str, finder: HybridFinder = FINDER, *, limit: int = 5) -> list[Fit]:
    return finder.find(question, limit=limit, allowed=lambda _: True)


def names(question: str, finder: HybridFinder = FINDER) -> list[str]:
    return [each.name for each in found(question, finder)]


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("refund", ["refundPayment", "close-account"]),  # in the name before among the steps
        ("I want to have a payment refunded", ["refundPayment", "close-account"]),
        ("ordering goods", ["order_goods"]),
        ("closing accounts", ["close-account"]),
        ("the of and", []),
        ("", []),
        (" ", []),
        ("zebra", []),
    ],
)
def test_by_stems_and_the_weights_of_fields(question: str, wanted: list[str]) -> None:
    assert names(question) == wanted


def test_says_which_words_are_where() -> None:
    first, second, *_ = found("refund the payment's amount")
    assert first.words == {"name": ["refund", "payment"], "inputs": ["amount"]}
    assert why(first) == "refund, payment in name; amount in inputs"
    assert why(second) == "doubtful: refund in steps"


def test_shows_only_what_is_allowed_and_no_more_than_asked_for() -> None:
    only = FINDER.find("refund", limit=5, allowed=lambda name: name.startswith("close"))
    assert [each.name for each in only] == ["close-account"]
    assert len(found("refund", limit=1)) == 1


def test_what_succeeded_often_comes_first_among_equals() -> None:
    twins = [About(name=f"pay-{name}", title="Pay a bill") for name in ("one", "two")]
    finder = finder_of(*twins)
    assert names("pay a bill", finder) == ["pay-one", "pay-two"]
    used = finder.find(
        "pay a bill", limit=5, allowed=lambda _: True, uses={"pay-two": 3, "gone": 9}
    )
    assert [each.name for each in used] == ["pay-two", "pay-one"]


def test_success_does_not_beat_a_better_fit() -> None:
    uses = {"close-account": 1_000_000}
    fits = FINDER.find("refund a payment", limit=1, allowed=lambda _: True, uses=uses)
    assert [each.name for each in fits] == ["refundPayment"]


def test_what_is_learnt_again_replaces_what_was_known() -> None:
    finder = finder_of(REFUND, ORDER)
    finder.learn([About(name="order_goods", title="Buy flowers")])
    assert names("flowers", finder) == ["order_goods"]
    assert names("parcel", finder) == []
    assert names("refund", finder) == ["refundPayment"]


def test_without_workflows_nothing_is_found() -> None:
    assert names("refund", HybridFinder()) == []
    assert names("refund", finder_of(About(name="", title=""))) == []


@given(question=st.text(max_size=300))
def test_any_question_is_answered(question: str) -> None:
    assert all(0 < each.score <= 1 for each in found(question))
