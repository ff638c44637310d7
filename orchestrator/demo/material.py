"""The files that the demo runs on: workflow, API configuration, tasks."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import orchestrator
from orchestrator.errors import NotFound, Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Where things are for this demo."""

    config_dir: Path
    workflow: Path
    import_root: Path  # the folder that holds tasks/

    def environment(self) -> dict[str, str]:
        """What worker processes need to find it."""
        path = [str(self.import_root), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "ORCHESTRATOR_CONFIG_DIR": str(self.config_dir),
            "PYTHONPATH": os.pathsep.join(path),
        }


def find_material(config_dir: Path, workflow: str) -> Material:
    """The files of the current deployment if it has the workflow, else those of the package.

    `workflow` names a document in `workflows/`. From here on this process can import `tasks`, as
    its workers can. Raises NotFound.
    """
    package = Path(orchestrator.__file__).resolve().parent
    places = [config_dir, package / "_scaffold" / "config", package.parent / "config"]
    for place in places:
        document = place / "workflows" / workflow
        if document.is_file() and (place.parent / "tasks").is_dir():
            root = place.absolute().parent
            if str(root) not in sys.path:
                sys.path.insert(0, str(root))
            return Material(config_dir=place.absolute(), workflow=document, import_root=root)
    raise NotFound(
        "the demo's workflow is missing",
        problems=[
            Problem(
                place=", ".join(str(place) for place in places),
                found=f"no workflows/{workflow} with a folder tasks/ beside its config/",
                wanted="one of them; `orchestrator init` lays both out",
            )
        ],
    )
