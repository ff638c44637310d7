"""`orchestrator workflows …`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.aliases import app as aliases
from orchestrator.cli.checks import EffectsMayStay, check, rules
from orchestrator.cli.differing import diff
from orchestrator.cli.discovery import accept, acceptances, discover
from orchestrator.cli.draw_workflows import draw_plan, draw_workflow, draw_workflows
from orchestrator.cli.output import JsonFlag, answer, stdout
from orchestrator.cli.rehearse import rehearse
from orchestrator.cli.session import current_user, with_services
from orchestrator.cli.signatures import new_key, sign, verify
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from orchestrator.definitions.loading import Loaded
    from orchestrator.service.workflows import Published

app = typer.Typer(help="Publish workflows and look at them.", no_args_is_help=True)

app.add_typer(aliases, name="alias")
app.command("check")(check)
app.command("rules")(rules)
app.command("discover")(discover)
app.command("accept")(accept)
app.command("rehearse")(rehearse)
app.command("acceptances")(acceptances)
app.command("verify")(verify)
app.command("sign")(sign)
app.command("new-key")(new_key)

Source = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="An Arazzo document, a folder of them, or a Python file."),
]
Name = Annotated[str, typer.Argument(metavar="WORKFLOW")]
Wanted = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Or WORKFLOW@3, WORKFLOW@stable.")]
Version = Annotated[int | None, typer.Option(min=1, help="Default: the latest.")]


@app.command("publish")
def publish(
    source: Source,
    *,
    by: Annotated[str, typer.Option(help="Who publishes; default: you.")] = "",
    effects_may_stay: EffectsMayStay = False,
    as_json: JsonFlag = False,
) -> None:
    """Validate, and store as the next version. The same content again changes nothing."""
    who = by or current_user()
    published = with_services(
        lambda services: services.workflows.publish(
            source, by=who, effects_may_stay=effects_may_stay
        )
    )
    answer(published, lambda: _draw_published(published), as_json=as_json)


@app.command("validate")
def validate(
    source: Source, *, effects_may_stay: EffectsMayStay = False, as_json: JsonFlag = False
) -> None:
    """Say what is wrong with a document, or show the plan it becomes. Stores nothing."""
    from orchestrator.wiring_services import open_definitions

    loaded = open_definitions(load_settings()).validate(source, effects_may_stay=effects_may_stay)
    answer(loaded, lambda: _draw_loaded(loaded), as_json=as_json)


@app.command("export")
def export(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A Python file.")],
    *,
    to: Annotated[
        Path | None, typer.Option("--to", help="File to write; default: standard output.")
    ] = None,
) -> None:
    """Write the workflows over APIs of a Python file as an Arazzo document: the same plans."""
    from orchestrator.wiring_services import open_definitions

    text = open_definitions(load_settings()).export(source)
    if to is None:
        stdout.print(text, markup=False, soft_wrap=True, end="")
    else:
        to.write_text(text, "utf-8")


@app.command("list")
def list_workflows(*, as_json: JsonFlag = False) -> None:
    """The latest version of each workflow."""
    found = with_services(lambda services: services.workflows.list())
    answer(found, lambda: draw_workflows(found), as_json=as_json)


@app.command("show")
def show_workflow(
    name: Wanted,
    *,
    version: Version = None,
    document: Annotated[bool, typer.Option("--document", help="Print what was published.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """One version: its steps and what undoes each."""
    found = with_services(lambda services: services.workflows.show(name, version))
    if document and not as_json:
        stdout.print(found.document, markup=False, soft_wrap=True)
        return
    answer(found, lambda: draw_workflow(found), as_json=as_json)


@app.command("versions")
def versions(name: Name, *, as_json: JsonFlag = False) -> None:
    """All versions of one workflow, newest first."""
    found = with_services(lambda services: services.workflows.versions(name))
    answer(found, lambda: draw_workflows(found), as_json=as_json)


app.command("diff")(diff)


def _draw_published(published: Sequence[Published]) -> RenderableType:
    lines: list[RenderableType] = []
    for item in published:
        name = f"{item.version.workflow} v{item.version.version}"
        news = ("published ", "green") if item.is_new else ("unchanged ", "dim")
        number = len(item.version.plan.steps)
        steps = f"  {number} step{'' if number == 1 else 's'}"
        lines.append(Text.assemble(news, (name, "bold"), steps))
        lines += _warnings(item.warnings)
    return Group(*lines)


def _draw_loaded(loaded: Sequence[Loaded]) -> RenderableType:
    lines: list[RenderableType] = []
    for item in loaded:
        lines += [
            Text.assemble(("valid ", "green"), (item.plan.workflow, "bold")),
            draw_plan(item.plan),
        ]
        lines += _warnings(item.warnings)
    return Group(*lines)


def _warnings(warnings: Sequence[str]) -> list[RenderableType]:
    return [Text(f"  warning  {warning}", style="yellow") for warning in warnings]
