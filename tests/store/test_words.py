"""Finding things by words: what is found, in which order, and that no question breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ports.words import Words
from orchestrator.store.words import FullTextSearch

THINGS = {
    "refund": Words(
        name="refundPayment", title="Give a customer the money back", fields="payment amount",
        parts="refund bank",
    ),
    "order": Words(
        name="order_goods", title="Order goods and pay for them", fields="item amount card",
        parts="reserve charge ship",
    ),
    "close": Words(
        name="close-account", title="End a customer's account", fields="customer reason",
        parts="refund archive mail",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("refund", ["refund", "close"]),  # in the name before among the parts
        ("I want to have a payment refunded", ["refund", "close"]),
        ("ordering goods", ["order"]),  # stems
        ("pay", ["order", "refund"]),  # begins alike; the word itself before longer ones
        ("closing accounts", ["close"]),
        ("customers", ["close", "refund"]),
        ("amount", ["refund", "order"]),
        ("the of and", []),
        ("", []),
        ("zebra", []),
        ('"refund" OR NEAR(x) *', ["refund", "close"]),
    ],
)
def test_what_is_found(question: str, wanted: list[str]) -> None:
    found = FullTextSearch().rank(THINGS, question, limit=5)
    assert sorted(found) == sorted(wanted)
    assert found[:1] == wanted[:1]


def test_no_more_than_wanted() -> None:
    assert FullTextSearch().rank(THINGS, "refund", limit=1) == ["refund"]


@given(st.text())
def test_any_text_is_a_question(question: str) -> None:
    assert set(FullTextSearch().rank(THINGS, question, limit=3)) <= set(THINGS)
