"""Which runs a filter names, as the source and conditions of a statement and their parameters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from orchestrator.core import states
from orchestrator.core.states import RunStatus
from orchestrator.ports import RunFilter
from orchestrator.store import codec
from orchestrator.store.dialect import Dialect
from orchestrator.store.partitions import first_id
from orchestrator.store.tables import ANNOUNCED, AT_REST, OWNED, SLEEPING, UNDER_WAY

MOVING = (ANNOUNCED, SLEEPING, f"{OWNED} AND {UNDER_WAY}")
"""Where a run that is due or waits may stand, each with its index; see `tables`."""


def has_ages(which: RunFilter) -> bool:
    """Whether it has to be `bounded` before it can be asked for."""
    return which.older_than_seconds is not None or which.younger_than_seconds is not None


def bounded(which: RunFilter, now: datetime) -> RunFilter:
    """The same with moments instead of ages; `now` is the database's."""
    since, until = which.since, which.until
    if which.younger_than_seconds is not None:
        newest = now - timedelta(seconds=which.younger_than_seconds)
        since = newest if since is None else max(since, newest)
    if which.older_than_seconds is not None:
        oldest = now - timedelta(seconds=which.older_than_seconds)
        until = oldest if until is None else min(until, oldest)
    return replace(
        which, since=since, until=until, older_than_seconds=None, younger_than_seconds=None
    )


def most_of(which: RunFilter) -> int:
    """Its limit, as a number for a statement."""
    return 2**31 - 1 if which.limit is None else max(which.limit, 0)


def runs_chosen(which: RunFilter, dialect: Dialect) -> tuple[str, dict[str, Any]]:
    """`FROM … WHERE …` over `runs`, for a filter without ages; `:most` is the caller's.

    It is ordered and limited by whoever uses it, newest first and at most `:most`.
    """
    conditions, parameters = _conditions(which, dialect)
    source = _source(which, conditions)
    return f"FROM {source} WHERE {' AND '.join(['true', *conditions])}", parameters


def _conditions(which: RunFilter, dialect: Dialect) -> tuple[list[str], dict[str, Any]]:
    """Conditions for what the filter names, its statuses aside, and their parameters."""
    wanted = {
        "workflow": which.workflow, "tenant": which.tenant, "rerun_of": which.rerun_of
    }  # fmt: skip
    parameters: dict[str, Any] = {
        name: codec.storable(value) for name, value in wanted.items() if value is not None
    }
    conditions = [f"runs.{name} = :{name}" for name in parameters]
    bounds = {
        "before": ("<", which.before),
        "since": (">=", None if which.since is None else first_id(which.since)),
        "until": ("<", None if which.until is None else first_id(which.until)),
    }
    for name, (compared, bound) in bounds.items():
        if bound is not None:
            conditions.append(f"runs.id {compared} :{name}")
            parameters[name] = bound
    if which.ids is not None:
        wanted_ids = dialect.batch({"id": "text"}, "ids")
        conditions.append(f"runs.id IN (SELECT b.id FROM {wanted_ids} AS b)")
        parameters["ids"] = codec.dump_batch([(known,) for known in which.ids])
    return conditions, parameters


def _source(which: RunFilter, conditions: Sequence[str]) -> str:
    """Where the rows come from. Ids come from an index alone, so that no plan looks for the few
    runs of a tenant or workflow in the rows of all others."""
    if which.status is not None:
        return _of_statuses(which.status, conditions)
    if which.tenant is None and which.workflow is None:
        return "runs"
    ids = (
        f"SELECT id FROM (SELECT id FROM runs WHERE {' AND '.join(conditions)}"
        " ORDER BY id DESC LIMIT :most) AS newest"
    )
    return f"(SELECT * FROM runs WHERE id IN ({ids})) AS runs"


def _of_statuses(statuses: Collection[RunStatus], conditions: Sequence[str]) -> str:
    """Runs of these statuses, as a source of rows: the newest of each, found by an index."""
    more = "".join(f" AND {condition}" for condition in conditions)
    at_rest = sorted(status for status in statuses if status not in states.DUE | states.TIMED)
    parts = [(f"{AT_REST} AND standing = '{status}'", "id") for status in at_rest]
    moving = ", ".join(f"'{status}'" for status in sorted(set(statuses) - set(at_rest)))
    if moving:
        # Sorted by what no index has, so that no plan goes through all runs in order of their ids.
        parts += [(f"{some} AND status IN ({moving})", "id || ''") for some in MOVING]
    newest = " UNION ALL ".join(
        "SELECT id FROM (SELECT id FROM runs"
        f" WHERE {part}{more} ORDER BY {order} DESC LIMIT :most) AS part{n}"
        for n, (part, order) in enumerate(parts)
    )
    return (
        f"(SELECT * FROM runs WHERE id IN ({newest or 'SELECT id FROM runs WHERE false'})) AS runs"
    )
