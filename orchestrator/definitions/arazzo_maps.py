"""Steps with `x-each`: they begin a run of a workflow for each of many items.

workflowId: payment
x-each:
  items: $inputs.orders        an array; or count: how many, a number or an expression
  as: order                    the input of `payment` that is the item
  index: place                 the input that is its number, from 0
  parallel: 20                 most that run at once
  maxFailures: 5               or 1%: with more of them the step has failed
  undo: {parallel: 1}          so many are undone at once, in whichever order they end then
  onCancel: cancel | wait      what becomes of those that run when the run is cancelled
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.plan import OnCancel, Plan, PlanStep
from orchestrator.definitions.arazzo_calling import arguments_of
from orchestrator.definitions.arazzo_calls import CallReader
from orchestrator.definitions.arazzo_chain import Found, Frame
from orchestrator.definitions.arazzo_children import plan_to_begin
from orchestrator.definitions.arazzo_values import value_of
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.inputs import declared_inputs
from orchestrator.definitions.maps import (
    DEFAULT_PARALLEL,
    MOST_PARALLEL,
    SHARE,
    Each,
    map_call,
    undo_of_map,
)

_FIELDS = {"items", "count", "as", "index", "parallel", "maxFailures", "undo", "onCancel"}
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Maps:
    """Implements arazzo_chain.MapReader."""

    plan_of: Callable[[Found], Plan | None]  # None: it leads back to the workflow at hand

    def read(self, at: Cursor, found: Found, step_id: str, label: str, frame: Frame) -> PlanStep:
        """The step; what is wrong is noted."""
        plan = plan_to_begin(at, found, self.plan_of)
        each = _each(at.child("x-each", at.value["x-each"]), found)
        own_names = [name for name in (each.item, each.index) if name]
        arguments = arguments_of(
            at, frame.found.context.components, found.name, found.schema, own_names
        )
        own = CallReader(at, frame.found.context, label).outputs("outputs")
        if plan.pivot_index is not None and not at.has("x-compensation"):
            at.bad(
                "an x-compensation: what a run did past its pivot is not undone",
                found=f"runs of {plan.workflow}, which has a pivot,"
                f" {plan.steps[plan.pivot_index].id}",
            )  # fmt: skip
        return PlanStep(
            id=step_id, call=map_call(label, plan, each, arguments, own), scope=frame.scope,
            compensation=undo_of_map(f"{label}.undo", each),
        )  # fmt: skip


def _each(at: Cursor, found: Found) -> Each:
    if not at.is_object():
        return Each(over={"count": 0}, item="")
    at.only(_FIELDS)
    known = declared_inputs(found.schema)
    return Each(
        over=_over(at), item=_input(at, "as", known, found) or "",
        index=_input(at, "index", known, found) if at.has("index") else None,
        parallel=_parallel(at, DEFAULT_PARALLEL), most_failures=_most_failures(at),
        undo_parallel=_undo_parallel(at), on_cancel=_on_cancel(at),
    )  # fmt: skip


def _over(at: Cursor) -> dict[str, Any]:
    given = [name for name in ("items", "count") if at.has(name)]
    if len(given) != 1:
        said = "both" if given else "neither"
        at.bad("either items, an array, or count, how many there are", found=said)
        return {"count": 0}
    (name,) = given
    item = at.child(name, at.value[name])
    value, is_text = item.value, isinstance(item.value, str)
    is_count = name == "count" and isinstance(value, int) and not isinstance(value, bool)
    if (is_text and value.startswith("$")) or (is_count and value >= 0):
        return {name: value_of(item)}
    item.bad("an expression" if name == "items" else "an expression, or a whole number from 0")
    return {"count": 0}


def _input(at: Cursor, name: str, known: Mapping[str, Any], found: Found) -> str | None:
    text = at.text(name, required=True)
    if text is not None and text not in known:
        wanted = ", ".join(sorted(known)) or "none is declared"
        at.child(name, text).bad(f"an input of workflow {found.name}: {wanted}")
    if name == "index" and text is not None and text == at.value.get("as"):
        at.child(name, text).bad("another input than the item's")
    return text


def _parallel(at: Cursor, default: int) -> int:
    said = at.number("parallel", least=1, whole=True)
    if said is not None and said > MOST_PARALLEL:
        at.child("parallel", at.value["parallel"]).bad(f"at most {MOST_PARALLEL}")
    return default if said is None else int(said)


def _undo_parallel(at: Cursor) -> int:
    if not at.has("undo"):
        return 1
    undo = at.child("undo", at.value["undo"])
    if not undo.is_object():
        return 1
    undo.only({"parallel"})
    return _parallel(undo, 1)


def _most_failures(at: Cursor) -> int | str:
    value = at.value.get("maxFailures", 0)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and SHARE.fullmatch(value):
        return value
    at.child("maxFailures", value).bad("a whole number from 0, or a share such as 1% or 0.5%")
    return 0


def _on_cancel(at: Cursor) -> OnCancel:
    said = at.choice("onCancel", (OnCancel.CANCEL, OnCancel.WAIT))
    return OnCancel(said or OnCancel.CANCEL)
