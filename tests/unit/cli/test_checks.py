"""`orchestrator workflows check`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import workflows
from tests.unit.checking.shop import API, GOOD, Change, spoilt

NO_UNDO: Change = lambda w, s: s[0].pop("x-compensation")  # noqa: E731 - one word for a change
IN_DOUBT: Change = lambda w, s: s[1].pop("x-idempotency")  # noqa: E731


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop.json").write_text(json.dumps(API))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, document: object) -> str:
    (folder / "buy.arazzo.json").write_text(json.dumps(document, indent=1))
    return "buy.arazzo.json"


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(workflows.app, ["check", *arguments])
    return done.exit_code, done.stdout


def test_text_shows_place_line_and_fix(folder: Path) -> None:
    code, text = run(write(folder, spoilt(NO_UNDO)))
    assert code == 3
    number = 1 + (folder / "buy.arazzo.json").read_text().splitlines().index("    {")
    assert "error[effect-without-undo]: an effect that nothing undoes\n" in text
    assert f"--> buy.arazzo.json:{number}  /workflows/0/steps/0\n" in text
    assert "fix    x-compensation: {operationId: deleteOrder, …}, says discovery" in text
    assert "buy in buy.arazzo.json is unstructured; for structured it lacks\n" in text
    assert text.endswith("1 document: 1 error\n")


def test_warnings_are_no_failure_unless_wished(folder: Path) -> None:
    document = write(folder, spoilt(IN_DOUBT))
    code, text = run(document)
    assert (code, "warning[in-doubt]" in text) == (0, True)
    assert "is structured; for transactional it lacks\n    - a key or verification of pay\n" in text
    assert run(document, "--fail-on", "warning")[0] == 3
    code, text = run(document, "--severity", "error", "--json")
    assert (code, json.loads(text)[0]["findings"]) == (0, [])


def test_effects_may_stay_as_they_may_when_it_is_published(folder: Path) -> None:
    document = write(folder, spoilt(NO_UNDO))
    code, text = run(document, "--effects-may-stay")
    assert (code, "warning[effect-without-undo]" in text) == (0, True)
    assert text.endswith("1 document: 1 warning\n")  # and publishing's own is not said as well
    assert "is structured; for transactional it lacks\n    - an undo of order\n" in text


def test_a_good_document(folder: Path) -> None:
    code, text = run(write(folder, GOOD))
    assert code == 0
    assert "is transactional; for managed it lacks\n    - limits of the API shop" in text
    assert text.endswith("1 document: nothing found\n")
    (folder / "config" / "apis").mkdir(parents=True)
    config = "api: shop\nbase_url: https://shop.example\nconcurrency: 5\n"
    (folder / "config" / "apis" / "shop.yaml").write_text(config)
    assert "buy in buy.arazzo.json is managed\n" in run("buy.arazzo.json")[1]


def test_json_and_sarif(folder: Path) -> None:
    document = write(folder, spoilt(NO_UNDO))
    (report,) = json.loads(run(document, "--format", "json")[1])
    (finding,) = report["findings"]
    assert (finding["rule"], finding["severity"]) == ("effect-without-undo", "error")
    assert report["workflows"][0]["level"] == "unstructured"
    code, text = run(document, "--format", "sarif")
    (result,) = json.loads(text)["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert (code, result["ruleId"]) == (3, "effect-without-undo")
    assert place["artifactLocation"]["uri"] == "buy.arazzo.json"


def test_the_catalogue() -> None:
    done = CliRunner().invoke(workflows.app, ["rules", "--json"])
    assert {"id", "severity", "title", "why"} == set(json.loads(done.stdout)[0])


def test_a_python_file_is_exported_as_a_document_that_is_checked(folder: Path) -> None:
    (folder / "orders.py").write_text(
        "from orchestrator import Api, ApiWorkflow\n"
        "shop = Api('shop', 'shop.json')\n"
        "get = shop.call('getOrder', path={'id': '$inputs.id'})\n"
        "look = ApiWorkflow('look', inputs={'id': str}).step('read', get)\n"
    )
    exported = CliRunner().invoke(
        workflows.app, ["export", "orders.py", "--to", "look.arazzo.yaml"]
    )
    assert exported.exit_code == 0, exported.output
    assert run("look.arazzo.yaml")[0] == 0
    printed = CliRunner().invoke(workflows.app, ["export", "orders.py"])
    assert printed.stdout == (folder / "look.arazzo.yaml").read_text()
