"""Everything that is a state, and the two tables that say which moves exist.

A saga has one run status and, for each step, two *links*: the step's forward action and its undo.
Both kinds of link move through the same table. A missing entry is an error, raised by `check_run`
and `check_link`; nothing else in the code base may change a status.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from orchestrator.core import events as e
from orchestrator.errors import IllegalTransition


class RunStatus(StrEnum):
    """Where a run stands. Comments say when each holds."""

    PENDING = "pending"  # accepted, nothing done yet
    RUNNING = "running"  # going forward, due now
    WAITING = "waiting"  # for an answer or its next attempt: goes on at `wake_at` at the latest
    PARKED = "parked"  # its API admits it at `wake_at`, in either direction
    PAUSED = "paused"  # held by a person until resumed
    COMPENSATING = "compensating"  # going backward, due now
    ESCALATED = "escalated"  # stopped; a person decides. Settled for the machine, not final
    SUCCEEDED = "succeeded"  # final: every step landed
    COMPENSATED = "compensated"  # final: everything that landed was undone (perhaps nothing had)
    ABANDONED = "abandoned"  # final: a person ended it where it was


FINAL = frozenset({RunStatus.SUCCEEDED, RunStatus.COMPENSATED, RunStatus.ABANDONED})
SETTLED = FINAL | {RunStatus.ESCALATED}
DUE = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.COMPENSATING})
"""Statuses of a run that a worker should take up at once."""
TIMED = frozenset({RunStatus.WAITING, RunStatus.PARKED})
"""Statuses of a run that a worker should take up at `wake_at`."""
ASLEEP = TIMED | {RunStatus.PAUSED}
"""Statuses of a run that nobody is to take up now, and that is not settled."""


class Direction(StrEnum):
    """Which way a run is going, and which link of a step is meant."""

    FORWARD = "forward"
    BACKWARD = "backward"


class LinkStatus(StrEnum):
    """Where one link (a forward action or an undo) stands."""

    PENDING = "pending"  # not begun, or between attempts
    STARTED = "started"  # the intent is durable: an attempt may have left
    LANDED = "landed"  # final: the effect exists (of an undo: it is undone)
    HANDLED = "handled"  # final: certainly no effect, and the run went on elsewhere all the same
    FAILED = "failed"  # certainly no effect and no attempt left
    UNKNOWN = "unknown"  # in doubt and nothing automatic left to try
    NOT_NEEDED = "not_needed"  # final: there was nothing to undo
    RESOLVED = "resolved"  # final: a person vouches that it is done
    SKIPPED = "skipped"  # final: a person decided to leave the effect standing


DONE = frozenset(
    {
        LinkStatus.LANDED, LinkStatus.RESOLVED, LinkStatus.NOT_NEEDED, LinkStatus.SKIPPED,
        LinkStatus.HANDLED,
    }
)  # fmt: skip
HAPPENED = frozenset({LinkStatus.LANDED, LinkStatus.RESOLVED})
STUCK = frozenset({LinkStatus.FAILED, LinkStatus.UNKNOWN})

_L = LinkStatus
LINK_TRANSITIONS: Mapping[LinkStatus, Mapping[type[e.Event], frozenset[LinkStatus]]] = {
    _L.PENDING: {
        e.Restored: frozenset({_L.PENDING}),  # now in doubt
        e.Migrated: frozenset({_L.HANDLED}),  # the run goes on at another step
        e.Began: frozenset({_L.STARTED}),
        e.NotNeeded: frozenset({_L.NOT_NEEDED}),
        # Without a begin: the request could not be prepared, or a verification answered.
        e.Landed: frozenset({_L.LANDED, _L.UNKNOWN}),
        e.NotLanded: frozenset({_L.PENDING, _L.FAILED, _L.UNKNOWN, _L.HANDLED}),
        e.InDoubt: frozenset({_L.PENDING, _L.UNKNOWN, _L.FAILED, _L.HANDLED}),
    },
    _L.STARTED: {
        e.Landed: frozenset({_L.LANDED, _L.UNKNOWN}),
        e.NotLanded: frozenset({_L.PENDING, _L.FAILED, _L.UNKNOWN, _L.HANDLED}),
        e.InDoubt: frozenset({_L.PENDING, _L.UNKNOWN, _L.FAILED, _L.HANDLED}),
        e.Withdrawn: frozenset({_L.PENDING}),
        e.Resumed: frozenset({_L.PENDING}),  # its worker died: in doubt, no attempt used up
    },
    _L.FAILED: {
        e.Restored: frozenset({_L.UNKNOWN}),  # a person may have had it tried again since
        e.Retried: frozenset({_L.PENDING}),
        e.Resolved: frozenset({_L.RESOLVED}),
        e.Skipped: frozenset({_L.SKIPPED}),
    },
    _L.UNKNOWN: {
        e.Restored: frozenset({_L.UNKNOWN}),
        e.Retried: frozenset({_L.PENDING}),
        e.Resolved: frozenset({_L.RESOLVED, _L.FAILED}),
        e.Skipped: frozenset({_L.SKIPPED}),
    },
    _L.LANDED: {},
    _L.HANDLED: {},
    _L.NOT_NEEDED: {},
    _L.RESOLVED: {},
    _L.SKIPPED: {},
}

_R = RunStatus
_ENDINGS = frozenset({_R.SUCCEEDED, _R.COMPENSATED, _R.ABANDONED, _R.ESCALATED})
_GOING = frozenset({_R.RUNNING, _R.COMPENSATING})
_RESUMED = _GOING | _ENDINGS
_FORWARD_OUTCOME = _GOING | _ENDINGS | {_R.WAITING}
_BACKWARD_OUTCOME = frozenset({_R.COMPENSATING, _R.COMPENSATED, _R.ESCALATED, _R.WAITING})
_BY_A_PERSON = _GOING | _ENDINGS

RUN_TRANSITIONS: Mapping[RunStatus, Mapping[type[e.Event], frozenset[RunStatus]]] = {
    _R.PENDING: {
        e.Resumed: _RESUMED,
        e.CancelRequested: frozenset({_R.COMPENSATED, _R.ABANDONED}),
        e.Poisoned: frozenset({_R.ESCALATED}),
        e.Distrusted: frozenset({_R.ESCALATED}),
        e.PauseRequested: frozenset({_R.PAUSED}),
        e.Restored: frozenset({_R.RUNNING}),
    },
    _R.RUNNING: {
        e.Resumed: _RESUMED,
        e.Began: frozenset({_R.RUNNING}),
        e.Withdrawn: frozenset({_R.RUNNING}),
        e.Landed: _FORWARD_OUTCOME,
        e.NotLanded: _FORWARD_OUTCOME,
        e.InDoubt: _FORWARD_OUTCOME,
        e.Parked: frozenset({_R.PARKED}),
        e.Awaited: frozenset({_R.WAITING}),
        e.CancelRequested: _RESUMED,
        e.Poisoned: frozenset({_R.ESCALATED}),
        e.Distrusted: frozenset({_R.ESCALATED}),
        e.PauseRequested: frozenset({_R.PAUSED}),
        e.Restored: frozenset({_R.RUNNING}),
    },
    _R.WAITING: {
        e.Resumed: _RESUMED,
        e.CancelRequested: _RESUMED,
        e.Poisoned: frozenset({_R.ESCALATED}),
        e.Distrusted: frozenset({_R.ESCALATED}),
        e.PauseRequested: frozenset({_R.PAUSED}),
        e.Restored: frozenset({_R.WAITING}),
        e.Migrated: frozenset({_R.WAITING, _R.RUNNING}),
    },
    _R.PARKED: {
        e.Resumed: _RESUMED,
        e.CancelRequested: _RESUMED,
        e.Poisoned: frozenset({_R.ESCALATED}),
        e.Distrusted: frozenset({_R.ESCALATED}),
        e.PauseRequested: frozenset({_R.PAUSED}),
        e.Restored: frozenset({_R.PARKED}),
        e.Migrated: frozenset({_R.PARKED, _R.RUNNING}),
    },
    _R.PAUSED: {
        e.Unpaused: _GOING | {_R.WAITING},
        e.CancelRequested: _RESUMED,
        e.Restored: frozenset({_R.PAUSED}),
        e.Migrated: frozenset({_R.PAUSED}),
    },
    _R.COMPENSATING: {
        e.Resumed: frozenset({_R.COMPENSATING, _R.COMPENSATED, _R.ESCALATED}),
        e.Began: frozenset({_R.COMPENSATING}),
        e.Withdrawn: frozenset({_R.COMPENSATING}),
        e.Landed: _BACKWARD_OUTCOME,
        e.NotNeeded: _BACKWARD_OUTCOME,
        e.NotLanded: _BACKWARD_OUTCOME,
        e.InDoubt: _BACKWARD_OUTCOME,
        e.Parked: frozenset({_R.PARKED}),
        e.Awaited: frozenset({_R.WAITING}),  # for the run that undoes a child
        e.CancelRequested: frozenset({_R.COMPENSATING, _R.ABANDONED}),
        e.Poisoned: frozenset({_R.ESCALATED}),
        e.Distrusted: frozenset({_R.ESCALATED}),
        e.PauseRequested: frozenset({_R.PAUSED}),
        e.Restored: frozenset({_R.COMPENSATING}),
    },
    _R.ESCALATED: {
        e.Retried: _BY_A_PERSON,
        e.Resolved: _BY_A_PERSON,
        e.Skipped: _BY_A_PERSON,
        e.Abandoned: frozenset({_R.ABANDONED}),
        e.Restored: frozenset({_R.ESCALATED}),
    },
    _R.SUCCEEDED: {},
    _R.COMPENSATED: {},
    _R.ABANDONED: {},
}


def check_run(before: RunStatus, event: e.Event, after: RunStatus | None = None) -> None:
    """Raise IllegalTransition unless the table has this move (`after` None: any outcome)."""
    _check("run", RUN_TRANSITIONS[before], before, event, after)


def check_link(before: LinkStatus, event: e.Event, after: LinkStatus | None = None) -> None:
    """Raise IllegalTransition unless the table has this move for a link."""
    _check("step", LINK_TRANSITIONS[before], before, event, after)


def _check(
    subject: str,
    row: Mapping[type[e.Event], Collection[StrEnum]],
    before: StrEnum,
    event: e.Event,
    after: StrEnum | None,
) -> None:
    allowed = row.get(type(event))
    if allowed is None or (after is not None and after not in allowed):
        wanted = ", ".join(sorted(kind.__name__ for kind in row)) or "nothing: the state is final"
        name = type(event).__name__ + (f" -> {after}" if after is not None else "")
        raise IllegalTransition(subject=subject, state=before, event=name, wanted=wanted)
