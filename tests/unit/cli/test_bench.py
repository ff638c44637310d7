"""`orchestrator bench` becomes a module of the source tree's tests, or says that there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import bench
from orchestrator.errors import NotFound

COMMANDS = {
    "chaos": "tests.faults.chaos",
    "mutants": "tests.faults.mutants",
    "simulation": "tests.faults.simulation",
    "cells": "tests.faults.simulation.cells",
    "recovery": "tests.faults.chaos.recovery",
    "engine": "tests.bench.engine",
    "capacity": "tests.bench.capacity",
    "peers": "tests.bench.peers",
    "kills": "tests.bench.kills",
    "gate": "tests.bench.gate",
    "check": "tests.bench.check",
}


@pytest.mark.parametrize(("command", "module"), COMMANDS.items())
def test_options_are_handed_on(
    command: str, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    became: list[tuple[str, list[str]]] = []
    place = tmp_path.joinpath(*module.split("."))
    place.mkdir(parents=True)
    (place / "__main__.py").touch()
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda program, argv: became.append((program, argv)))
    done = CliRunner().invoke(bench.app, [command, "--runs", "5", "--json", "--help"])
    assert done.exit_code == 0, done.output
    wanted = [sys.executable, "-m", module, "--runs", "5", "--json", "--help"]
    assert became == [(sys.executable, wanted)]


@pytest.mark.parametrize("command", ["chaos", "recovery", "peers", "kills", "gate", "check"])
def test_it_is_there_in_this_tree(command: str) -> None:
    bench._check_there(COMMANDS[command])


def test_without_a_source_tree_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    done = CliRunner().invoke(bench.app, ["chaos"])
    assert isinstance(done.exception, NotFound)
    (problem,) = done.exception.problems
    assert problem.place == str(tmp_path / "tests" / "faults" / "chaos")
    assert "source tree" in problem.wanted
