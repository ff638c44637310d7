"""Steps that begin a run of another workflow for each of many items, and what undoes those.

    kind: map
    workflow: payment            digest: of the version that is begun, see core/plan_json
    items: $inputs.orders        an array; or count: how many, and each item is its number from 0
    as: order                    the input that is the item
    index: place                 the input that is its number, from 0; left out where none is
    arguments: {currency: EUR}   inputs that are the same for all
    parallel: 20                 most that run at once
    most_failures: 5             or "1%"; with more of them the step has failed

    kind: undo-map               what succeeded is undone, latest completion first
    parallel: 1                  so many at once: more than one only where an author says so

The answer to the first is 200 with `{total, succeeded, failed, outcome}` once all items have ended,
and 424 with `{message}` besides where too many have failed, or not all have begun. It has landed
either way: what succeeded is there, and is undone with it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from orchestrator.core.exchange import FrozenRequest, Judgement, Outcome
from orchestrator.core.maps import EACH_METHOD
from orchestrator.core.plan import CHILD, Call, Compensation, Effects, OnCancel, Plan
from orchestrator.core.retry import NO_RETRY
from orchestrator.definitions import encoding
from orchestrator.definitions.expressions import Expression, compile_value
from orchestrator.definitions.problems import Path
from orchestrator.definitions.scope import Scope
from orchestrator.definitions.values import ABSENT

KIND, UNDO_KIND = "map", "undo-map"
MOST_PARALLEL = 1000
DEFAULT_PARALLEL = 20
COUNTED = {name: f"$response.body#/{name}" for name in ("total", "succeeded", "failed", "outcome")}
"""Outputs of every such step, and where its answer has them."""
SHARE = re.compile(r"(100|\d{1,2}(\.\d{1,4})?)%")
"""Of items that may fail."""
_MAP_HEADER = "map"


@dataclass(frozen=True, kw_only=True, slots=True)
class Each:
    """What an author says of a map."""

    over: Mapping[str, Any]  # {"items": expression} or {"count": expression or number}
    item: str  # the input of the workflow that is the item
    index: str | None = None
    parallel: int = DEFAULT_PARALLEL
    most_failures: int | str = 0
    undo_parallel: int = 1
    on_cancel: OnCancel = OnCancel.CANCEL


def each_problems(each: Each) -> Iterator[tuple[str, str, str]]:
    """(field, found, wanted) of all that is wrong with the numbers of one."""
    if len(each.over) != 1:
        found = "both" if each.over else "neither"
        yield "items", found, "either items, an expression of an array, or count, how many"
    for name, value in each.over.items():
        is_count = name == "count" and _is_whole(value)
        if not is_count and not (isinstance(value, str) and value.startswith("$")):
            wanted = "an expression" if name == "items" else "an expression, or a number from 0"
            yield name, str(value), wanted
    for name, number in (("parallel", each.parallel), ("undo_parallel", each.undo_parallel)):
        if not _is_whole(number) or not 1 <= number <= MOST_PARALLEL:
            yield name, str(number), f"a whole number from 1 to {MOST_PARALLEL}"
    most = each.most_failures
    if not _is_whole(most) and not (isinstance(most, str) and SHARE.fullmatch(most)):
        yield "max_failures", str(most), "a whole number from 0, or a share such as 1% or 0.5%"
    if each.on_cancel is OnCancel.LEAVE:
        yield "on_cancel", str(each.on_cancel), "cancel or wait"


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def map_call(
    label: str, plan: Plan, each: Each, arguments: Mapping[str, Any],
    outputs: Mapping[str, Any] | None = None,
) -> Call:  # fmt: skip
    """A call that begins runs of `plan`, a version with its digest."""
    template = {
        "kind": KIND, "workflow": plan.workflow, "digest": plan.digest, **each.over,
        "as": each.item, "arguments": dict(arguments), "parallel": each.parallel,
        "most_failures": each.most_failures, "outputs": {**COUNTED, **(outputs or {})},
    }  # fmt: skip
    if each.index is not None:
        template["index"] = each.index
    return Call(
        label=label, api=CHILD, effects=Effects.KEYED, retry=NO_RETRY, template=template,
        on_cancel=each.on_cancel,
    )  # fmt: skip


def undo_of_map(label: str, each: Each) -> Compensation:
    """What undoes a map: for each item that succeeded a run that undoes it."""
    call = Call(
        label=label, api=CHILD, effects=Effects.KEYED, retry=NO_RETRY,
        template={"kind": UNDO_KIND, "parallel": each.undo_parallel}, on_cancel=OnCancel.WAIT,
    )  # fmt: skip
    return Compensation(call=call)


def is_map(call: Call) -> bool:
    """Whether it begins runs for items."""
    return call.template.get("kind") == KIND


def is_undo_of_map(call: Call) -> bool:
    """Whether it undoes such runs."""
    return call.template.get("kind") == UNDO_KIND


def with_map(request: FrozenRequest, map_id: str) -> FrozenRequest:
    """The request with the map that answered it, for whoever undoes that."""
    return replace(request, headers=((_MAP_HEADER, map_id),))


def map_of(request: FrozenRequest | None) -> str | None:
    """The map that answered a request; None where none did."""
    return None if request is None else dict(request.headers).get(_MAP_HEADER)


class MapRequest:
    """What is asked for: `{arguments, items}` or `{arguments, count}`, as JSON."""

    def __init__(self, call: Call) -> None:
        template = call.template
        self._workflow = template["workflow"]
        self._over = "items" if "items" in template else "count"
        self._items = compile_value(template[self._over], (self._over,))
        self._arguments = compile_value(template.get("arguments", {}), ("arguments",))

    def make(self, scope: Scope, key: str) -> FrozenRequest:
        """Raises RequestRefused where the items are no array, or the count is no whole number."""
        found = self._items.resolve(scope)
        if self._over == "items" and not isinstance(found, list):
            raise encoding.refused("the items", encoding.kind_of(found), "an array")
        is_whole = isinstance(found, int) and not isinstance(found, bool)
        if self._over == "count" and (not is_whole or found < 0):
            raise encoding.refused(
                "the count of items", _count_said(found), "a whole number from 0"
            )
        asked = {"arguments": self._arguments.resolve(scope), self._over: found}
        body = encoding.json_body(asked)
        return FrozenRequest(method=EACH_METHOD, target=self._workflow, body=body, key=key)

    def value_of(self, place: str, name: str, scope: Scope) -> Any:
        """It has no parameters with a place."""
        return ABSENT

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression, with its place in the template."""
        yield from self._items.expressions()
        yield from self._arguments.expressions()


def asked_of(request: FrozenRequest) -> tuple[Mapping[str, Any], Sequence[Any] | None, int]:
    """(arguments, items, how many) of a request as it was made; items None: their numbers."""
    asked = orjson.loads(request.body)
    items = asked.get("items")
    return asked["arguments"], items, asked["count"] if items is None else len(items)


def without_items(request: FrozenRequest) -> FrozenRequest:
    """The same with the number of its items, and their digest: they are kept with the map alone."""
    asked = orjson.loads(request.body)
    if "items" not in asked:
        return request
    items = asked.pop("items")
    asked["count"] = len(items)
    asked["digest"] = hashlib.sha256(orjson.dumps(items)).hexdigest()
    return replace(request, body=orjson.dumps(asked))


def failed(answer: Mapping[str, Any]) -> Judgement:
    """Of a map that is over, and not as it was wanted: what succeeded is there nevertheless."""
    return Judgement(
        outcome=Outcome.LANDED, accepted=False, outputs=counted(answer), reason=why_failed(answer)
    )


def counted(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs that tell how its items ended."""
    whole = answer["succeeded"] == answer["total"]
    return {
        "total": answer["total"], "succeeded": answer["succeeded"], "failed": answer["failed"],
        "outcome": "complete" if whole else "partial",
    }  # fmt: skip


def why_failed(answer: Mapping[str, Any]) -> str:
    """Why the step has failed, in words."""
    left = answer["total"] - answer["begun"]
    never = f"; {left} never began" if left else ""
    stopped = answer["stopped"] or f"{answer['failed']} of {answer['total']} items failed"
    return f"{stopped}: {answer['succeeded']} succeeded, {answer['failed']} failed{never}"


def _count_said(found: Any) -> str:
    return str(found) if isinstance(found, (int, float)) else encoding.kind_of(found)
