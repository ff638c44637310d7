"""Options that every command understands: where configuration and state are."""

from __future__ import annotations

import os
from pathlib import Path


def choose_folders(*, config_dir: Path | None, state_dir: Path | None) -> None:
    """Hand the choice to this process's settings and, through the environment, to its children."""
    if config_dir is not None:
        os.environ["ORCHESTRATOR_CONFIG_DIR"] = str(config_dir.absolute())
    if state_dir is not None:
        os.environ["ORCHESTRATOR_STATE_DIR"] = str(state_dir.absolute())
