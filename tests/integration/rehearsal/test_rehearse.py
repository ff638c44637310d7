"""Rehearsals against real servers that nobody here has written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import workflows
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.demo.world import start_kinto
from orchestrator.embedded.process import stop_all
from orchestrator.service.deriving import discover_steps
from tests.integration.stripe.conftest import localstripe, stripe_mock

HERE = Path(__file__).parent
__all__ = ["localstripe", "stripe_mock"]


@pytest.fixture
def kinto(tmp_path: Path) -> Iterator[str]:
    child = start_kinto(tmp_path / "kinto.log")
    yield child.spec.address
    stop_all([child])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    apis = tmp_path / "config" / "apis"
    apis.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRIPE_KEY", "sk_test_rehearsal")
    monkeypatch.setenv("KINTO_PASSWORD", "pw")
    return apis


def rehearse(document: Path, against: str, *more: str, code: int) -> dict[str, Any]:
    """The report of each step."""
    arguments = ["rehearse", str(document), "--against", against, "--allow-private-addresses"]
    done = CliRunner().invoke(workflows.app, [*arguments, *more, "--json"], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return {each["step"]: each for each in json.loads(done.stdout)["steps"]}


def test_a_refund_that_can_be_had_twice_is_found(localstripe: str, folder: Path) -> None:
    (folder / "localstripe.yaml").write_text("api: localstripe\nauth: {bearer: 'env:STRIPE_KEY'}\n")
    seen = rehearse(HERE / "charge.arazzo.yaml", localstripe, code=1)
    assert seen["charge"]["verdict"] == "not idempotent"
    assert any("/v1/refunds" in each["read"] for each in seen["charge"]["again"])
    print(json.dumps(seen, indent=1))
    assert any("/v1/charges/" in each["read"] for each in seen["charge"]["trace"])


def test_a_refund_with_a_key_that_is_honoured_leaves_a_trace_once(
    stripe_mock: str, folder: Path
) -> None:
    (folder / "stripe.yaml").write_text("api: stripe\nauth: {bearer: 'env:STRIPE_KEY'}\n")
    given = {
        "order_id": "o-1", "email": "ada@example.com", "deposit": 500, "balance": 700,
        "deposit_source": "tok_visa", "balance_source": "tok_visa",
    }  # fmt: skip
    document = HERE.parents[2] / "config" / "workflows" / "payments.arazzo.yaml"
    seen = rehearse(document, stripe_mock, "--inputs", json.dumps(given), code=0)
    for step in ("deposit", "balance"):
        assert (seen[step]["verdict"], seen[step]["again"]) == ("leaves a trace", [])


def test_what_discovery_proposes_for_kinto_restores(
    kinto: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "kinto.yaml").write_text(
        "api: kinto\nauth: {basic: {user: ada, password: 'env:KINTO_PASSWORD'}}\n"
    )
    document = tmp_path / "note.arazzo.yaml"
    swagger = HERE.parents[1] / "data" / "kinto" / "kinto.swagger.json"
    shutil.copy(swagger, tmp_path)
    text = (HERE / "note.arazzo.yaml").read_text()
    document.write_text(text.replace("../../data/kinto/", ""))
    written = discover_steps(document, tasks=TaskRegistry(), change=True).written
    assert written == ("note.record", "note.change")
    seen = rehearse(document, kinto, "--note", code=0)
    assert re.search(r"^    x-rehearsed: '20\d\d-\d\d-\d\d'$", document.read_text(), re.MULTILINE)
    verdicts = {name: each["verdict"] for name, each in seen.items()}
    assert verdicts == {
        "bucket": "restores", "collection": "restores", "record": "restores",
        "read-before-change": "not undone", "change": "restores",
    }  # fmt: skip
    assert "404" in seen["record"]["repeated"]
