"""The files that the demo runs on: workflow, API configuration, tasks."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

import orchestrator
from orchestrator.errors import NotFound, Problem

_WORKFLOW = Path("workflows") / "checkout.arazzo.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Where things are for this demo."""

    config_dir: Path  # a copy of the configuration that knows the server's address
    workflow: Path
    import_root: Path  # the folder that holds tasks/

    def environment(self) -> dict[str, str]:
        """What worker processes need to find it."""
        path = [str(self.import_root), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "ORCHESTRATOR_CONFIG_DIR": str(self.config_dir),
            "PYTHONPATH": os.pathsep.join(path),
        }


def prepare(state_dir: Path, *, config_dir: Path, world_url: str) -> Material:
    """Copy the configuration into `state_dir`, with the server's address in it.

    Uses the files of the current deployment if it has the checkout workflow, else those that came
    with the package. Raises NotFound.
    """
    source = _source(config_dir)
    target = (state_dir / "demo-config").absolute()
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    _point_to(target / "apis" / "kinto.yaml", world_url)
    material = Material(
        config_dir=target, workflow=target / _WORKFLOW, import_root=source.absolute().parent
    )
    if str(material.import_root) not in sys.path:
        sys.path.insert(0, str(material.import_root))  # this process publishes, so it imports tasks
    return material


def _source(config_dir: Path) -> Path:
    package = Path(orchestrator.__file__).resolve().parent
    places = [config_dir, package / "_scaffold" / "config", package.parent / "config"]
    for place in places:
        if (place / _WORKFLOW).is_file() and (place.parent / "tasks").is_dir():
            return place
    problem = Problem(
        place=", ".join(str(place) for place in places),
        found=f"no {_WORKFLOW} with a folder tasks/ beside its config/",
        wanted="one of them; `orchestrator init` lays both out",
    )
    raise NotFound("the demo's workflow is missing", problems=[problem])


def _point_to(api_file: Path, base_url: str) -> None:
    settings = yaml.safe_load(api_file.read_text())
    api_file.write_text(yaml.safe_dump({**settings, "base_url": base_url}, sort_keys=False))
