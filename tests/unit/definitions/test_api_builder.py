"""Workflows over APIs in Python: they are the document that they are exported as."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.definitions.api_builder import as_yaml
from orchestrator.definitions.document import parse_document
from orchestrator.definitions.loading import export_module, load_document, load_module, load_path
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import InvalidDefinition, NotFound
from tests.unit.checking.shop import API

MODULE = '''
from orchestrator import Api, ApiWorkflow, end, goto, retry

shop = Api("shop", "shop.json")
KEY = "Idempotency-Key"
OK = "$statusCode == 200"

look = ApiWorkflow("look", inputs={"id": str}, outputs={"total": "$steps.read.outputs.total"}).step(
    "read",
    shop.call("getOrder", path={"id": "$inputs.id"}, query={"depth": 1},
              outputs={"total": "$response.body#/total"}, timeout=5),
    on_failure=[retry(limit=3, after=0.5, when=["$statusCode == 404"])], start_within=30,
)
buy = (
    ApiWorkflow("buy", inputs={"item": str}, title="Buy: one thing", deadline=60, lane="slow",
                outputs={"order": "$steps.order.outputs.id"}, extra={"x-owner": "no"})
    .step(
        "order",
        shop.call("createOrder", body={"item": "$inputs.item", "amount": 0}, key=KEY,
                  success=["$statusCode == 201"], outputs={"id": "$response.body#/id"}),
        undo=shop.call("deleteOrder", path={"id": "$steps.order.outputs.id"}, effects="keyed"),
        only_if=["$inputs.item != 'gift'"],
    )
    .step(
        "pay",
        shop.call("charge", query={"order": "$steps.order.outputs.id"},
                  verify=shop.call("getOrder", path={"id": "$steps.order.outputs.id"},
                                   success=[OK])),
        no_undo="paid is paid", on_success=[end(when=[OK]), goto("mail")],
    )
    .step("mail", shop.call("sendMail", path={"id": "$steps.order.outputs.id"}, key=KEY),
          undo=shop.call("sendMail", path={"id": "$steps.order.outputs.id"}, key=KEY),
          kind="follow-up")
    .step("see", "look", extra={"parameters": [{"name": "id", "value": "$steps.order.outputs.id"}]})
)
'''  # fmt: skip


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "shop.json").write_text(json.dumps(API))
    path = tmp_path / "orders.py"
    path.write_text(MODULE)
    return path


def test_exported_and_read_again_the_plans_are_the_same(module: Path) -> None:
    written = module.with_name("orders.arazzo.yaml")
    written.write_text(export_module(module, tasks=TaskRegistry()))
    made = {each.plan.workflow: each.plan for each in load_module(module, tasks=TaskRegistry())}
    read = {each.plan.workflow: each.plan for each in load_document(written)}
    assert made == read
    assert set(made) == {"look", "buy"}
    buy = made["buy"]
    assert [step.id for step in buy.steps][:3] == ["order", "pay", "mail"]
    assert (buy.title, buy.lane, buy.deadline_seconds) == ("Buy: one thing", "slow", 60)
    assert buy.steps[0].compensation is not None
    assert buy.steps[0].compensation.call.template["onlyIf"]
    assert buy.steps[1].no_compensation_reason == "paid is paid"
    assert buy.steps[1].call.verify is not None
    assert made["look"].steps[0].call.retry.max_attempts == 4
    assert made["look"].steps[0].call.start_within_seconds == 30


def test_what_is_exported_reads_as_somebody_would_write_it(module: Path) -> None:
    text = export_module(module, tasks=TaskRegistry())
    assert "    stepId: order\n" in text or "  - stepId: order\n" in text
    assert '"no"' in text or "'no'" in text  # which older readers take for false
    assert "value: $inputs.id\n" in text


def test_what_only_1_1_can_say_makes_it_one(module: Path) -> None:
    said = (
        MODULE.replace("goto, retry", "goto, retry, select", 1)
        .replace('query={"depth": 1}', 'querystring="depth={$inputs.id}"')
        .replace(
            '{"total": "$response.body#/total"}', '{"total": select("$response.body", "$.total")}'
        )
    )
    assert export_module(module, tasks=TaskRegistry()).startswith("arazzo: 1.0.1")
    module.write_text(said)
    written = module.with_name("orders.arazzo.yaml")
    written.write_text(export_module(module, tasks=TaskRegistry()))
    assert written.read_text().startswith("arazzo: 1.1.0")
    made = {each.plan.workflow: each.plan for each in load_module(module, tasks=TaskRegistry())}
    assert made == {each.plan.workflow: each.plan for each in load_document(written)}
    template = made["look"].steps[0].call.template
    assert template["outputs"]["total"]["x-select"]["selector"] == "$.total"
    assert {one["in"] for one in template["parameters"]} == {"path", "querystring"}


def test_what_is_wrong_is_said_with_its_place(module: Path) -> None:
    module.write_text(MODULE.replace('"getOrder", path={"id": "$inputs.id"}', '"getOrdr"'))
    with pytest.raises(
        InvalidDefinition, match=r"orders.py exported:\d+ \(/workflows/0/steps/0/operationId"
    ):
        load_module(module, tasks=TaskRegistry())
    with pytest.raises(InvalidDefinition, match="did you mean getOrder"):
        export_module(module, tasks=TaskRegistry())


def test_without_such_workflows_there_is_nothing_to_export(tmp_path: Path) -> None:
    path = tmp_path / "none.py"
    path.write_text("x = 1\n")
    with pytest.raises(NotFound, match="ApiWorkflow"):
        export_module(path, tasks=TaskRegistry())


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["no", "1e5", "0o7", "0x1F", "12:30", "~", "null", "- a", "#", "2026-01-01"]),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=6), part),
    max_leaves=10,
)  # fmt: skip


@given(_VALUES)
def test_values_survive_yaml(value: Any) -> None:
    assert parse_document(as_yaml({"value": value}), name="d.yaml").value == {"value": value}


@pytest.mark.parametrize("use", [load_path, lambda path: export_module(path, tasks=TaskRegistry())])
def test_a_file_that_is_not_there_is_named(use: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        use(tmp_path / "orders.py")
    (problem,) = refused.value.problems
    assert problem.place == str(tmp_path / "orders.py")
    assert (problem.found, problem.wanted) == ("No such file or directory", "a Python module")
