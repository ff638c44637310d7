"""`orchestrator workflows verify`, `sign` and `new-key`: who vouches for what is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.key_files import write_key_pair
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import with_services

if TYPE_CHECKING:
    from orchestrator.service.vouching import Verdict
    from orchestrator.wiring_services import Services


def verify(*, as_json: JsonFlag = False) -> None:
    """Say of every version whether a trusted key (workflow_keys) has signed it as it stands.

    Ends with 1 when one has not.
    """

    async def ask(services: Services) -> tuple[bool, list[Verdict]]:
        vouching = services.workflows.vouching
        return vouching.is_wanted, await vouching.verify()

    is_wanted, found = with_services(ask)
    answer(found, lambda: _draw(found, is_wanted), as_json=as_json)
    if any(each.doubt for each in found):
        raise typer.Exit(1)


def sign(
    *,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Also what nobody has signed: you vouch for it.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Sign with `workflow_key` what another trusted key has signed, so that it can be retired.

    What was changed since it was signed is never signed anew. Ends with 1 when something is left.
    """
    found = with_services(lambda services: services.workflows.vouching.sign(unsigned=unsigned))
    answer(found, lambda: _draw(found, True), as_json=as_json)
    if any(each.doubt for each in found):
        raise typer.Exit(1)


def new_key(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; FILE.pub: the other.")],
) -> None:
    """Make a key pair for those who publish, and print the line for `workflow_keys`."""
    from orchestrator.engine.signing import line_of

    _, public = write_key_pair(file)
    typer.echo(
        f"{file}: the private key, for who publishes alone (workflow_key: file:…)\n"
        f"workflow_keys, of all processes: {line_of(public)}"
    )


def _draw(found: Sequence[Verdict], is_wanted: bool) -> RenderableType:
    if not found:
        return Text("nothing is published", style="dim")
    lines: list[RenderableType] = [_line(each) for each in found]
    if not is_wanted:
        lines.append(Text("no workflow_keys are set: whatever is stored is run", style="yellow"))
    return Group(*lines)


def _line(each: Verdict) -> Text:
    word = ("doubtful  ", "red") if each.doubt else ("good      ", "green")
    word = ("signed    ", "green") if each.signed_now else word
    key = f"key {each.key_id}" if each.key_id else "not signed"
    told = f"  by {each.published_by}, {key}"
    doubt = f"  found {each.doubt}" if each.doubt else ""
    return Text.assemble(word, (f"{each.workflow} v{each.version}", "bold"), told, (doubt, "red"))
