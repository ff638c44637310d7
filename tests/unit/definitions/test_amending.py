"""Each change that insights propose: written, applied by git, and what the plan is then."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.core.insights import Change
from orchestrator.core.plan import Plan
from orchestrator.definitions.amending import amended_api, amended_document, unified
from orchestrator.definitions.checking.checker import check_file
from orchestrator.definitions.checking.maturity import Deployment
from orchestrator.definitions.document import parse_document
from orchestrator.definitions.editing import CannotEdit
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.engine.apis import read_api

WORKFLOW = """\
arazzo: 1.0.1
info: {title: Shop, version: '1'}
sourceDescriptions: [{name: shop, url: shop.yaml, type: openapi}]
workflows:
  - workflowId: buy
    steps:
      # The first one.
      - stepId: hold
        operationId: hold
        x-timeout: 0.5   # seconds
        x-compensation:
          operationId: free
          x-idempotency: {in: header, name: Idempotency-Key}
        x-idempotency: {in: header, name: Idempotency-Key}
      - stepId: pay
        operationId: pay
        x-idempotency: {in: header, name: Idempotency-Key}
        onFailure: [{name: again, type: retry, retryLimit: 4}]
        x-compensation:
          operationId: free
          x-idempotency: {in: header, name: Idempotency-Key}
          onFailure:
            - {name: again, type: retry, retryAfter: 0.2, retryLimit: 3}
"""
SHOP = """\
openapi: 3.1.0
info: {title: Shop, version: '1'}
servers: [{url: 'http://127.0.0.1:1'}]
paths:
  /hold:
    post:
      operationId: hold
      responses: &answers {'201': {description: done}, '409': {description: taken}}
  /pay: {post: {operationId: pay, responses: *answers}}
  /free: {post: {operationId: free, responses: *answers}}
"""
API = """\
# How the shop may be used.
api: shop
rate: 100/second   # as they told us
timeouts: {total: 10, connect: 2}
"""


def change(field: str, value: object, *, step: str = "", undo: bool = False) -> Change:
    assert value is None or isinstance(value, int | float | str)
    return Change(
        place="", field=field, before="", after="", value=value, step=step, undo=undo,
        api="" if step else "shop",
    )  # fmt: skip


CHANGES = [
    change("timeout", 1.0, step="hold"),
    change("timeout", 2.5, step="pay"),
    change("timeout", 2.5, step="pay", undo=True),
    change("attempts after 409", 409, step="hold"),
    change("attempts after 409", 409, step="pay"),
    change("attempts after 409", 409, step="hold", undo=True),
    change("attempts after 409", 409, step="pay", undo=True),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "buy.arazzo.yaml").write_text(WORKFLOW)
    (tmp_path / "shop.yaml").write_text(SHOP)
    return tmp_path


def applied(folder: Path, name: str, after: str) -> str:
    """The file after git has applied the difference."""
    before = (folder / name).read_text() if (folder / name).exists() else ""
    diff = unified(name, before, after)
    git = shutil.which("git")
    assert git is not None
    for arguments in (["apply", "--check", "-"], ["apply", "-"]):
        subprocess.run([git, *arguments], cwd=folder, input=diff, text=True, check=True)
    return (folder / name).read_text()


def plan(folder: Path) -> Plan:
    [loaded] = load_document(folder / "buy.arazzo.yaml")
    return loaded.plan


@pytest.mark.parametrize("one", CHANGES)
def test_a_change_of_a_document_applies_and_passes_the_checks(folder: Path, one: Change) -> None:
    file = folder / "buy.arazzo.yaml"
    before = check_file(file, tasks=TaskRegistry(), deployment=Deployment())
    document = parse_document(WORKFLOW, name=file.name)
    after = amended_document(document, "buy", one)
    assert applied(folder, file.name, after) == after
    assert "# The first one." in after
    report = check_file(file, tasks=TaskRegistry(), deployment=Deployment())
    assert [f.rule for f in report.findings if str(f.severity) == "error"] == []
    assert len(report.findings) <= len(before.findings)
    step = next(step for step in plan(folder).steps if step.id == one.step)
    assert step.compensation is not None
    call = step.compensation.call if one.undo else step.call
    if one.field == "timeout":
        assert call.timeout_seconds == one.value
    else:
        assert "409" in str(call.template["onFailure"])


def test_one_status_is_tried_no_more_and_others_are(folder: Path) -> None:
    document = parse_document(WORKFLOW, name="buy.arazzo.yaml")
    after = amended_document(document, "buy", change("attempts after 409", 409, step="pay"))
    applied(folder, "buy.arazzo.yaml", after)
    actions = plan(folder).steps[1].call.template["onFailure"]
    assert [each.get("type", "retry") for each in actions] == ["end", "retry"]


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("rate", "60/minute", 'rate: "60/minute"   # as they told us'),
        ("timeouts.total", 20.0, "timeouts: {total: 20, connect: 2}"),
        ("timeouts.read", 4.5, "timeouts: {"),
        ("concurrency", 8, "concurrency: 8"),
    ],
)
def test_a_change_of_an_apis_file(folder: Path, field: str, value: object, line: str) -> None:
    (folder / "api.yaml").write_text(API)
    after = amended_api(API, change(field, value))
    assert applied(folder, "api.yaml", after) == after
    assert line in after
    assert "# How the shop may be used." in after
    path = tuple(field.split("."))
    assert read_api(folder / "api.yaml").value(path) == value


@pytest.mark.parametrize(("field", "value"), [("rate", "60/minute"), ("timeouts.total", 20.0)])
def test_an_api_without_a_file_gets_one(folder: Path, field: str, value: object) -> None:
    after = amended_api("", change(field, value))
    assert applied(folder, "api.yaml", after) == after
    file = read_api(folder / "api.yaml")
    assert (file.name, file.value(tuple(field.split(".")))) == ("shop", value)


def test_what_stands_elsewhere_as_well_is_left_alone() -> None:
    text = WORKFLOW.replace(
        "onFailure: [{name: again, type: retry, retryLimit: 4}]",
        "onFailure: &again [{name: again, type: retry, retryLimit: 4}]",
    ).replace(
        "          onFailure:\n"
        "            - {name: again, type: retry, retryAfter: 0.2, retryLimit: 3}",
        "          onFailure: *again",
    )
    document = parse_document(text, name="buy.arazzo.yaml")
    with pytest.raises(CannotEdit, match="by an alias"):
        amended_document(document, "buy", change("attempts after 409", 409, step="pay"))


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (change("timeout", 1.0, step="gone"), "no step gone"),
        (change("x-idempotency or x-verify", None, step="pay"), "who knows the API"),
    ],
)
def test_what_a_person_has_to_write(one: Change, why: str) -> None:
    with pytest.raises(CannotEdit, match=why):
        amended_document(parse_document(WORKFLOW, name="buy.arazzo.yaml"), "buy", one)


def test_a_last_line_without_an_end_applies(folder: Path) -> None:
    (folder / "api.yaml").write_text(API.rstrip("\n"))
    after = amended_api(API.rstrip("\n"), change("timeouts.total", 20.0))
    assert applied(folder, "api.yaml", after) == after
