"""Criteria of every kind: what holds, what cannot be read, and what can hold nobody up."""

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, Outcome, Response
from orchestrator.core.plan import Call, Effects, Plan
from orchestrator.definitions.answers import AnswerRules
from orchestrator.definitions.criteria import parse_criterion
from orchestrator.definitions.problems import ExpressionError
from orchestrator.definitions.scope import Exchange, Scope, UnreadableBody
from orchestrator.errors import Problem
from tests.unit.definitions.small_api import GET

BODY = """{"name": "Orca", "id": 1, "token": "aa.bb.cc",
"pets": [{"id": 1, "tag": "café"}, {"id": 7}], "lone": "\\ud800", "no": null}"""
XML = "<pets><pet><id>1</id><tag>x</tag></pet><pet><id>7</id></pet></pets>"


def holds(kind: str, condition: str, context: str = "$response.body", **answer: Any) -> bool:
    criterion = parse_criterion({"condition": condition, "type": kind, "context": context})
    return criterion.holds(scope(**answer))


def scope(body: str = BODY, *, media: str = "application/json") -> Scope:
    response = Response(status=200, headers={"content-type": media}, body=body.encode())
    request = FrozenRequest(method="GET", target="/a")
    return Scope(Facts(run_id="r", inputs={"text": "<a/>"}), Exchange(request, response))


@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        ("^200$", "$statusCode", True),
        ("^2..$", "$statusCode", True),
        ("^20$", "$statusCode", False),
        (r"^[\w-]*\.[\w-]*\.[\w-]*$", "$response.body#/token", True),
        ("(?i)ORCA", "$response.body#/name", True),
        ("rca", "$response.body#/name", True),
        ("^caf.$", "$response.body#/pets/0/tag", True),
        ("", "$response.body#/absent", False),
        ("null", "$response.body#/no", True),
        ("^.$", "$response.body#/lone", True),
        ('"id": ?7', "$response.body#/pets", True),
    ],
)
def test_regex(condition: str, context: str, expected: bool) -> None:
    assert holds("regex", condition, context) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("$.pets[?@.id == 7]", True),
        ("$.pets[?@.id == 8]", False),
        ("$..tag", True),
        ("$.pets[?match(@.tag, 'caf.')]", True),
        ("$.pets[?match(@.tag, 'af')]", False),
        ("$.pets[?search(@.tag, 'af')]", True),
        ("$.pets[?search(@.tag, '(?=c)')]", False),
        ("$.pets[?count($.pets[*]) == 2]", True),
        ("$[?count(@.pets) > 0]", True),  # as Arazzo's own example means it
        ("$[?(@.id == 1)]", True),
        ("$[?(@.id == 2)]", False),
        ("$.name == 'Orca'", True),
        ("$.name == 'orca'", False),
        ("$.name == 'x' || length(@.pets) == 2", True),
        ("$.absent", False),
    ],
)
def test_jsonpath(condition: str, expected: bool) -> None:
    assert holds("jsonpath", condition) is expected


def test_a_filter_at_the_root_of_an_array_speaks_of_its_items() -> None:
    assert holds("jsonpath", "$[?@.id == 7]", "$response.body#/pets")
    assert not holds("jsonpath", "$[?@[1]]", "$response.body#/pets")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("//pet[id = '1']", True),
        ("//pet[id = '2']", False),
        ("count(/pets/pet) = 2", True),
        ("count(/pets/pet)", True),
        ("count(/pets/cat)", False),
        ("string(//tag)", True),
        ("//*[local-name() = 'tag']/text()", True),
    ],
)
def test_xpath(condition: str, expected: bool) -> None:
    assert holds("xpath", condition, body=XML, media="application/xml") is expected
    assert holds("xpath", "/a", "$inputs.text")
    assert not holds("xpath", "/a", "$response.body#/id")


@pytest.mark.parametrize(
    ("kind", "condition", "found"),
    [
        ("regex", "(a", "missing )"),
        ("regex", "(?=a)b", "invalid perl operator"),
        ("regex", r"(a)\1", "invalid escape"),
        ("regex", "(a{1000}){1000}", "repetition"),
        ("jsonpath", "$.a[", "unbalanced"),
        ("jsonpath", "a.b", "'a.b'"),
        ("jsonpath", "$[?nothing(@)]", "nothing"),
        ("xpath", "//pet[", "//pet["),
        ("xpath", "//a:pet", "prefix"),
        ("xpath", "re:test(., 'a')", "prefix"),
        ("xpath", "for $x in //a return $x", "for $x"),
        ("xpath", "\x00", "\\x00"),
        ("yaml", "a", "yaml"),
        ("jsonpath", "$" + ".a" * 3000, "characters"),
    ],
)
def test_what_cannot_be_read_is_refused(kind: str, condition: str, found: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_criterion({"condition": condition, "type": kind, "context": "$response.body"})
    assert found in caught.value.found


def test_a_pattern_that_would_backtrack_for_ever_takes_no_time() -> None:
    text = '"' + "a" * 100_000 + '!"'
    assert not holds("regex", "^(a+)+$", body=text)
    assert not holds("jsonpath", "$[?match(@, '(a|aa)+')]", body=f"[{text}]")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("condition", ["$..a..a..a..b", "$[?count($..[?count($..*) < 0]) < 0]"])
def test_a_query_over_everything_again_is_bounded_by_the_size_of_the_answer(condition: str) -> None:
    small, large = '{"a": [{"a": 1}]}', '{"a": [' + '{"a": 1},' * 20_000 + "1]}"
    assert not holds("jsonpath", condition, body=small)
    with pytest.raises(UnreadableBody, match="the most for the query"):
        holds("jsonpath", condition, body=large)
    assert holds("jsonpath", "$..a", body=large)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("condition", ["//a[//b]", "/r/a[/r/b]", "//a[../b]", "//a[following::b]"])
def test_so_is_an_xpath(condition: str) -> None:
    large = "<r>" + "<a/>" * 50_000 + "</r>"
    with pytest.raises(UnreadableBody, match="elements, the most for"):
        holds("xpath", condition, body=large, media="text/xml")
    assert holds("xpath", "/r/a", body=large, media="text/xml")


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "<a>",
        "",
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><a/>',
        "<a>" * 5000 + "</a>" * 5000,
    ],
)
def test_an_answer_that_is_no_plain_xml_leaves_the_call_in_doubt(body: str) -> None:
    data = {"condition": "//a", "type": "xpath", "context": "$response.body"}
    call = Call(
        label="w.s", api="a", effects=Effects.KEYED,
        template={"kind": "http", "successCriteria": [data]},
    )  # fmt: skip
    at = scope(body, media="application/xml")
    assert at.exchange is not None
    judgement = AnswerRules(call).judge(at, at.exchange)
    assert judgement.outcome is Outcome.UNKNOWN
    assert "XML" in judgement.reason


def test_a_pattern_on_the_status_says_for_which_it_may_hold() -> None:
    criterion = parse_criterion({"condition": "^20", "type": "regex", "context": "$statusCode"})
    assert criterion.may_hold_for(204)
    assert not criterion.may_hold_for(404)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("{condition: '^200$', type: regex, context: $statusCode}", "regex"),
        ("{condition: $.id, context: $response.body, type: jsonpath}", "jsonpath"),
        (
            "{condition: $.id, context: $response.body, type: {type: jsonpath, version: rfc9535}}",
            "jsonpath",
        ),
        (
            "{condition: /a, context: $response.body, type: {type: xpath, version: xpath-30}}",
            "xpath",
        ),
    ],
)
def test_documents(plan: Callable[..., Plan], written: str, kept: str) -> None:
    step = plan(GET + f", successCriteria: [{written}]}}\n").steps[0]
    (criterion,) = step.call.template["successCriteria"]
    assert criterion["type"] == kept
    assert set(criterion) == {"condition", "type", "context"}


@pytest.mark.parametrize(
    ("written", "where", "wanted"),
    [
        ("{condition: a, type: regex}", "/successCriteria/0)", "the field context"),
        ("{condition: a, type: glob, context: $url}", "/0/type)", "one of: simple, regex, json"),
        ("{condition: '(', type: regex, context: $url}", "/0/condition)", "without look-around"),
        ("{condition: a, type: regex, context: $u}", "/0/condition)", "$inputs.NAME"),
        ("{condition: $.a, context: $url, type: {type: jsonpath}}", "/0/type)", "field version"),
        ("{condition: $.a, context: $url, type: {version: rfc6901}}", "/0/type)", "path or xpath"),
        (
            "{condition: $.a, context: $url, type: {type: jsonpath, version: '2'}}",
            "/0/type/version)", "one of: rfc9535",
        ),
        ("{condition: $.a, context: $inputs.x, type: jsonpath}", "/0/condition)", "a declared"),
        ("{condition: ' '}", "/0/condition)", "a text"),
    ],
)  # fmt: skip
def test_documents_that_are_refused(
    problems: Callable[..., list[Problem]], written: str, where: str, wanted: str
) -> None:
    found = problems(GET + f", successCriteria: [{written}]}}\n")
    assert [where in problem.place for problem in found] == [True]
    assert wanted in found[0].wanted
