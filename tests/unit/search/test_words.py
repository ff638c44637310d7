"""What of a text counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.search.words import spoken, stems


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("createOrder_now", ["creat", "order", "now"]),
        ("APIKey", ["api", "key"]),
        ("oauth2-token", ["oauth", "2", "token"]),
        ("/v2/droplets/{droplet_id}", ["v", "2", "droplet", "droplet", "id"]),
        ("Refunds, refunded; refunding!", ["refund", "refund", "refund"]),
        ("I would like to have this for you", ["like"]),
        ("Zürich", ["zürich"]),
        ("", []),
    ],
)
def test_ids_are_split_and_inflections_taken_away(text: str, wanted: list[str]) -> None:
    assert stems(text) == wanted


def test_names_are_spoken() -> None:
    assert spoken("create-refundNow_v2") == "create refund Now v 2"


@given(text=st.text(max_size=200))
def test_any_text_has_stems(text: str) -> None:
    assert all(stem and stem == stem.lower() for stem in stems(text))
