"""`orchestrator keys …`: who may ask over the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import moment, table
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import current_user, with_services
from orchestrator.ports import Role
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.ports import AccessKey

app = typer.Typer(help="Keys to the REST interface.", no_args_is_help=True)

DAY = 86_400.0
By = Annotated[str, typer.Option(help="Who acts; default: you.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: the actor of what is done with it.")],
    *,
    role: Annotated[Role, typer.Option(help="What it is good for.")] = Role.VIEWER,
    tenant: Annotated[str | None, typer.Option(help="The only tenant it reaches.")] = None,
    days: Annotated[
        float | None, typer.Option(min=0.0001, max=36_500, help="Until it expires; default: never.")
    ] = None,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a key. Its text is shown once and kept nowhere."""
    who = by or current_user()
    lives = None if days is None else days * DAY
    key, text = with_services(
        lambda s: s.access.create(name, role=role, tenant=tenant, lives_seconds=lives, by=who)
    )
    answer({**_public(key), "key": text}, lambda: _draw_new(key, text), as_json=as_json)


@app.command("list")
def list_keys(*, as_json: JsonFlag = False) -> None:
    """All keys, newest first; never their texts."""
    found = with_services(lambda services: services.access.list())
    answer([_public(key) for key in found], lambda: _draw(found), as_json=as_json)


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")],
    *,
    by: By = "",
    as_json: JsonFlag = False,
) -> None:
    """From now on (within five seconds) it is good for nothing."""
    who = by or current_user()
    found = with_services(lambda services: services.access.revoke(key, by=who))
    answer(_public(found), lambda: _draw([found]), as_json=as_json)


def _public(key: AccessKey) -> dict[str, object]:
    fields: dict[str, object] = plain(key)
    return {name: value for name, value in fields.items() if name != "digest"}


def _draw_new(key: AccessKey, text: str) -> RenderableType:
    hint = Text("Shown this once. Send it as `Authorization: Bearer …`.", style="dim")
    return Group(Text(text, style="bold", no_wrap=True, overflow="ignore"), hint, _draw([key]))


def _draw(keys: Sequence[AccessKey]) -> RenderableType:
    if not keys:
        return Text("no keys; make one: orchestrator keys create NAME --role operator", style="dim")
    drawn = table("id", "name", "role", "tenant", "made", "by", "state", wide=("name", "id"))
    for key in keys:
        drawn.add_row(
            key.id, key.name, key.role, key.tenant or "all", moment(key.created_at),
            key.created_by, _state(key),
        )  # fmt: skip
    return drawn


def _state(key: AccessKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {moment(key.revoked_at)} by {key.revoked_by}"
    return "for ever" if key.expires_at is None else f"until {moment(key.expires_at)}"
