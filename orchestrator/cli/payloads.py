"""`orchestrator payloads …`: keys that seal what is stored of runs."""

from __future__ import annotations

import typer

from orchestrator.cli.output import JsonFlag, print_json, stdout
from orchestrator.cli.session import with_services

app = typer.Typer(
    help="Seal the stored inputs, outputs and requests of runs.", no_args_is_help=True
)


@app.callback()
def payloads() -> None:
    """Seal the stored inputs, outputs and requests of runs."""


@app.command("new-key")
def new_key() -> None:
    """Print a new key, to be put before the others of the setting payload_keys."""
    from orchestrator.store.payloads import new_key as made

    typer.echo(made())


@app.command("reseal")
def reseal(*, as_json: JsonFlag = False) -> None:
    """Seal all stored payloads with the first key of the setting payload_keys.

    Runs go on meanwhile. Once it has ended, older keys may be taken out of the setting, provided
    that every worker has been started with the new one.
    """
    number = with_services(lambda services: services.reseal_payloads())
    if as_json:
        print_json({"resealed": number})
    else:
        stdout.print(f"{number} payloads were sealed anew")
