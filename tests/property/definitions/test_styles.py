"""Styles of parameters, judged by an independent implementation of RFC 6570.

It sorts the fields of objects and takes the number 0 for nothing; we do neither.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uritemplate import expand

from orchestrator.definitions import styles

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="."), min_size=1, max_size=8
)
SCALAR = TEXT | st.integers(1, 1000)
VALUE = SCALAR | st.lists(SCALAR, min_size=1, max_size=4)
FIELDS = st.dictionaries(TEXT, SCALAR, min_size=1, max_size=4)
NAMED = VALUE | FIELDS.map(lambda value: dict(sorted(value.items())))
PATH = {"simple": "{n%s}", "label": "{.n%s}", "matrix": "{;n%s}"}


@given(value=NAMED, explode=st.booleans(), style=st.sampled_from(sorted(PATH)))
def test_in_a_path(value: Any, explode: bool, style: str) -> None:
    written = styles.path_text("n", value, style=style, explode=explode, place="p")
    assert written == expand(PATH[style] % ("*" if explode else ""), n=value)


@given(value=NAMED, explode=st.booleans())
def test_in_a_query(value: Any, explode: bool) -> None:
    parts = list(styles.query_parts("n", value, style="form", explode=explode, place="p"))
    assert "?" + "&".join(parts) == expand("{?n%s}" % ("*" if explode else ""), n=value)


@pytest.mark.parametrize(
    ("style", "by"), [("spaceDelimited", " "), ("pipeDelimited", "|"), ("tabDelimited", "\t")]
)
@given(data=st.data())
def test_parted_values_are_read_back(style: str, by: str, data: st.DataObject) -> None:
    free = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=by), max_size=8)
    value = data.draw(st.lists(free, min_size=1, max_size=4))
    (part,) = styles.query_parts("n", value, style=style, explode=False, place="p")
    assert unquote(part).partition("=")[2].split(by) == value


@given(value=TEXT)
def test_reserved_characters_never_end_a_value(value: str) -> None:
    (part,) = styles.query_parts("n", value, style="form", explode=True, place="p", reserved=True)
    assert parse_qsl(part, keep_blank_values=True) == [("n", value)]
    assert "#" not in part


@given(value=VALUE, explode=st.booleans())
def test_in_a_cookie(value: Any, explode: bool) -> None:
    pairs = list(styles.cookie_pairs("n", value, explode=explode, place="p"))
    written = "&".join(f"{name}={text}" for name, text in pairs)
    assert "?" + written == expand("{?n%s}" % ("*" if explode else ""), n=value)
    assert not set("; \r\n") & set(written)
