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
from orchestrator.store.searching import places, search_parameters
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
    conditions = ["true", *_conditions(which, dialect)]
    source, parameters = _source(which, dialect), _parameters(which, dialect)
    return f"FROM {source} WHERE {' AND '.join(conditions)}", parameters


def _parameters(which: RunFilter, dialect: Dialect) -> dict[str, Any]:
    """What the conditions refer to, by their names there."""
    given = {
        "workflow": which.workflow, "tenant": which.tenant, "rerun_of": which.rerun_of,
        "parent": which.parent,
        "before": which.before, "actor": which.actor, "under": which.under,
        "since": None if which.since is None else first_id(which.since),
        "until": None if which.until is None else first_id(which.until),
    }  # fmt: skip
    parameters: dict[str, Any] = {
        name: codec.storable(value) for name, value in given.items() if value is not None
    }
    if which.ids is not None:
        parameters["ids"] = codec.dump_batch([(known,) for known in which.ids])
    if which.text is not None:
        parameters |= search_parameters(which.text)
    for n, (name, value) in enumerate(_attributes(which)):
        parameters |= {f"name{n}": codec.storable(name), f"value{n}": codec.storable(value)}
    return parameters


def _attributes(which: RunFilter) -> list[tuple[str, str]]:
    return sorted((which.attributes or {}).items())


def _conditions(
    which: RunFilter, dialect: Dialect, *, run_id: str = "runs.id", tenant: str = "runs.tenant"
) -> list[str]:
    """For what the filter names, its statuses aside; over columns that say the same of a run."""
    conditions = {
        "workflow": (which.workflow, "runs.workflow = :workflow"),
        "tenant": (which.tenant, f"{tenant} = :tenant"),
        "rerun_of": (which.rerun_of, "runs.rerun_of = :rerun_of"),
        "parent": (which.parent, "runs.parent_id = :parent AND runs.map_id IS NULL"),
        "actor": (which.actor, "runs.actor = :actor"),
        "under": (
            which.under,
            f"{run_id} IN (SELECT u.run_id FROM agent_uses AS u WHERE u.agent = :under)",
        ),
        "before": (which.before, f"{run_id} < :before"),
        "since": (which.since, f"{run_id} >= :since"),
        "until": (which.until, f"{run_id} < :until"),
        "ids": (
            which.ids,
            f"{run_id} IN (SELECT b.id FROM {dialect.batch({'id': 'text'}, 'ids')} AS b)",
        ),
    }
    within = "" if which.tenant is None else " AND a{0}.tenant = :tenant"
    having = [
        f"{run_id} IN (SELECT a{n}.run_id FROM run_attributes AS a{n}"
        f" WHERE a{n}.name = :name{n} AND a{n}.value = :value{n}{within.format(n)})"
        for n, _ in enumerate(_attributes(which))
    ]
    return [*(said for given, said in conditions.values() if given is not None), *having]


def _source(which: RunFilter, dialect: Dialect) -> str:
    """Where the rows come from. Ids come from an index alone, so that no plan looks for the few
    runs of a tenant, a workflow or an attribute in the rows of all others."""
    if which.text is not None:
        return _by_text(which, which.text, dialect)
    if which.status is not None:
        return _of_statuses(which.status, _conditions(which, dialect))
    if which.attributes:
        ids = _by_attribute(which, dialect)
    elif which.tenant is None and which.workflow is None:
        return "runs"
    else:
        ids = f"SELECT id FROM runs WHERE {' AND '.join(_conditions(which, dialect))} ORDER BY id"
    newest = f"SELECT id FROM ({ids} DESC LIMIT :most) AS newest"
    return f"(SELECT * FROM runs WHERE id IN ({newest})) AS runs"


def _by_attribute(which: RunFilter, dialect: Dialect) -> str:
    """Ids of runs by the first of the attributes: the index has those of a value in their order."""
    conditions = _conditions(which, dialect, run_id="a.run_id", tenant="a.tenant")
    alone = all(
        each is None for each in (which.workflow, which.rerun_of, which.parent, which.actor)
    )
    joined = "" if alone else " JOIN runs ON runs.id = a.run_id"
    return (
        f"SELECT a.run_id AS id FROM run_attributes AS a{joined}"
        f" WHERE {' AND '.join(['a.value = :value0 AND a.name = :name0', *conditions])}"
        " ORDER BY a.run_id"
    )


def _by_text(which: RunFilter, searched: str, dialect: Dialect) -> str:
    """The newest of each place in which the text is found."""
    conditions = _conditions(which, dialect)
    if which.status is not None:
        named = ", ".join(f"'{status}'" for status in sorted(which.status))
        conditions.append(f"status IN ({named})" if named else "false")
    more = "".join(f" AND {condition}" for condition in conditions)
    ids = " UNION ".join(
        f"SELECT id FROM (SELECT id FROM runs WHERE {place}{more} ORDER BY id DESC LIMIT :most)"
        f" AS place{n}"
        for n, place in enumerate(places(searched, dialect, tenant=which.tenant is not None))
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
