"""Many documents: found, checked in several processes, reported as text, JSON and SARIF."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft7Validator

from orchestrator.definitions.checking.checker import check_document, check_file
from orchestrator.definitions.checking.maturity import Deployment
from orchestrator.definitions.checking.report import Severity
from orchestrator.definitions.checking.rules import RULES
from orchestrator.definitions.checking.sarif import to_sarif
from orchestrator.definitions.document import parse_document
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.errors import NotFound
from orchestrator.service.checking import Checking, find_documents
from tests.unit.checking.shop import API, CASES_OF_SARIF, GOOD, check, spoilt

SARIF_SCHEMA = Path(__file__).parents[2] / "data" / "sarif" / "sarif-schema-2.1.0.json"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Fifteen documents in two folders, one of them not named as one, beside what is none."""
    for folder in (tmp_path, tmp_path / "deep" / "er"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "shop.json").write_text(json.dumps(API))
    for number in range(13):
        document = GOOD if number % 2 else spoilt(lambda w, s: s[0].pop("x-compensation"))
        (tmp_path / f"{number:02}.arazzo.json").write_text(json.dumps(document))
    (tmp_path / "deep" / "er" / "plain.json").write_text(json.dumps(GOOD))
    (tmp_path / "deep" / "broken.arazzo.yaml").write_text("arazzo: {")
    (tmp_path / "notes.yaml").write_text("about: arazzo\n")
    return tmp_path


def test_documents_are_found_in_folders_and_by_globs(corpus: Path) -> None:
    found = [p.relative_to(corpus).as_posix() for p in find_documents([str(corpus)])]
    assert len(found) == 15
    assert {"deep/er/plain.json", "deep/broken.arazzo.yaml"} <= set(found)
    assert find_documents([f"{corpus}/*.json", str(corpus / "00.arazzo.json")]) == [
        corpus / f"{number:02}.arazzo.json" for number in range(13)
    ]
    with pytest.raises(NotFound, match="arazzo"):
        find_documents([f"{corpus}/*.yaml"])


@pytest.mark.long
def test_processes_find_what_one_finds(corpus: Path) -> None:
    files = [*find_documents([str(corpus)]), corpus / "absent.arazzo.yaml"]
    checking = Checking(open_tasks=TaskRegistry, deployment=Deployment())
    seen: list[str] = []
    apart = checking.check(files, jobs=2, done=lambda report: seen.append(report.file))
    assert [report.file for report in apart] == list(map(str, files))
    assert sorted(seen) == sorted(map(str, files))
    assert apart == checking.check(files)
    lenient = checking.check(files, jobs=2, effects_may_stay=True)
    assert [r.worst for r in lenient[:2]] == [Severity.WARNING, None]
    assert [r.worst for r in apart[:2]] == [Severity.ERROR, None]
    assert apart[-1].findings[0].found == "No such file or directory"


def test_a_fault_of_the_checker_is_said_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("orchestrator.definitions.checking.checker.check_flow", broken)
    (finding,) = check(tmp_path, GOOD).findings
    assert (finding.rule, finding.found) == ("checker-failed", "ZeroDivisionError: oh")


def test_sarif_fits_its_schema(tmp_path: Path) -> None:
    schema: dict[str, Any] = json.loads(SARIF_SCHEMA.read_text())
    validator = Draft4Validator if "draft-04" in schema["$schema"] else Draft7Validator
    reports = [check(tmp_path, spoilt(change)) for change in CASES_OF_SARIF]
    written = json.loads(json.dumps(to_sarif(reports, version="1.0.0")))
    assert list(map(str, validator(schema).iter_errors(written))) == []
    (run,) = written["runs"]
    assert len(run["results"]) == sum(len(report.findings) for report in reports) > 2
    first = run["results"][0]
    assert run["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == first["ruleId"]
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == set(RULES)


def test_what_stands_in_yaml_is_shown_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "shop.json").write_text(json.dumps(API))
    text = "arazzo: 1.0.1\nsourceDescriptions: [{name: shop, url: shop.json}]\n"
    text += "workflows:\n- workflowId: w\n  steps:\n  - stepId: a\n    operationId: getOrder\n"
    document = parse_document(text, name="w.arazzo.yaml")
    report = partial(check_document, document, file="w.arazzo.yaml", folder=tmp_path)()
    (missing,) = [f for f in report.findings if f.rule == "missing-parameter"]
    assert (missing.line, missing.source) == (6, "  - stepId: a")


def test_an_api_that_changed_is_read_again(tmp_path: Path) -> None:
    assert check(tmp_path, GOOD).findings == []
    renamed = json.loads(json.dumps(API).replace("getOrder", "readOrder"))
    (tmp_path / "shop.json").write_text(json.dumps(renamed))
    (finding,) = [
        f
        for f in check_file(tmp_path / "buy.arazzo.json").findings
        if f.rule == "unknown-operation"
    ]
    assert (finding.found, finding.fix) == ("'getOrder'", "")  # not deleteOrder
