"""Each rule finds its fault at its place, and says nothing else."""
# ruff: noqa: E501 - each case of the table is read as one line

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.definitions.checking.report import Level, Severity
from orchestrator.definitions.checking.rules import RULES
from tests.unit.checking.shop import GOOD, KEY, Change, check, path_id, spoilt, step, undo

W = "/workflows/0"


def _set(target: dict[str, Any], **fields: Any) -> None:
    target.update({name.replace("__", "-"): value for name, value in fields.items()})


def _drop(target: dict[str, Any], *names: str) -> None:
    for name in names:
        del target[name]


_GOTO = {"name": "g", "type": "goto"}

CASES: dict[str, tuple[Change, list[tuple[str, str, str]]]] = {
    # what is done to the document: (rule, end of the pointer, part of found, wanted or fix)
    "input": (
        lambda w, s: _set(s[0]["requestBody"]["payload"], item="$inputs.itme"),
        [("undeclared-input", "/payload/item", "$inputs.item"), ("unused-input", "/properties/item", "item")],
    ),
    "no inputs at all": (lambda w, s: _drop(w, "inputs"), [("undeclared-input", "/payload/item", "none is declared")]),
    "step": (
        lambda w, s: _set(s[2], parameters=path_id("$steps.ordr.outputs.id")),
        [("unknown-step", "/steps/2/parameters/0/value", "$steps.order.outputs.id")],
    ),
    "output": (
        lambda w, s: _set(s[2], parameters=path_id("$steps.order.outputs.idd")),
        [("unknown-output", "/steps/2/parameters/0/value", "$steps.order.outputs.id")],
    ),
    "output of the workflow": (lambda w, s: _set(w, outputs={"x": "$steps.look.outputs.y"}), [("unknown-output", "/outputs/x", "look: id")]),
    "operation": (lambda w, s: _set(s[2], operationId="getOrdr"), [("unknown-operation", "/steps/2/operationId", "getOrder")]),
    "too early": (
        lambda w, s: _set(s[1]["parameters"][0], value="$steps.look.outputs.id"),
        [("not-known-yet", "/steps/1/parameters/0/value", "move look")],
    ),
    "itself": (
        lambda w, s: _set(s[0]["requestBody"]["payload"], item="$steps.order.outputs.id"),
        [("not-known-yet", "/payload/item", "no step is before it"), ("unused-input", "/properties/item", "item")],
    ),
    "missing parameter": (lambda w, s: _drop(s[2], "parameters"), [("missing-parameter", "/steps/2", "path parameter id")]),
    "missing query parameter": (lambda w, s: _drop(s[1], "parameters"), [("missing-parameter", "/steps/1", "query parameter order")]),
    "missing parameter of an undo": (lambda w, s: _drop(s[1]["x-compensation"], "parameters"), [("missing-parameter", "/steps/1/x-compensation", "id, which refund")]),
    "missing body": (
        lambda w, s: _drop(s[0], "requestBody"),
        [("missing-body", "/steps/0", "createOrder"), ("unused-input", "/item", "item")],
    ),
    "missing field": (
        lambda w, s: _set(s[0]["requestBody"], payload={"amount": 1}),
        [("missing-field", "/payload", "no item"), ("unused-input", "/item", "item")],
    ),
    "unknown field": (lambda w, s: _set(s[0]["requestBody"]["payload"], amuont=1), [("unknown-field", "/payload/amuont", "amount")]),
    "unknown parameter": (
        lambda w, s: s[2]["parameters"].append({"name": "dept", "in": "query", "value": 1}),
        [("unknown-parameter", "/steps/2/parameters/1", "name: depth")],
    ),
    "literal of another type": (lambda w, s: _set(s[0]["requestBody"]["payload"], amount="many"), [("type-mismatch", "/payload/amount", "an integer")]),
    "input of another type": (
        lambda w, s: _set(w["inputs"]["properties"], item={"type": "array"}),
        [("type-mismatch", "/payload/item", "an array")],
    ),
    "output of another type": (
        lambda w, s: s[0]["outputs"].update(id="$response.body#/total"),
        [],  # a number in a path or query is text there: nothing is wrong
    ),
    "output of another type in a body": (
        lambda w, s: (
            s[2]["outputs"].update(total="$response.body#/total"),
            s.append(step("again", "createOrder", requestBody={"payload": {"item": "$steps.look.outputs.total"}}, **{"x-idempotency": KEY, "x-compensation": undo("deleteOrder", "$steps.again.outputs.id")})),
        ),
        [("type-mismatch", "/steps/3/requestBody/payload/item", "$steps.look.outputs.total, a number")],
    ),
    "text for a number in a query": (
        lambda w, s: s[2]["parameters"].append({"name": "depth", "in": "query", "value": "$inputs.item"}),
        [("type-mismatch", "/parameters/1/value", "an integer")],
    ),
    "nested field of another type": (
        lambda w, s: _set(s[0]["requestBody"]["payload"], order={"id": 1, "total": 2}),
        [("type-mismatch", "/payload/order/id", "a string")],
    ),
    "value that is no choice": (lambda w, s: _set(s[0]["requestBody"]["payload"], size="smal"), [("type-mismatch", "/payload/size", "small")]),
    "status": (
        lambda w, s: _set(s[2], successCriteria=[{"condition": "$statusCode == 202 || $statusCode == 200"}]),
        [("undocumented-status", "/successCriteria/0/condition", "200, 404")],
    ),
    "no status fits": (
        lambda w, s: _set(s[2], successCriteria=[{"condition": "$statusCode == 200"}, {"condition": "$statusCode != 200"}]),
        [("impossible-criteria", "/successCriteria", "200, 404")],
    ),
    "answer": (lambda w, s: s[2]["outputs"].update(id="$response.body#/idd"), [("undocumented-output", "/outputs/id", "$response.body#/id")]),
    "header": (lambda w, s: s[2]["outputs"].update(e="$response.header.ETag"), [("undocumented-header", "/outputs/e", "ETag")]),
    "no compensation": (lambda w, s: _drop(s[0], "x-compensation"), [("effect-without-undo", "/steps/0", "operationId: deleteOrder")]),
    "undo needs what comes later": (
        lambda w, s: _set(s[0], **{"x-compensation": undo("deleteOrder", "$steps.pay.outputs.id")}),
        [("undo-needs-unknown", "/steps/0/x-compensation/parameters/0/value", "order")],
    ),
    "no case for what it answers": (
        lambda w, s: _two_cases(s[0], "200", "202"), [("undo-case-missing", "/steps/0/x-compensation", "the status 201")],
    ),
    "cases that may all fail": (
        lambda w, s: _set(s[0], **{"x-compensation": [
            {**undo("deleteOrder", "$steps.order.outputs.id"), "onlyIf": [{"condition": "$inputs.item == 'a'"}]},
            {**undo("deleteOrder", "$steps.order.outputs.id"), "onlyIf": [{"condition": "$inputs.item != 'a'"}]},
        ]}),
        [("undo-case-missing", "/steps/0/x-compensation", "a last case without onlyIf")],
    ),
    "a case for what it answers": (lambda w, s: _two_cases(s[0], "201", "202"), []),
    "after the pivot": (lambda w, s: _set(s[0], **{"x-pivot": True}), [("undo-after-pivot", "/steps/1/x-compensation", "order")]),
    "pivot order": (
        lambda w, s: s.insert(1, step("mail", "sendMail", parameters=path_id("$steps.order.outputs.id"), **{"x-idempotency": KEY, "x-compensation": {"none": "sent is sent"}})),
        [("pivot-order", "/steps/1", "the order order, pay, mail, look")],
    ),
    "pivot order that cannot be": (
        lambda w, s: (_set(s[0], **{"x-compensation": {"none": "it stays"}})),
        [("pivot-order", "/steps/0", "none by moving it")],
    ),
    "in doubt": (lambda w, s: _drop(s[1], "x-idempotency"), [("in-doubt", "/steps/1", "Idempotency-Key")]),
    "undo in doubt": (lambda w, s: _drop(s[0]["x-compensation"], "x-idempotency"), [("in-doubt", "/steps/0/x-compensation", "the undo of order")]),
    "retry in doubt": (
        lambda w, s: (_drop(s[1], "x-idempotency"), _set(s[1], onFailure=[{"name": "r", "type": "retry", "retryLimit": 3}])),
        [("in-doubt", "/steps/1", "pay"), ("retry-in-doubt", "/onFailure/0", "pay")],
    ),
    "unused input": (lambda w, s: _set(w["inputs"]["properties"], extra={}), [("unused-input", "/properties/extra", "extra")]),
    "field that does not exist": (lambda w, s: _set(s[0], stepID="x"), [("refused", "/steps/0/stepID", "stepID")]),
    "credentials": (
        lambda w, s: s[2]["parameters"].append({"name": "Authorization", "in": "header", "value": "$inputs.item"}),
        [("advice", "/parameters/1", "credentials")],
    ),
}  # fmt: skip


def _two_cases(step: dict[str, Any], *statuses: str) -> None:
    step["outputs"]["status"] = "$statusCode"
    step["x-compensation"] = [
        {**undo("deleteOrder", "$steps.order.outputs.id"),
         "onlyIf": [{"condition": f"$steps.order.outputs.status == {status}"}]}
        for status in statuses
    ]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_fault_is_one_finding(name: str, tmp_path: Path) -> None:
    change, wanted = CASES[name]
    found = check(tmp_path, spoilt(change)).findings
    assert sorted(f.rule for f in found) == sorted(rule for rule, _, _ in wanted), found
    for rule, end, text in wanted:
        (finding,) = [f for f in found if f.rule == rule]
        assert finding.pointer.endswith(end)
        assert text in f"{finding.found} {finding.wanted} {finding.fix}"
        assert finding.line is not None
        assert finding.source


def test_nothing_is_said_of_a_good_document(tmp_path: Path) -> None:
    report = check(tmp_path, GOOD)
    assert report.findings == []
    assert [m.level for m in report.workflows] == [Level.MANAGED]


# --- control flow: publishing may know these by now or not, so only the rules' own words count ----

FLOWS: dict[str, tuple[Change, str, str, str]] = {
    "never reached": (lambda w, s: _set(s[0], onSuccess=[{**_GOTO, "stepId": "look"}]), "unreachable-step", "/steps/1", "pay"),
    "action after one that always wins": (
        lambda w, s: _set(s[0], onSuccess=[{**_GOTO, "stepId": "pay"}, {"name": "e", "type": "end"}]),
        "dead-action", "/onSuccess/1", "before g",
    ),
    "round and round": (lambda w, s: _set(s[2], onSuccess=[{**_GOTO, "stepId": "pay"}]), "endless-goto", "/steps/2/onSuccess/0", "order, pay, look"),
    "only some ways": (
        lambda w, s: (
            _set(s[0], onSuccess=[{**_GOTO, "stepId": "look", "criteria": [{"condition": "$statusCode == 201"}]}]),
            _set(s[2], parameters=path_id("$steps.pay.outputs.id")),
        ),
        "perhaps-not-known", "/steps/2/parameters/0/value", "pay",
    ),
    "target": (lambda w, s: _set(s[2], onSuccess=[{**_GOTO, "stepId": "pey"}]), "unknown-step", "/onSuccess/0/stepId", "stepId: pay"),
    "target workflow": (lambda w, s: _set(s[2], onSuccess=[{**_GOTO, "workflowId": "bye"}]), "unknown-workflow", "/onSuccess/0/workflowId", "buy"),
    "undone by hand": (
        lambda w, s: (
            _set(s[1], onFailure=[{**_GOTO, "stepId": "cancel"}]),
            s.append({"stepId": "cancel", "operationId": "deleteOrder", "parameters": path_id("$steps.order.outputs.id")}),
        ),
        "undo-by-hand", "/steps/1/onFailure/0", "order has an x-compensation as well",
    ),
    "undone by hand alone": (
        lambda w, s: (
            _drop(s[0], "x-compensation"),
            _set(s[1], onFailure=[{**_GOTO, "stepId": "cancel"}]),
            s.append({"stepId": "cancel", "operationId": "deleteOrder", "parameters": path_id("$steps.order.outputs.id")}),
        ),
        "undo-by-hand", "/steps/1/onFailure/0", "at order: x-compensation: {operationId: deleteOrder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOWS)
def test_the_ways_through(name: str, tmp_path: Path) -> None:
    change, rule, end, text = FLOWS[name]
    found = [f for f in check(tmp_path, spoilt(change)).findings if f.rule == rule]
    assert [f.pointer.endswith(end) for f in found] == [True], found
    assert text in f"{found[0].found} {found[0].wanted} {found[0].fix}"


def test_a_loop_with_a_way_out_is_no_endless_one(tmp_path: Path) -> None:
    again = {**_GOTO, "stepId": "look", "criteria": [{"condition": "$response.body#/total == 0"}]}
    found = check(tmp_path, spoilt(lambda w, s: _set(s[2], onSuccess=[again]))).findings
    assert not [f for f in found if f.rule in ("endless-goto", "unreachable-step")]


def test_a_fault_of_another_document_is_said_with_its_place(tmp_path: Path) -> None:
    other = spoilt(lambda w, s: _set(w, workflowId="sell"))
    del other["info"]["version"]
    (tmp_path / "other.arazzo.json").write_text(json.dumps(other))
    calling = spoilt(
        lambda w, s: s.append(
            {
                "stepId": "more",
                "workflowId": "$sourceDescriptions.other.sell",
                "parameters": [{"name": "item", "value": "a"}],
            }
        )
    )
    calling["sourceDescriptions"].append(
        {"name": "other", "url": "./other.arazzo.json", "type": "arazzo"}
    )
    (finding,) = check(tmp_path, calling).findings
    assert (finding.rule, finding.pointer, finding.line) == ("refused", "", None)
    assert (finding.found, finding.wanted) == (
        "other.arazzo.json:1 (/info): no version",
        "the field version",
    )


def test_where_an_end_would_lead_is_only_told_to_mean_nothing(tmp_path: Path) -> None:
    end = {"name": "e", "type": "end", "stepId": "", "workflowId": "", "retryLimit": 0}
    report = check(tmp_path, spoilt(lambda w, s: _set(s[1], onFailure=[end])))
    assert [(f.rule, f.found.split()[0]) for f in report.findings] == [
        ("advice", "retryLimit"), ("advice", "stepId"), ("advice", "workflowId"),
    ]  # fmt: skip
    assert {f.severity for f in report.findings} == {Severity.WARNING}


def test_an_action_for_all_steps_may_stand_behind_one_of_a_step(tmp_path: Path) -> None:
    def change(w: dict[str, Any], s: list[dict[str, Any]]) -> None:
        s[2]["onFailure"] = [{"name": "stop", "type": "end"}]
        w["failureActions"] = [{"name": "all", "type": "end"}, {"name": "late", "type": "end"}]

    dead = [f for f in check(tmp_path, spoilt(change)).findings if f.rule == "dead-action"]
    assert [f.pointer for f in dead] == ["/workflows/0/failureActions/1"]


def test_unused_components_are_named(tmp_path: Path) -> None:
    document = {
        **GOOD,
        "components": {"parameters": {"p": {"name": "p", "in": "query", "value": 1}}},
    }
    (found,) = check(tmp_path, document).findings
    assert (found.rule, found.pointer) == ("unused-component", "/components/parameters/p")


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [("a: }", 1, "did not find"), ("a: &x [*x]", 1, "x"), ("\ta: 1", 1, "token")],
)
def test_what_cannot_be_read(text: str, line: int, found: str, tmp_path: Path) -> None:
    (finding,) = check(tmp_path, text).findings
    assert (finding.rule, finding.line) == ("unreadable", line)
    assert found in finding.found


def test_all_faults_at_once(tmp_path: Path) -> None:
    """Also where a document is broken beyond publishing."""
    document = spoilt(
        lambda w, s: [
            _drop(s[0], "x-compensation"),
            _set(s[1], operationId="chrge"),
            _set(s[2], operationId=7),
        ]
    )
    report = check(tmp_path, document)
    assert {"effect-without-undo", "unknown-operation"} <= {f.rule for f in report.findings}
    assert report.worst is Severity.ERROR
    assert report.workflows[0].level is Level.UNSTRUCTURED


def test_publishing_and_the_checks_say_each_thing_once(tmp_path: Path) -> None:
    for change, _ in CASES.values():
        found = check(tmp_path, spoilt(change)).findings
        places = [(f.pointer, f.found) for f in found]
        assert len(places) == len(set(places)), found


def test_every_rule_is_tried_here() -> None:
    tried = {rule for _, wanted in CASES.values() for rule, _, _ in wanted}
    tried |= {rule for _, rule, _, _ in FLOWS.values()}
    others = {"unused-component", "unreadable", "checker-failed"}
    assert tried | others == set(RULES)


def test_ids_are_words_in_small_letters() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in RULES)


@pytest.mark.parametrize("odd", [{}, [], {"a": [1]}, "\u0000"])
def test_odd_names_are_refused_where_they_stand(odd: Any, tmp_path: Path) -> None:
    """They ended publishing with a traceback."""
    document = spoilt(lambda w, s: s[2]["parameters"][0].update(name=odd))
    document["sourceDescriptions"].append({"name": "more", "url": "more\u0000.json"})
    found = check(tmp_path, document).findings
    assert {"refused", "missing-parameter"} <= {f.rule for f in found}
    assert "checker-failed" not in {f.rule for f in found}


@pytest.mark.parametrize(
    "inputs", [{"properties": "x"}, {"required": 7}, {"properties": {"a": 1}}, 3]
)
def test_a_called_workflow_whose_inputs_are_no_schema(inputs: Any, tmp_path: Path) -> None:
    """It ended publishing with a traceback."""
    document = spoilt(lambda w, s: s.append({"stepId": "more", "workflowId": "other"}))
    steps = [step("look", "getOrder", parameters=path_id("x"))]
    document["workflows"].append({"workflowId": "other", "inputs": inputs, "steps": steps})
    found = {
        (f.rule, f.pointer.rsplit("/inputs", 1)[0]) for f in check(tmp_path, document).findings
    }
    assert ("refused", "/workflows/1") in found
    assert "checker-failed" not in {rule for rule, _ in found}
