"""What answers were like, held against what the API's document says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.core.insights import FEW, Difference, Documented
from orchestrator.core.plan import Plan
from orchestrator.core.shapes import ANY_NAME, Shape, tokens_of
from orchestrator.core.states import Direction
from orchestrator.core.windows import Window
from orchestrator.definitions.checking.apis import ApiOperation
from orchestrator.definitions.checking.reading import Call, read_leniently
from orchestrator.definitions.checking.schemas import Schema
from orchestrator.definitions.document import Document
from orchestrator.definitions.tasks import TaskRegistry

Seen = Mapping[tuple[str, str], Window]
"""By API and operation ("GET /orders/{id}")."""


def documented_of(
    document: Document, *, folder: Path, tasks: TaskRegistry, plan: Plan, seen: Seen
) -> dict[tuple[int, Direction], Documented]:
    """By step and direction, as far as the documents can be read and say anything."""
    flow = read_leniently(document, folder=folder, tasks=tasks).flow(plan.workflow)
    found: dict[tuple[int, Direction], Documented] = {}
    for index, step in enumerate(plan.steps):
        read = None if flow is None or step.scope else flow.step(step.id)
        if read is None:
            continue
        for direction, call in ((Direction.FORWARD, read.call), (Direction.BACKWARD, read.undo)):
            if call is not None and call.api is not None:
                found[index, direction] = _documented(call, call.api, seen)
    return found


def _documented(call: Call, api: ApiOperation, seen: Seen) -> Documented:
    operation = api.operation
    name = f"{operation.method} {operation.path}"
    source = "" if call.target is None else call.target.api
    window = seen.get((source, name), Window())
    path = api.document.path
    return Documented(
        operation=name, statuses=frozenset(api.statuses),
        file="" if path is None else str(path), key_header=api.key_header(),
        differences=tuple(_differences(api, window.shapes)),
    )  # fmt: skip


def _differences(api: ApiOperation, shapes: Mapping[int, Shape]) -> Iterator[Difference]:
    """Of successes: other answers are seldom described."""
    schemas = api.answers()
    if schemas is None:
        return
    for status, shape in sorted(shapes.items()):
        if not 200 <= status < 300:
            continue
        strange: list[str] = []
        for place in sorted(shape):
            if any(place.startswith(f"{one}/") for one in strange):
                continue
            there = [found for one in schemas if (found := _at(one, place)) is not None]
            if not there:
                strange.append(place)
                yield from _if_often(place, "the field", "none documented", shape[place])
                continue
            yield from _other_types(place, there, shape[place])
            yield from _missing(place, there, shape)


def _at(schema: Schema, place: str) -> Schema | None:
    """The schema of a place; empty below what may be anything, None where there is none."""
    found: Schema | None = schema
    for token in tokens_of(place):
        if found is None:
            return None
        if token == ANY_NAME:
            # An element; of a map, whose keys are not known here, whatever it holds.
            found = found.items() if "array" in found.types() else found.child("\0any")
        else:
            found = found.child(token)
    return found


def _other_types(place: str, there: list[Schema], kinds: Mapping[str, int]) -> Iterator[Difference]:
    allowed = frozenset[str]().union(*(one.types() for one in there))
    other = {kind: count for kind, count in kinds.items() if kind not in allowed}
    wanted = " or ".join(sorted(allowed))
    for kind, count in sorted(other.items()):
        yield from _if_often(place, kind, wanted, {kind: count})


def _missing(place: str, there: list[Schema], shape: Shape) -> Iterator[Difference]:
    """Fields that every alternative requires."""
    objects = shape[place].get("object", 0)
    required = set.intersection(*(one.required() for one in there))
    for name in sorted(required):
        field = f"{place}/{name}"
        lacking = objects - sum(shape.get(field, {}).values())
        yield from _if_often(field, "nothing", "a required field", {"": lacking})


def _if_often(
    place: str, found: str, wanted: str, kinds: Mapping[str, int]
) -> Iterator[Difference]:
    cases = sum(kinds.values())
    if cases >= FEW:
        yield Difference(place=place or "/", found=found, wanted=wanted, cases=cases)
