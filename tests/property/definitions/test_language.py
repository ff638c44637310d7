"""Whatever is written or answered: our own errors or an answer, never anything else."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.exchange import Facts, FrozenRequest, Judgement, Response
from orchestrator.core.plan import Call, Effects, Plan, PlanStep
from orchestrator.core.states import Direction
from orchestrator.definitions.conditions import compare, parse_condition
from orchestrator.definitions.document import Limits, parse_document
from orchestrator.definitions.expressions import compile_value
from orchestrator.definitions.problems import ExpressionError, RequestRefused
from orchestrator.definitions.program import Program
from orchestrator.definitions.scope import Exchange, Scope, UnreadableBody
from orchestrator.errors import InvalidDefinition

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)
finite = values.filter(lambda value: "Infinity" not in json.dumps(value))
pieces = st.sampled_from(
    ["$statusCode", "$inputs.a", "$response.body#/a", "$steps.s.outputs.o", "$response.header.X",
     "==", "!=", "<", ">=", "&&", "||", "!", "(", ")", "200", "-1.5e3", "'x'", '"y"', "true",
     "null", "$", "{$", "}", "#/", "~", ".", "[0]", " "]
)  # fmt: skip
sources = st.lists(pieces | st.text(max_size=4), max_size=12).map("".join)


def scope(body: bytes, inputs: dict[str, Any]) -> Scope:
    exchange = Exchange(FrozenRequest(method="GET", target="/"), Response(status=200, body=body))
    return Scope(Facts(run_id="r", inputs=inputs, outputs={"s": inputs}), exchange)


@given(sources, st.binary(max_size=30) | values.map(lambda v: json.dumps(v).encode()), values)
def test_any_condition_holds_or_not_or_is_refused(text: str, body: bytes, value: Any) -> None:
    with contextlib.suppress(ExpressionError, UnreadableBody):
        assert parse_condition(text).holds(scope(body, {"a": value, "o": value})) in (True, False)


@given(sources, values)
def test_any_value_resolves_or_is_refused(text: str, value: Any) -> None:
    with contextlib.suppress(ExpressionError, UnreadableBody, RequestRefused):
        compile_value({"k": [text]}).resolve(scope(b"{}", {"a": value}))


@given(values, values)
def test_comparison_is_consistent(left: Any, right: Any) -> None:
    assert compare("==", left, right) is not compare("!=", left, right)
    assert compare("==", left, right) is compare("==", right, left)
    assert compare("==", left, left)
    if compare("<", left, right):
        assert compare(">", right, left)
        assert not compare(">=", left, right)


def plan_of(**template: Any) -> Plan:
    call = Call(
        label="w.s", api="a", effects=Effects.KEYED,
        template={"kind": "http", "method": "PUT", "path": "/x/{id}", **template},
    )  # fmt: skip
    return Plan(workflow="w", steps=(PlanStep(id="s", call=call),))


SENDER = Program(
    plan_of(
        parameters=[
            {"name": "id", "in": "path", "value": "$inputs.v"},
            {"name": "q", "in": "query", "value": "$inputs.v"},
        ],
        requestBody={"contentType": "application/json", "payload": {"v": "$inputs.v"}},
    )
)


@given(st.text() | st.integers())
def test_a_value_arrives_as_it_was_and_stays_in_its_place(value: str | int) -> None:
    try:
        request = SENDER.prepare(0, Direction.FORWARD, Facts(run_id="r", inputs={"v": value}))
    except RequestRefused:
        assert str(value) in ("", ".", "..") or any("\ud800" <= c <= "\udfff" for c in str(value))
        return
    assert isinstance(request, FrozenRequest)
    parts = urlsplit(request.target)
    assert parts.path.count("/") == 2
    assert unquote(parts.path.removeprefix("/x/")) == str(value)
    assert parse_qsl(parts.query, keep_blank_values=True) == [("q", str(value))]
    assert json.loads(request.body) == {"v": value}
    assert request.target.isascii()


JUDGE = Program(
    plan_of(
        parameters=[{"name": "id", "in": "path", "value": "x"}],
        successCriteria=[{"condition": "$statusCode == 200 || $response.body#/a/0/b == 1"}],
        outputs={
            "o": "$response.body#/a/0",
            "t": "x{$response.body#/b}",
            "h": "$response.header.x",
        },
        onFailure=[{"retryLimit": 1, "criteria": [{"condition": "$response.body#/c > 3"}]}],
        alreadyDone=[{"status": 412, "outputs": {"o": "$response.body"}}],
    )
)
REQUEST = FrozenRequest(method="PUT", target="/x/x")


@given(
    st.integers(100, 999),
    st.binary(max_size=40) | values.map(lambda v: json.dumps(v).encode()),
    st.dictionaries(st.sampled_from(["x", "retry-after", "date", "content-type"]), st.text()),
)
def test_any_answer_has_a_meaning(status: int, body: bytes, headers: dict[str, str]) -> None:
    facts = Facts(run_id="r", inputs={})
    answer = Response(status=status, headers=headers, body=body)
    found = JUDGE.judge(0, Direction.FORWARD, facts, REQUEST, answer)
    assert isinstance(found, Judgement)
    json.dumps(found.outputs, allow_nan=False)


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            ["a: ", "- ", "\n", "  ", "&x ", "*x", "<<: ", "{", "}", "[", "]", "'", "1"]
        ),
        max_size=25,
    ).map("".join)
)
@settings(max_examples=150)
def test_any_text_is_a_document_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidDefinition):
        document = parse_document(text, name="d", limits=Limits(bytes=1000, values=500))
        json.dumps(document.value)


@given(finite)
def test_json_is_read_as_json_reads_it(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=True)
    if "\\ud" in text or "\\u00" in text:  # YAML has no lone surrogates, nor raw control characters
        return
    assert parse_document(text, name="d.json").value == value


json_pieces = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"a"', '"', "\\ud800", "\\u00e9", "1e5", "-0", "0.1", "1e999",
     "123456789012345678901", "NaN", "-Infinity", "null", "true", " ", "\n"]
)  # fmt: skip
json_texts = st.lists(json_pieces | st.text(max_size=2), max_size=10).map("".join)


def _thorough(body: bytes) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(name)

    def finite(text: str) -> float:
        value = float(text)
        if math.isinf(value):
            refuse(text)  # what is beyond a double could not be kept
        return value

    try:
        return json.loads(body, parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        return UnreadableBody


@settings(max_examples=200)
@given(
    json_texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.tuples(values, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"])).map(
        lambda pair: json.dumps(pair[0]).encode(pair[1])
    )
)
def test_an_answer_reads_as_the_standard_library_reads_it(body: bytes) -> None:
    try:
        found = scope(body, {}).exchange.body
    except UnreadableBody:
        found = UnreadableBody
    assert repr(found) == repr(_thorough(body))  # repr: 1, 1.0 and True differ
