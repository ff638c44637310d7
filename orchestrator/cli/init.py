"""`orchestrator init DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.scaffold import Laid, lay_out


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it does not exist.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Lay out tasks/, config/ and deploy/ for a deployment of your own."""
    laid = lay_out(directory, force=force)
    answer(laid, lambda: _draw(laid), as_json=as_json)


def _draw(laid: Laid) -> RenderableType:
    return Group(
        Text(f"wrote {len(laid.written)} files to {laid.target}"),
        Text("next:", style="bold"),
        Text(f"  cd {laid.target}"),
        Text("  orchestrator demo                                  see it work"),
        Text("  orchestrator workflows publish config/workflows/…  then submit runs"),
        Text("  orchestrator up                                    broker, workers and Flower"),
    )
