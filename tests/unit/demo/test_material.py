"""The demo takes the deployment's own files where they are, else the package's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.demo.material import find_material
from orchestrator.errors import NotFound

WORKFLOW = "checkout.arazzo.yaml"


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_the_deployment_in_this_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "config" / "workflows").mkdir(parents=True)
    (tmp_path / "config" / "workflows" / WORKFLOW).touch()
    found = find_material(tmp_path / "config", WORKFLOW)
    assert found.import_root == tmp_path
    assert sys.path[0] == str(tmp_path)
    assert found.environment()["PYTHONPATH"].split(":")[0] == str(tmp_path)
    assert found.environment()["ORCHESTRATOR_CONFIG_DIR"] == str(tmp_path / "config")


def test_elsewhere_the_files_of_the_package_are_used(tmp_path: Path) -> None:
    found = find_material(tmp_path / "config", WORKFLOW)
    assert found.workflow.is_file()
    assert (found.import_root / "tasks" / "checkout.py").is_file()


def test_an_unknown_workflow_names_the_places_that_were_looked_at(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"workflows/none\.yaml") as caught:
        find_material(tmp_path / "config", "none.yaml")
    assert str(tmp_path) in str(caught.value)
