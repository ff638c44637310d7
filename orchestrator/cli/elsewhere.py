"""One way for every command to ask a deployment that is elsewhere.

A command names a function of `orchestrator.client.ask` and what it takes; the client is loaded when
it is used. What comes back are the shapes of the REST face, which are drawn like the records that
they were read off. A shortened id is the end of one of the first 500 of its list.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestrator.cli.remote import SHORTEST, chosen_url
from orchestrator.errors import Conflict, InvalidInput, NotFound, Problem
from orchestrator.ports import RunFilter
from orchestrator.telemetry.plain import plain

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.ports import Which
    from orchestrator.service.pausing import Scope

Remote = Callable[["Client"], Any]

_PAGE = 500
_LENGTH = 36
_LOOK_EVERY_SECONDS = 0.5


def refuse_by(by: str) -> None:
    """Raises InvalidInput: elsewhere the key says who acts."""
    if by and chosen_url():
        problem = Problem(
            place="option --by", found=by, wanted="nothing: with --url the key says who acts"
        )
        raise InvalidInput("nobody can act in the name of others there", problems=[problem])


def sent(name: str, /, *given: Any, **more: Any) -> Remote:
    """What the operation answers."""
    return lambda client: _send(client, name, *given, **more)


def listed(name: str, /, *given: Any, limit: int | None = None, **where: Any) -> Remote:
    """The things of a list, page after page."""
    if limit is not None:
        where["limit"] = max(1, min(limit, _PAGE))
    return lambda client: list(islice(client.pages(_request(name, *given, **where)), limit))


def on(
    kind: str, known: str, name: str, /, *given: Any, decides: bool = False, **more: Any
) -> Remote:
    """Act on one thing, whose id may be short. `decides`: on what it is now, and nothing later."""

    def send(client: Client) -> Any:
        whole = whole_id(client, kind, known)
        if decides:
            more["tag"] = client(_request(kind, whole)).tag
        return _send(client, name, whole, *given, **more)

    return send


def whole_id(client: Client, kind: str, known: str) -> str:
    """The id of the run, escalation, approval, proposal or job that ends so. Raises NotFound."""
    known = known.strip().lower()
    if len(known) == _LENGTH:
        return known
    items = client(_request(f"{kind}s", limit=_PAGE)).items
    ids = [each.id for each in items if each.id.endswith(known)]
    if len(ids) != 1 or len(known) < SHORTEST:
        problem = Problem(
            place=kind, found=f"{known}, which fits {len(ids)} of the first {_PAGE}",
            wanted=f"a whole id, or at least {SHORTEST} characters of the end of one of them",
        )  # fmt: skip
        raise NotFound(f"no such {kind}: {known}", problems=[problem])
    return str(ids[0])


def claim_next(client: Client) -> Any:
    """The oldest escalation that nobody has; of those who try at once each gets another one."""
    for each in client.pages(_request("escalations", claimed=False)):
        try:
            return _send(client, "claim", each.id)
        except Conflict:  # a colleague was faster
            continue
    return None


def counted(kind: str, which: Which) -> Remote:
    """How many an act would be done on."""
    act, where = kind.rpartition(".")[2], _where(which)
    if isinstance(which, RunFilter):
        return lambda client: sent("count_runs_to_act_on", act, where)(client).fit
    return lambda client: sent("count_escalations", where)(client).fit


def checked_runs(act: str, which: RunFilter, arguments: Mapping[str, Any]) -> Remote:
    """An act on many runs, tried on each."""
    return sent("check_runs", act, _where(which), **arguments)


def started(kind: str, which: Which, *, reason: str, arguments: Mapping[str, Any]) -> Remote:
    """A job on all that fit."""
    act, where = kind.rpartition(".")[2], _where(which)
    name = "act_on_runs" if isinstance(which, RunFilter) else "act_on_escalations"
    return sent(name, act, where, reason=reason, **arguments)


def _where(which: Which) -> dict[str, Any]:
    """A filter as the body of an act on many has it."""
    from orchestrator.api.job_shapes import EscalationWhere, RunWhere

    shape = RunWhere if isinstance(which, RunFilter) else EscalationWhere
    told = plain(which)
    return {name: told[name] for name in shape.model_fields if told.get(name) is not None}


def erased(attributes: Mapping[str, str], *, tenant: str | None, reason: str) -> Remote:
    """Erase the payloads of all ended runs with these attributes, batch after batch."""
    return _all_of(
        lambda client: _send(client, "erase_runs", attributes, tenant=tenant, reason=reason)
    )


def erased_whole(run: str, *, reason: str) -> Remote:
    """Erase the payloads of one run and of all below it, batch after batch."""
    return _all_of(on("run", run, "erase", reason=reason))


def _all_of(ask: Remote) -> Remote:
    def send(client: Client) -> Any:
        from orchestrator.service.erasing import Erased

        done = Erased(**ask(client).model_dump())
        while done.more:
            done = done.then(Erased(**ask(client).model_dump()))
        return done

    return send


def paused(scope: Scope, **more: Any) -> Remote:
    """Pause a run, a workflow, a tenant or everything."""

    def send(client: Client) -> Any:
        what: dict[str, Any] = {"workflow": scope.workflow, "tenant": scope.tenant}
        if scope.run_id is not None:
            what = {"run_id": whole_id(client, "run", scope.run_id)}
        elif scope.workflow is None and scope.tenant is None:
            what = {"everything": True}
        return _send(client, "pause", **what, **more)

    return send


def resumed(scope: Scope, *, reason: str) -> Remote:
    """End the pause of exactly this."""

    def send(client: Client) -> Any:
        run_id = None if scope.run_id is None else whole_id(client, "run", scope.run_id)
        for each in client(_request("pauses")).items:
            same = each.run_id == run_id
            if run_id is None:
                same = same and (each.workflow, each.tenant) == (scope.workflow, scope.tenant)
            if same:
                return _send(client, "resume", each.id, reason=reason or "over")
        problem = Problem(place="pause", found=scope.in_words, wanted="what `runs pauses` lists")
        raise NotFound("it is not paused", problems=[problem])

    return send


def ended(client: Client, job: Any, *, look: Callable[[Any], None]) -> Any:
    """The job once it is over or held."""
    while job.state == "running":
        look(job)
        time.sleep(_LOOK_EVERY_SECONDS)
        job = _send(client, "job", job.id)
    return job


def _send(client: Client, name: str, /, *given: Any, **more: Any) -> Any:
    from orchestrator.client import Tagged

    found = client(_request(name, *given, **more))
    return found.value if isinstance(found, Tagged) else found


def _request(name: str, /, *given: Any, **more: Any) -> Any:
    from orchestrator.client import ask

    return getattr(ask, name)(*given, **more)
