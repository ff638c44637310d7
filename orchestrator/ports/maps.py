"""Maps over data: one run for each of many items, a bounded number of them at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from orchestrator.core.events import CancelMode
from orchestrator.core.maps import Counts, ItemOutcome
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.ports.children import NewChild
from orchestrator.ports.hints import Redelivery

MAP_BEGUN, MAP_STOPPED, MAP_ENDED = "map.begun", "map.stopped", "map.ended"
"""Audit kinds, of the run that waits for it."""
ITEMS_A_CHUNK = 1000
"""Items of one row: what is read to begin a few of them."""


class NewMap(msgspec.Struct, frozen=True, kw_only=True):
    """A map that begins with the wait which its end answers; its id is that of the wait."""

    workflow_id: str  # WorkflowVersion.id, of whose runs the items are
    workflow: str
    version: int
    counts: Counts
    given: Mapping[str, Any]  # arguments for all items, and what their own are called; a payload
    items: Sequence[Any] | None = None  # None: they are numbers, or those of the map it undoes
    undoes: str | None = None  # the map whose items it undoes


class MapParent(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of a map have of the run that waits for it.

    Not its trace: each is one of its own, since a trace of 100,000 runs is none that people read.
    """

    id: str
    tenant: str
    actor: str
    priority: int
    depth: int
    whole_id: str | None
    deadline_at: datetime | None


class MapRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A map's row."""

    id: str
    run_id: str
    step_id: str
    workflow_id: str
    workflow: str
    version: int
    counts: Counts
    given: Mapping[str, Any]
    undoes: str | None
    cursor: int | None  # of one that undoes: the place in the order of completion it has come to
    cancel: CancelMode | None  # those that run are to be cancelled
    is_open: bool
    paused: bool  # its run is, so no further item begins for now


class MapTold(msgspec.Struct, frozen=True, kw_only=True):
    """A map after the ends of its items were counted."""

    map: MapRecord
    redelivery: Redelivery | None  # of the run that waited for it, which need not sleep any more


class MapItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that has begun."""

    index: int
    run_id: str
    outcome: ItemOutcome
    place: int | None  # in the order of completion of those that succeeded, from 1
    cause: str = ""  # why it failed


def wanted_end(found: MapRecord) -> RunStatus:
    """How a run of the map ends when it ends well."""
    return RunStatus.SUCCEEDED if found.undoes is None else RunStatus.COMPENSATED


def why_it_stops(found: MapRecord, status: str, *, overdue: bool) -> str:
    """Whatever its items do: its run has ended, or may begin nothing any more. Empty: neither."""
    if RunStatus(status) in FINAL:
        return f"the run ended {status}"
    if overdue and found.undoes is None:
        return "the deadline of the run has passed"
    return ""


def cancelled_where_it_stops(found: MapRecord, status: str) -> CancelMode | None:
    """What becomes then of the items that run; None: they end by themselves.

    Under a run that has ended they stop where they are: a person left all as it stands.
    """
    if found.undoes is not None:
        return None
    return CancelMode.STOP if RunStatus(status) in FINAL else CancelMode.UNDO


def told_of_map(new: NewMap, *, step_id: str, map_id: str) -> dict[str, Any]:
    """What the audit of its run says when it begins."""
    told: dict[str, Any] = {
        "step": step_id, "map": map_id, "workflow": new.workflow,
        "items": new.counts.total, "parallel": new.counts.parallel,
    }  # fmt: skip
    if new.undoes is not None:
        return told | {"undoes": new.undoes}
    return told | {"most_failures": new.counts.most_failures}


def answer_of(found: MapRecord) -> dict[str, Any]:
    """What its wait is answered with, once it is over."""
    counts = found.counts
    return {
        "map": found.id, "workflow": found.workflow, "total": counts.total, "begun": counts.next,
        "succeeded": counts.succeeded, "failed": counts.failed, "accepted": counts.is_accepted,
        "stopped": counts.stopped,
    }  # fmt: skip


def told_of_end(found: MapRecord) -> dict[str, Any]:
    """What the audit of its run says when it is over."""
    undoes = {} if found.undoes is None else {"undoes": found.undoes}
    return {"step": found.step_id, **answer_of(found), **undoes}


class MapStore(Protocol):
    """Maps. Whoever changes one locks its row first, and after it at most the run that waits."""

    async def tell_map(self, map_id: str) -> MapTold | None:
        """Count the ends of items that were not counted yet; at the last one, wake the run.

        One transaction. Ends are numbered in the order in which they were recorded. Too many
        failures, an ended run above it and its deadline stop the map; what runs is to be cancelled
        then, unless it undoes. Where it is over its wait is answered, audited, and its run made
        due. Repeatable. None: there is no such map.
        """

    async def admit(self, map_id: str, *, at: int, items: Sequence[NewChild]) -> bool:
        """Begin items from index `at` on, unless somebody else did, or it was stopped meanwhile.

        One transaction; all of them or none. False: nothing was written.
        """

    async def stop_map(self, map_id: str, *, reason: str, cancel: CancelMode | None) -> None:
        """Begin no further item; `cancel`: what runs is to be cancelled. The first reason counts.
        Repeatable."""

    async def map_leftovers(self, map_id: str) -> list[str]:
        """Runs of a map that go on, are not to be cancelled yet, and wait for no person."""

    async def open_maps(self, *, limit: int = 100) -> list[str]:
        """Maps that somebody has to look after: an end was not counted, or an item may begin."""

    async def map(self, map_id: str) -> MapRecord:
        """One. Raises NotFound."""

    async def map_parent(self, map_id: str) -> MapParent:
        """The run that waits for it. Raises NotFound."""

    async def maps_of(self, run_id: str) -> list[MapRecord]:
        """All of one run, oldest first, those that undo others among them."""

    async def map_values(self, map_id: str, chunk: int) -> list[Any]:
        """The items of one chunk, ITEMS_A_CHUNK of them but for the last. Raises NotFound."""

    async def map_items(
        self,
        map_id: str,
        *,
        outcome: ItemOutcome | None = None,
        after: int = -1,
        limit: int = 100,
    ) -> list[MapItem]:
        """Items that have begun, by index; those after one of them."""

    async def map_to_undo(self, map_id: str, *, before: int | None, limit: int) -> list[MapItem]:
        """Those that succeeded and stand, latest completion first; `before`: a place."""

    async def count_to_undo(self, map_id: str) -> int:
        """How many of them there are."""
