"""Filters as people type them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.states import RunStatus
from orchestrator.errors import InvalidInput
from orchestrator.ports import EscalationFilter, RunFilter
from orchestrator.service.where import escalations_where, parse_where, runs_where


def test_a_filter() -> None:
    text = "api=payments and  reason=in_doubt AND detail~'time out' and age>30m and claimed=no"
    assert escalations_where(text) == EscalationFilter(
        api="payments", reason="in_doubt", detail="time out", older_than_seconds=1800, claimed=False
    )


def test_runs_by_their_attributes() -> None:
    text = "attribute.customer=42 and status=pending and attribute.cost-centre='a b'"
    assert runs_where(text) == RunFilter(
        attributes={"customer": "42", "cost-centre": "a b"}, status=frozenset({RunStatus.PENDING})
    )
    assert runs_where("text~'card declined'") == RunFilter(text="card declined")
    for wrong, place, wanted in (
        ("text~' '", "character 1", "1 to 200 characters"),
        ("attribute.a=1 and attribute.a=2", "character 19", "it once"),
        ("attribute.=1", "character 1", "small letters"),
        ("attribute.a=''", "character 1", "printable text"),
        ("attribute.a~1", "character 1", "attribute.NAME="),
        ("attribut.a=1", "character 1", "attribute.NAME="),
    ):
        with pytest.raises(InvalidInput) as refused:
            runs_where(wrong)
        (problem,) = refused.value.problems
        assert (place in problem.place, wanted in problem.wanted) == (True, True), problem


@pytest.mark.parametrize(
    ("text", "place", "wanted"),
    [
        ("", "character 1", "field=value"),
        ("api", "character 1", "field=value"),
        ("api=", "character 1", "field=value"),
        ("api=a reason=in_doubt", "character 6", "`and`"),
        ("api=a and", "character 6", "`and`"),
        ("api=a and ", "character 11", "field=value"),
        ("api=a or step=b", "character 6", "`and`"),
        ("api~a", "character 1", "one of api=, workflow="),
        ("api=a and color=red", "character 11", "one of api="),
        ("api=a and api=b", "character 11", "it once"),
        ("reason=boredom", "character 1", "one of compensation_failed"),
        ("age>soon", "character 1", "90s, 30m"),
        ("age>999999999w", "character 1", "90s, 30m"),
        ("claimed=maybe", "character 1", "yes or no"),
        ("api=''", "character 1", "something"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(text: str, place: str, wanted: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        escalations_where(text)
    (problem,) = refused.value.problems
    assert place in problem.place
    assert wanted in problem.wanted


def test_a_filter_of_runs() -> None:
    text = "workflow=checkout and tenant=acme and status=waiting,parked and age>1h and age<2d"
    assert runs_where(text) == RunFilter(
        workflow="checkout", tenant="acme", older_than_seconds=3600, younger_than_seconds=172_800,
        status=frozenset({RunStatus.WAITING, RunStatus.PARKED}),
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="one or more, with commas between"):
        runs_where("status=lost")
    with pytest.raises(InvalidInput, match="one of workflow=, tenant="):
        runs_where("step=s1")


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        escalations_where("color=red and claimed=maybe and api=a")
    assert len(refused.value.problems) == 2


names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: name != "and")
values = st.text(st.characters(exclude_characters="'"), max_size=12)


@given(st.lists(st.tuples(names, st.sampled_from("=~<>"), values), min_size=1, max_size=4))
def test_what_is_quoted_comes_back(conditions: list[tuple[str, str, str]]) -> None:
    text = " and ".join(f"{field} {sign} '{value}'" for field, sign, value in conditions)
    found = [(each.field, each.sign, each.value) for each in parse_where(text)]
    assert found == conditions


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    with suppress(InvalidInput):  # any other exception fails
        parse_where(text)
