"""What Arazzo 1.1 adds: selectors, `$self`, querystring, timeouts, expressions within queries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, Response
from orchestrator.core.plan import Call, Effects, Plan
from orchestrator.core.states import Direction
from orchestrator.definitions.criteria import parse_criterion
from orchestrator.definitions.expressions import compile_value
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.problems import (
    ExpressionError,
    RequestRefused,
    UnresolvedExpression,
)
from orchestrator.definitions.program import Program
from orchestrator.definitions.requests import request_maker
from orchestrator.definitions.scope import Exchange, Scope
from orchestrator.errors import InvalidDefinition, Problem
from tests.unit.definitions.small_api import API, GET, HEAD, MAKE, NONE

HEAD_1_1 = HEAD.replace("arazzo: 1.0.1", "arazzo: 1.1.0\n$self: https://example.org/w/x.yaml")
LIST = "      - {stepId: l, operationId: listThings"
SKU = "$.items[?@.sku == 'B']"


def scope(inputs: dict[str, Any], body: bytes = b"", kind: str = "application/json") -> Scope:
    answer = Response(status=200, headers={"content-type": kind}, body=body)
    return Scope(Facts(run_id="r", inputs=inputs), Exchange(_REQUEST, answer))


_REQUEST = FrozenRequest(method="GET", target="/")


@pytest.fixture
def plan_1_1(plan: Callable[..., Plan]) -> Callable[[str], Plan]:
    return lambda steps: plan(steps, head=HEAD_1_1)


@pytest.fixture
def problems_1_1(problems: Callable[..., list[Problem]]) -> Callable[[str], list[Problem]]:
    return lambda steps: problems(steps, head=HEAD_1_1)


# --- selectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "selector", "found"),
    [
        ("jsonpath", "$.a.b", 1),
        ("jsonpath", "$.items[*].sku", ["A", "B"]),
        ("jsonpath", f"{SKU}.n", [2]),
        ("jsonpath", "$.items[?@.sku == 'C']", []),
        ("jsonpointer", "/items/1/n", 2),
        ("jsonpointer", "", {"a": {"b": 1}, "items": [{"sku": "A"}, {"sku": "B", "n": 2}]}),
    ],
)
def test_selectors_in_json(kind: str, selector: str, found: Any) -> None:
    value = {"a": {"b": 1}, "items": [{"sku": "A"}, {"sku": "B", "n": 2}]}
    select = {"x-select": {"context": "$inputs.v", "selector": selector, "type": kind}}
    assert compile_value(select).resolve(scope({"v": value})) == found


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("/a/b", ["1", "2x"]),
        ("/a/b[2]", "2x"),
        ("/a/b[1]/@id", "i"),
        ("/a/b[2]/c/text()", "x"),
        ("count(/a/b)", 2),
        ("number(/a/b[1]) div 2", 0.5),
        ("number('x')", "NaN"),
        ("/a/b = '1'", True),
        ("string(/a/gone)", ""),
    ],
)
def test_selectors_in_xml(selector: str, found: Any) -> None:
    xml = b"<a><b id='i'>1</b><b>2<c>x</c></b></a>"
    select = {"context": "$response.body", "selector": selector, "type": "xpath"}
    value = compile_value({"x-select": select}).resolve(scope({}, xml, "text/xml"))
    assert value == found
    assert type(value) is type(found)


@pytest.mark.parametrize(
    ("kind", "selector"),
    [("jsonpath", "$.gone"), ("jsonpointer", "/gone"), ("xpath", "/gone"), ("xpath", "/a")],
)
def test_a_selector_that_finds_nothing_has_no_value(kind: str, selector: str) -> None:
    select = {"context": "$response.body", "selector": selector, "type": kind}
    with pytest.raises(UnresolvedExpression) as caught:
        compile_value({"x-select": select}).resolve(scope({}, b'{"a": 1}'))
    assert selector in caught.value.problems[0].found


def test_selectors_stand_wherever_values_do(plan_1_1: Callable[[str], Plan]) -> None:
    select = "{context: $inputs.tags, selector: '$[0]', type: jsonpath}"
    versioned = select.replace("jsonpath", "{type: jsonpath, version: rfc9535}", 1)
    found = plan_1_1(
        "      - {stepId: m, operationId: makeThing, "
        f"requestBody: {{payload: {{id: {versioned}}}, "
        f"replacements: [{{target: /n, value: {select}}}]}}, outputs: "
        "{x: {context: $response.body, selector: /id, type: jsonpointer}}" + NONE + "}\n"
        f"      - {{stepId: a, operationId: getThing, parameters: [{{name: id, in: path, "
        f"value: {select}}}]}}\n"
    )
    program, facts = Program(found), Facts(run_id="r", inputs={"tags": ["t"]})
    made = program.prepare(0, Direction.FORWARD, facts)
    assert isinstance(made, FrozenRequest)
    assert made.body == b'{"id":"t","n":"t"}'
    answer = Response(status=201, body=b'{"id": 7}')
    assert program.judge(0, Direction.FORWARD, facts, made, answer).outputs == {"x": 7}
    read = program.prepare(1, Direction.FORWARD, facts)
    assert isinstance(read, FrozenRequest)
    assert read.target == "/things/t"


def test_an_object_of_that_form_is_an_object_in_1_0(plan: Callable[..., Plan]) -> None:
    payload = {"context": "$inputs.id", "selector": "x", "type": "jsonpath"}
    text = "{context: $inputs.id, selector: x, type: jsonpath}"
    found = plan(MAKE.replace("{id: $inputs.id}", text, 1) + NONE + "}")
    assert found.steps[0].call.template["requestBody"]["payload"] == payload


@pytest.mark.parametrize(
    ("selector", "found", "wanted"),
    [
        ("{context: $response.body, selector: '$.a'}", "no type", "jsonpath, xpath, jsonpointer"),
        ("{context: $response.body, selector: '$.a[', type: jsonpath}", "unbalanced", "RFC 9535"),
        ("{context: $response.body, selector: a, type: jsonpointer}", "'a'", "'/'"),
        ("{context: $response.bodi, selector: /a, type: jsonpointer}", "$response.bodi", "$inputs"),
        ("{context: $response.body, selector: /a, type: {type: xpath, version: x}}", "x", "xpath"),
        ("{context: $steps.z.outputs.a, selector: /a, type: jsonpointer}", "$steps.z", "workflow"),
    ],
)  # fmt: skip
def test_selectors_that_no_run_could_use(
    problems_1_1: Callable[[str], list[Problem]], selector: str, found: str, wanted: str
) -> None:
    problem = problems_1_1(f"{GET}, outputs: {{x: {selector}}}}}")[0]
    assert "/outputs/x" in problem.place
    assert found in problem.found
    assert wanted in problem.wanted


def test_a_selector_in_a_document_of_1_0(problems: Callable[..., list[Problem]]) -> None:
    text = "{context: $response.body, selector: /a, type: jsonpointer}"
    (problem,) = problems(f"{GET}, outputs: {{x: {text}}}}}")
    assert "arazzo: 1.1.0" in problem.wanted


# --- constants ------------------------------------------------------------------------------------


def test_constants_are_put_in(plan_1_1: Callable[[str], Plan]) -> None:
    found = plan_1_1(
        MAKE.replace(
            "{id: $inputs.id}",
            "{self: $self, t: 'by {$self}', url: $sourceDescriptions.things.url, "
            "k: '{$sourceDescriptions.things.type}:{$inputs.id}'}", 1,
        ) + NONE + "}"
    )  # fmt: skip
    assert found.steps[0].call.template["requestBody"]["payload"] == {
        "self": "https://example.org/w/x.yaml", "t": "by https://example.org/w/x.yaml",
        "url": "./things.yaml", "k": "openapi:{$inputs.id}",
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["$sourceDescriptions.gone.url", "'{$sourceDescriptions.things.x}'"]
)
def test_constants_that_are_none(problems_1_1: Callable[[str], list[Problem]], text: str) -> None:
    (problem,) = problems_1_1(MAKE.replace("$inputs.id", text, 1) + NONE + "}")
    assert "$sourceDescriptions" in problem.found


def test_self_of_a_document_without_one(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems(MAKE.replace("$inputs.id", "$self", 1) + NONE + "}")
    assert "a document without it" in problem.found


def test_self_has_no_fragment(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems(GET + "}", head=HEAD_1_1.replace("x.yaml", "x.yaml#a", 1))
    assert "(/$self)" in problem.place


def test_names_with_dots_may_be_followed_by_a_pointer(plan: Callable[..., Plan]) -> None:
    steps = (
        GET + ", outputs: {x.y: $response.body}}\n"
        "      - {stepId: b, operationId: getThing, "
        "parameters: [{name: id, in: path, value: $steps.a.outputs.x.y#/id}]}"
    )
    facts = Facts(run_id="r", inputs={}, outputs={"a": {"x.y": {"id": 5}}})
    made = Program(plan(steps)).prepare(1, Direction.FORWARD, facts)
    assert isinstance(made, FrozenRequest)
    assert made.target == "/things/5"


# --- where sources lie ----------------------------------------------------------------------------


def loaded(folder: Path, own: str, url: str, **files: str) -> Plan:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    head = HEAD_1_1.replace("https://example.org/w/x.yaml", own).replace("./things.yaml", url)
    (folder / "w.arazzo.yaml").write_text(head + GET + "}")
    return load_document(folder / "w.arazzo.yaml")[0].plan


@pytest.fixture
def things() -> dict[str, str]:
    return {"specs__things": API}


def test_sources_lie_here_as_they_do_there(tmp_path: Path, things: dict[str, str]) -> None:
    assert loaded(tmp_path, "https://example.org/w/x.yaml", "specs/things", **things).steps


def test_a_relative_self_moves_the_sources(tmp_path: Path, things: dict[str, str]) -> None:
    assert loaded(tmp_path, "flows/x.yaml", "../specs/things", **things).steps


def test_sources_are_mapped_by_their_whole_address(tmp_path: Path) -> None:
    said = "https://example.org/specs/things: ./elsewhere\n"
    own = "https://example.org/w/x.yaml"
    files = {"sources.yaml": said, "elsewhere": API}
    assert loaded(tmp_path, own, "../specs/things", **files).steps


def test_a_workflow_document_is_known_by_its_own_address(tmp_path: Path) -> None:
    (tmp_path / "things.yaml").write_text(API)
    address = "https://example.org/w/x.yaml"
    (tmp_path / "other.arazzo.yaml").write_text(HEAD_1_1 + GET + "}")
    head = HEAD.replace("url: ./things.yaml, type: openapi", f"url: '{address}', type: arazzo")
    step = (
        "      - {stepId: c, workflowId: $sourceDescriptions.things.w, "
        "parameters: [{name: id, value: 1}]}"
    )
    (tmp_path / "w.arazzo.yaml").write_text(head + step)
    steps = load_document(tmp_path / "w.arazzo.yaml")[0].plan.steps
    assert [one.id for one in steps] == ["c/$inputs", "c/a", "c"]


# --- querystring, timeout -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("a=1&b=x y", "/things?a=1&b=x%20y"),
        ("?a=%20#", "/things?a=%20%23"),
        ("q={$inputs.odd}&s=1", "/things?q=a%26s%3D2%20%2B&s=1"),
        ("$inputs.whole", "/things?a=b&c=d"),
        ('{"a": "b&c"}', "/things?%7B%22a%22%3A%20%22b%26c%22%7D"),
        ("$inputs.gone", "/things"),
        ("", "/things"),
    ],
)
def test_the_query_as_a_whole(value: str, target: str) -> None:
    assert whole_query(value).target == target


def whole_query(value: Any) -> FrozenRequest:
    template = {
        "kind": "http", "method": "GET", "path": "/things",
        "parameters": [{"name": "q", "in": "querystring", "value": value}],
    }  # fmt: skip
    call = Call(label="w.s", api="a", effects=Effects.NONE, template=template)
    inputs = {"odd": "a&s=2 +", "whole": "a=b&c=d"}
    return request_maker(call).make(Scope(Facts(run_id="r", inputs=inputs)), "K")


def test_a_document_may_give_the_whole_query(plan_1_1: Callable[[str], Plan]) -> None:
    found = plan_1_1(
        f"{LIST}, parameters: [{{name: q, in: querystring, value: 'a={{$inputs.id}}'}}]}}"
    )
    made = Program(found).prepare(0, Direction.FORWARD, Facts(run_id="r", inputs={"id": "&"}))
    assert isinstance(made, FrozenRequest)
    assert made.target == "/things?a=%26"


def test_a_query_that_is_no_text() -> None:
    with pytest.raises(RequestRefused) as caught:
        whole_query({"a": 1})
    assert caught.value.problems[0].found == "an object"


@pytest.mark.parametrize(
    "more", ["{name: tag, in: query, value: 1}", "{name: r, in: querystring, value: a=1}"]
)
def test_the_whole_query_stands_alone(
    problems_1_1: Callable[[str], list[Problem]], more: str
) -> None:
    (problem,) = problems_1_1(
        f"{LIST}, parameters: [{{name: q, in: querystring, value: a=1}}, {more}]}}"
    )
    assert "one querystring" in problem.wanted


def test_querystring_is_of_1_1(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems(f"{LIST}, parameters: [{{name: q, in: querystring, value: a=1}}]}}")
    assert problem.wanted == "one of: path, query, header, cookie"


def test_a_timeout_in_milliseconds(plan_1_1: Callable[[str], Plan]) -> None:
    assert plan_1_1(f"{GET}, timeout: 1500}}").steps[0].call.timeout_seconds == 1.5


def test_timeouts_are_said_once(
    problems: Callable[..., list[Problem]], problems_1_1: Callable[[str], list[Problem]]
) -> None:
    (problem,) = problems_1_1(f"{GET}, timeout: 1500, x-timeout: 1}}")
    assert problem.found == "both"
    (problem,) = problems(f"{GET}, timeout: 1500}}")
    assert "x-timeout, in seconds" in problem.wanted


@pytest.mark.parametrize("name", ["channelPath", "action", "correlationId"])
def test_messages_are_refused_by_name(
    problems_1_1: Callable[[str], list[Problem]], name: str
) -> None:
    found = problems_1_1(f"{GET}, {name}: send}}")
    assert any("AsyncAPI" in problem.wanted for problem in found)


# --- expressions within patterns and queries ------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "condition", "given", "holds"),
    [
        ("regex", "^({$inputs.x})$", "a|open", True),
        ("regex", "^({$inputs.x})$", "clos", False),
        ("regex", "^({$inputs.x})$", "(", False),
        ("regex", "^o.{2}n{$inputs.x}", "", True),
        ("jsonpath", '$[?@.s == "{$inputs.x}"]', "open", True),
        ("jsonpath", "$[?@.s == '{$inputs.x}']", "open", True),
        ("jsonpath", '$[?@.s == "{$inputs.x}"]', 'no" || "1" == "1', False),
        ("jsonpath", "$[?@.s == '{$inputs.x}']", "no' || '1' == '1", False),
        ("jsonpath", "$[?@.q == '{$inputs.x}']", "it's \"\\\n", True),
        ("jsonpath", "$[?@.n > {$inputs.x}]", 4, True),
        ("jsonpath", "$[?@.n > {$inputs.x}]", "4", True),
        ("jsonpath", "$[?@.n > {$inputs.x}]", "4 || true", False),
        ("jsonpath", "$[?@.ok == {$inputs.x}]", True, True),
        ("jsonpath", "$[?@.n > {$inputs.x}]", None, False),
    ],
)
def test_values_in_patterns_and_queries(kind: str, condition: str, given: Any, holds: bool) -> None:
    body = b'[{"s": "open", "n": 5, "ok": true, "q": "it\'s \\"\\\\\\n"}]'
    context = "$response.body#/0/s" if kind == "regex" else "$response.body"
    criterion = parse_criterion({"condition": condition, "type": kind, "context": context})
    inputs = {} if given is None else {"x": given}
    assert criterion.holds(scope(inputs, body)) is holds
    assert [one.text for one in criterion.expressions()] == [context, "$inputs.x"]


@pytest.mark.parametrize(
    ("condition", "given", "holds"),
    [
        ("/r/i[price > {$inputs.x}]", 4, True),
        ("/r/i[price > {$inputs.x}]", "9", False),
        ("/r/i[price > {$inputs.x}]", "9 or true()", False),
        ("/r/i[s = '{$inputs.x}']", "a", True),
        ("/r/i[s = '{$inputs.x}']", "b' or '1' = '1", False),
        ("boolean(/r/i) = {$inputs.x}", True, True),
    ],
)
def test_values_in_xpath(condition: str, given: Any, holds: bool) -> None:
    criterion = parse_criterion(
        {"condition": condition, "type": "xpath", "context": "$response.body"}
    )
    xml = b"<r><i><price>5</price><s>a</s></i></r>"
    assert criterion.holds(scope({"x": given}, xml, "text/xml")) is holds


@pytest.mark.parametrize(
    ("condition", "found"),
    [("$[?@.a == {$inputs.x}", "unclosed"), ("$[?@.a == {$inputz.x}]", "$inputz.x")],
)
def test_templates_that_cannot_be_read(condition: str, found: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_criterion({"condition": condition, "type": "jsonpath", "context": "$response.body"})
    assert found in caught.value.found


def test_what_is_embedded_must_be_known(problems: Callable[..., list[Problem]]) -> None:
    (problem,) = problems(
        GET + ", successCriteria: [{condition: '{$inputs.nope}', context: $response.body, "
        "type: regex}]}"
    )
    assert "$inputs.nope" in problem.found


# --- later versions of XPath ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ("matches(/a, 'x')", "matches()"),
        ("/a/b/lower-case(.)", "lower-case()"),
        ("for $x in /a return $x", "for $"),
        ("if (/a) then 1 else 2", "if ("),
        ("/a eq 'x'", "eq"),
        ("some $x in /a satisfies $x", "some $"),
        ("/a => count()", "=>"),
        ("/a || 'b'", "||"),
        ("(1 to 3)", "to"),
        ("/*:a", "*:"),
    ],
)
def test_what_came_after_xpath_1_0_is_named(condition: str, named: str) -> None:
    data = {"condition": condition, "type": "xpath", "context": "$response.body"}
    with pytest.raises(ExpressionError) as caught:
        parse_criterion(data)
    assert named in caught.value.found
    assert "XPath" in caught.value.found
    assert "XPath 1.0, which all versions share" in caught.value.wanted


def test_a_document_says_where_its_embedded_text_is_broken(tmp_path: Path) -> None:
    (tmp_path / "things.yaml").write_text(API)
    step = (
        GET + ", successCriteria: [{condition: 'matches(., \"{$inputs.id}\")', "
        "context: $response.body, type: {type: xpath, version: xpath-31}}]}"
    )
    (tmp_path / "w.arazzo.yaml").write_text(HEAD_1_1 + step)
    with pytest.raises(InvalidDefinition) as caught:
        load_document(tmp_path / "w.arazzo.yaml")
    assert "matches()" in caught.value.problems[0].found
