"""Runtime expressions by the ABNF of Arazzo 1.1: generated from it, read, written again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.exchange import Facts, FrozenRequest, Response
from orchestrator.definitions.expressions import (
    Expression,
    Root,
    compile_value,
    parse_expression,
)
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.scope import Exchange, Scope

LETTERS = "abzABZ019"
identifier_strict = st.text(f"{LETTERS}-_", min_size=1, max_size=8)
identifier = st.text(f"{LETTERS}.-_", min_size=1, max_size=8)
token = st.text(f"{LETTERS}!#$%&'*+-.^_`|~", min_size=1, max_size=8)
# Any character but those that the grammar escapes or leaves out. Surrogates are in no document.
plain = st.characters(exclude_characters='{}"\\', exclude_categories=["Cs", "Cc"])
escaped = st.sampled_from(['\\"', "\\\\", "\\/", "\\n", "\\u00e9"])
name = st.lists(plain | escaped, min_size=1, max_size=6).map("".join)
unescaped = st.characters(exclude_characters="/{}~", exclude_categories=["Cs"])
key = st.lists(unescaped | st.sampled_from(["/", "~"]), max_size=5).map("".join)
"""A key of an object; in a pointer `/` and `~` are escaped."""
keys = st.lists(key, max_size=3)


def pointer(tokens: list[str]) -> str:
    return "".join("/" + one.replace("~", "~0").replace("/", "~1") for one in tokens)


optional_pointer = st.one_of(st.just(""), keys.map(lambda tokens: f"#{pointer(tokens)}"))
named = st.tuples(identifier, optional_pointer).map("".join)
sources = st.one_of(
    token.map(lambda text: f"header.{text}"),
    st.tuples(st.sampled_from(["query.", "path."]), name).map("".join),
    optional_pointer.map(lambda text: f"body{text}"),
)
answers = st.one_of(
    token.map(lambda text: f"header.{text}"), optional_pointer.map(lambda text: f"body{text}")
)
expressions = st.one_of(
    st.sampled_from(["$url", "$method", "$statusCode"]),
    sources.map(lambda text: f"$request.{text}"),
    answers.map(lambda text: f"$response.{text}"),
    named.map(lambda text: f"$inputs.{text}"),
    st.tuples(identifier_strict, named).map(lambda p: f"$steps.{p[0]}.outputs.{p[1]}"),
    st.tuples(identifier_strict, st.sampled_from(["inputs", "outputs"]), named).map(
        lambda p: f"$workflows.{p[0]}.{p[1]}.{p[2]}"
    ),
)
"""Everything that a run evaluates. What the grammar has beside them is named in ELSEWHERE."""
ELSEWHERE = {
    "$message.header.Server": "AsyncAPI",
    "$message.payload#/status": "AsyncAPI",
    "$response.payload#/status": "$response.body",
    "$request.payload": "$request.body",
    "$outputs.bar": "$steps.ID.outputs.NAME",
    "$components.parameters.foo": "reference",
    "$sourceDescriptions.petstore.getPetById": "names what it calls",
    "$self": "of a document that has one",
    "$response.query.a": "$response.body",
    "$request.query.": "$request.query.NAME",
}


def written(expression: Expression) -> str:
    """The one form in which all of an expression's accessors are a pointer."""
    tail = "".join(
        "/" + str(one).replace("~", "~0").replace("/", "~1") for one in expression.accessors
    )
    after = f"#{tail}" if tail else ""
    match expression.root:
        case Root.INPUTS:
            return f"$inputs.{expression.name}{after}"
        case Root.STEPS:
            return f"$steps.{expression.step}.outputs.{expression.name}{after}"
        case Root.WORKFLOWS:
            called = expression.step.removeprefix("workflow:")
            what = "inputs" if called.endswith("/$inputs") else "outputs"
            return f"$workflows.{called.removesuffix('/$inputs')}.{what}.{expression.name}{after}"
        case Root.REQUEST_QUERY | Root.REQUEST_PATH:
            return f"${expression.root}.{json.dumps(expression.name, ensure_ascii=False)[1:-1]}"
        case Root.REQUEST_HEADER | Root.RESPONSE_HEADER:
            return f"${expression.root}.{expression.name}"
        case root:
            return f"${root}{after}"


def meaning(expression: Expression) -> tuple[Any, ...]:
    return (
        expression.root, expression.step, expression.name,
        tuple(str(one) for one in expression.accessors),
    )  # fmt: skip


@given(expressions)
def test_what_the_grammar_makes_is_read_and_written_again(text: str) -> None:
    read = parse_expression(text)
    assert read.text == text
    again = parse_expression(written(read))
    assert meaning(again) == meaning(read)
    assert written(again) == written(read)


@given(expressions.filter(lambda text: "\0" not in text))
def test_it_stands_in_braces_within_a_text_as_well(text: str) -> None:
    (found,) = compile_value(f"a {{{text}}} b").expressions()
    assert meaning(found[1]) == meaning(parse_expression(text))


@given(identifier, keys)
def test_a_pointer_leads_to_what_it_names(name: str, tokens: list[str]) -> None:
    value: Any = "here"
    for one in reversed(tokens):
        value = {one: value}
    facts = Facts(run_id="r", inputs={name: value}, outputs={"s": {name: value}})
    answer = Response(status=200, body=json.dumps(value).encode())
    scope = Scope(facts, Exchange(FrozenRequest(method="GET", target="/"), answer))
    end = f"#{pointer(tokens)}"
    for text in (f"$inputs.{name}{end}", f"$steps.s.outputs.{name}{end}", f"$response.body{end}"):
        assert parse_expression(text).evaluate(scope) == "here"


@pytest.mark.parametrize(("text", "wanted"), ELSEWHERE.items())
def test_what_no_run_evaluates_says_what_is_wanted(text: str, wanted: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    assert wanted in caught.value.wanted


@given(st.text("$inputs.steps#/~{}[] 0a", max_size=20))
def test_anything_else_is_read_or_refused(text: str) -> None:
    try:
        read = parse_expression(text)
    except ExpressionError:
        return
    assert meaning(parse_expression(written(read))) == meaning(read)
