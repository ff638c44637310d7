"""Acts of `orchestrator runs` on all runs that fit `--where`."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from orchestrator.cli.output import answer, stderr
from orchestrator.cli.session import with_services
from orchestrator.core.states import RunStatus
from orchestrator.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from orchestrator.ports import RunFilter
    from orchestrator.service.many_runs import Done, ManyRuns
    from orchestrator.wiring_services import Services

Where = Annotated[
    str,
    typer.Option(
        help="All that fit: workflow=checkout and tenant=acme and status=waiting,parked and age>1h"
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many fit, and do nothing.")]
SHOWN = 20

Act = Callable[["ManyRuns", "RunFilter"], "AsyncIterator[Done]"]


def act_on_runs(
    where: str,
    act: Act,
    *,
    dry_run: bool,
    as_json: bool,
    among: frozenset[RunStatus] | None = None,
) -> None:
    """Do it, count it, and tell what was refused. Ctrl-C ends it; the same again goes on."""

    async def use(services: Services) -> dict[str, Any]:
        many = services.many_runs
        which = await (many.chosen(where) if among is None else many.chosen(where, among=among))
        fit = await many.count(which)
        if dry_run:
            return {"fit": fit, "done": 0, "refused": []}
        done, refused = 0, []
        with stderr.status(f"{fit:,} runs fit"):
            async for each in act(many, which):
                done += not each.refused
                if each.refused:
                    refused.append({"run": each.run.id, "why": each.refused})
        return {"fit": fit, "done": done, "refused": refused}

    found = with_services(use)
    answer(found, lambda: _draw(found, dry_run=dry_run), as_json=as_json)


def require_one_of(run: str | None, where: str) -> None:
    """Raises InvalidInput unless exactly one of them says what is meant."""
    if (run is None) == (not where):
        found = "nothing" if run is None else "both"
        problem = Problem(place="which runs", found=found, wanted="either RUN or --where")
        raise InvalidInput("it is not clear what is meant", problems=[problem])


def _draw(found: dict[str, Any], *, dry_run: bool) -> Text:
    if dry_run:
        return Text(f"{found['fit']:,} runs fit; nothing was done")
    lines = [f"{found['done']:,} of {found['fit']:,} runs"]
    reasons = Counter(each["why"].splitlines()[0] for each in found["refused"])
    lines += [f"  {count:,} refused: {why}" for why, count in reasons.most_common(SHOWN)]
    return Text("\n".join(lines))
