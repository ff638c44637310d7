"""`orchestrator archive`, without a broker: ended runs into files, and what these tell."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.conftest import Deployment
from tests.acceptance.test_retention import ended_long_ago, submitted

MOMENT = "--older-than=0.0001h"


def test_from_the_database_into_files_and_what_they_tell(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.env["ORCHESTRATOR_ARCHIVE_URL"] = f"file://{tmp_path / 'archive'}"
    deployment.ask("workflows", "publish", "config/workflows")
    old, young = submitted(deployment), submitted(deployment)
    ended_long_ago(deployment, old)
    assert "no batch yet" in deployment.run("archive", "list").out

    said = deployment.run("archive", "run", MOMENT)
    assert (said.code, "1 runs that settled" in said.out) == (0, True), said
    (batch,) = deployment.ask("archive", "list")
    assert (batch["tenant"], batch["still_here"]) == ("default", 1)
    whole = deployment.ask("archive", "verify")
    assert (whole["whole"], whole["batches"], whole["runs"]) == (True, 1, 1)
    assert deployment.ask("archive", "run", MOMENT)["runs"] == 0, "it is there already"

    early = deployment.run("archive", "erase", old, "--reason", "asked for", "--yes", "--json")
    assert early.code == 5, "it is in the database as well"
    assert deployment.ask("retention", "run", MOMENT)["runs"] == 1
    told = deployment.run("archive", "explain", old)
    assert (told.code, old[-12:] in told.out) == (0, True), told
    assert deployment.run("archive", "explain", young, "--json").code == 4

    before = _bytes(tmp_path / "archive")
    assert str(deployment.notes).encode() in before
    erased = deployment.ask("archive", "erase", old, "--reason", "asked for", "--yes")
    assert erased["records"] > 0
    assert str(deployment.notes).encode() not in _bytes(tmp_path / "archive")
    assert deployment.ask("archive", "verify")["erased_records"] == erased["records"]

    victim = min((tmp_path / "archive").rglob("*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-100])
    broken = deployment.run("archive", "verify", "--json")
    assert broken.code == 1
    assert json.loads(broken.out)["whole"] is False


def _bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_without_an_archive_it_says_what_to_set(deployment: Deployment) -> None:
    said = deployment.run("archive", "list", "--json")
    assert said.code == 3
    assert "archive_url" in said.out
