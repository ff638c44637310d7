"""Commands for a deployment that is elsewhere.

`--url` or ORCHESTRATOR_URL says where; the key is read from ORCHESTRATOR_KEY, never from an option.

What they print is what the REST face answers, so that `--json` differs from that of a deployment's
own database in what only its own machine knows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.draw_common import table
from orchestrator.cli.draw_runs import draw_runs
from orchestrator.errors import InvalidInput, NotFound, Problem

if TYPE_CHECKING:
    from orchestrator.api import shapes
    from orchestrator.api.plan_shapes import DryRunShape
    from orchestrator.client import Client
    from orchestrator.core.events import CancelMode
    from orchestrator.core.maps import ItemOutcome
    from orchestrator.ports import EscalationFilter, RunFilter
    from orchestrator.ports.dry_runs import Mode, Simulation
    from orchestrator.service.submitting import Submission

URL, KEY = "ORCHESTRATOR_URL", "ORCHESTRATOR_KEY"
_PAGE = 500
_LENGTH, SHORTEST = 36, 6
"""Characters of an id, and of the part that people type."""


def choose_url(url: str | None) -> None:
    """Hand the choice to this process."""
    if url is not None:
        os.environ[URL] = url


def chosen_url() -> str:
    """Where the deployment is; empty: here."""
    return os.environ.get(URL, "")


def open_client(url: str) -> Client:
    """A client with the key of the environment."""
    from orchestrator.client import Client

    return Client(url, key=os.environ.get(KEY) or None)


def not_from_elsewhere(url: str) -> InvalidInput:
    """The error of a command that needs the deployment's own database."""
    problem = Problem(
        place="option --url", found=url,
        wanted="submit, runs, escalations, approvals, proposals, jobs, apis, queues, or `audit`"
        " `explain`, `erase` and `export`; `watch`, `--by-due`, and what reads files or keys, work"
        " beside the database alone",
    )  # fmt: skip
    return InvalidInput("this command does not go over the network", problems=[problem])


def list_runs(client: Client, which: RunFilter) -> list[shapes.RunSummary]:
    """Runs, newest first."""
    from orchestrator.client import ask

    most = _PAGE if which.limit is None else min(which.limit, _PAGE)
    asked = ask.runs(
        status=which.status or (), workflow=which.workflow, tenant=which.tenant,
        attributes=which.attributes, text=which.text, actor=which.actor,
        rerun_of=which.rerun_of, parent=which.parent, since=which.since,
        until=which.until, cursor=which.before,
        limit=most, older_than_seconds=which.older_than_seconds,
        younger_than_seconds=which.younger_than_seconds,
    )  # fmt: skip
    return list(islice(client.pages(asked), which.limit))


def show_run(client: Client, run: str) -> tuple[shapes.RunDetail, shapes.Chain]:
    """A run and its chain."""
    from orchestrator.client import ask

    whole = _whole(client, run)
    return client(ask.run(whole)), client(ask.chain(whole))


def list_items(
    client: Client, run: str, *, step: str | None, outcome: ItemOutcome | None, after: int,
    limit: int,
) -> list[shapes.ItemShape]:  # fmt: skip
    """Items of a map, by index."""
    from orchestrator.client import ask

    found: list[shapes.ItemShape] = []
    whole = _whole(client, run)
    while len(found) < limit:
        most = min(limit - len(found), _PAGE)
        page = client(ask.items(whole, step=step, outcome=outcome, after=after, limit=most))
        found += page.items
        if page.next is None:
            break
        after = int(page.next)
    return found


def draw_shown(run: shapes.RunDetail, chain: shapes.Chain) -> RenderableType:
    """The run in one line, and a line for each link."""
    drawn = table("link", "label", "status", "attempts", "error", wide=("label", "error"))
    for link in (*chain.forward, *chain.backward):
        way = "undo of " if link.direction == "backward" else ""
        drawn.add_row(
            f"{way}{link.step}", link.label, str(link.status), str(len(link.attempts)),
            Text(link.error or "", overflow="ellipsis", no_wrap=True),
        )  # fmt: skip
    return Group(draw_runs([run]), drawn)


def cancel_run(client: Client, run: str, *, mode: CancelMode, reason: str) -> shapes.RunDetail:
    """Ask for its end, as whoever the key belongs to."""
    from orchestrator.client import ask

    return client(ask.cancel(_whole(client, run), reason=reason, mode=mode))


def _whole(client: Client, run: str) -> str:
    """The whole id of one of the newest runs that ends so; what is given, where none does."""
    from orchestrator.client import ask

    given = run.strip().lower()
    if len(given) == _LENGTH:
        return given
    ids = [each.id for each in client(ask.runs(limit=_PAGE)).items if each.id.endswith(given)]
    if len(ids) != 1 or len(given) < SHORTEST:
        problem = Problem(
            place="run", found=f"{run}, which fits {len(ids)} of the newest {_PAGE}",
            wanted=f"a whole id, or at least {SHORTEST} characters of the end of one of them",
        )  # fmt: skip
        raise NotFound(f"no such run: {run}", problems=[problem])
    return ids[0]


def submit(client: Client, wish: Submission) -> shapes.Submitted:
    """One run."""
    from orchestrator.client import ask

    return client(ask.submit(
        wish.workflow, wish.inputs, key=wish.idempotency_key, version=wish.version,
        tenant=_tenant(wish), actor=wish.actor or None, priority=wish.priority,
        deadline_seconds=wish.deadline_seconds, attributes=wish.attributes,
        traceparent=wish.traceparent, tracestate=wish.tracestate,
    ))  # fmt: skip


def plan(client: Client, wish: Submission, mode: Mode, how: Simulation) -> DryRunShape:
    """What one run would do."""
    from orchestrator.client import ask

    return client(ask.plan_run(
        wish.workflow, wish.inputs, mode=mode, fail_at=how.fail_at, recorded=how.recorded,
        version=wish.version, tenant=_tenant(wish), actor=wish.actor or None,
    ))  # fmt: skip


def submit_many(
    client: Client, wishes: Sequence[Submission], places: Sequence[str]
) -> Iterator[shapes.Submitted]:
    """All of them. Raises InvalidInput at the first that was refused; those before it are in."""
    from orchestrator.client import ask

    lines = (
        ask.submission(
            wish.workflow, wish.inputs, key=wish.idempotency_key, version=wish.version,
            tenant=_tenant(wish), actor=wish.actor or None, priority=wish.priority,
            deadline_seconds=wish.deadline_seconds, attributes=dict(wish.attributes),
        )
        for wish in wishes
    )  # fmt: skip
    for answer in client.submit_many(lines):
        if answer.submitted is None:
            raise _refused(answer.problem or {}, places[answer.line])
        yield answer.submitted


def _refused(document: dict[str, object], place: str) -> InvalidInput:
    found = f"{document.get('status')} {document.get('detail')}"
    problem = Problem(place=place, found=found, wanted="a line that is accepted")
    return InvalidInput("a line was refused; others are accepted", problems=[problem])


def _tenant(wish: Submission) -> str | None:
    """None for the default one: the key may be bound to another."""
    return None if wish.tenant == "default" else wish.tenant


def list_escalations(client: Client, which: EscalationFilter) -> list[shapes.EscalationShape]:
    """Those that fit, oldest first."""
    from orchestrator.client import ask

    most = _PAGE if which.limit is None else min(which.limit, _PAGE)
    where = {name: getattr(which, name) for name in _OF_ESCALATIONS}
    asked = ask.escalations(state="open" if which.open_only else "all", limit=most, **where)
    return list(islice(client.pages(asked), which.limit))


_OF_ESCALATIONS = (
    "tenant", "workflow", "api", "step", "reason", "detail", "claimed", "claimed_by", "overdue",
    "older_than_seconds", "younger_than_seconds",
)  # fmt: skip
