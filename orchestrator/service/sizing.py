"""Costs of runs as data: those that come with the package, or one's own of `bench capacity`."""

from __future__ import annotations

import math
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.core.capacity import Cost, Costs, Resource
from orchestrator.errors import InvalidInput, Problem

SHIPPED = "measured_costs.json"
_FIELDS = tuple(Cost.__dataclass_fields__)


def to_json(costs: Costs) -> dict[str, Any]:
    """As `read_costs` takes it."""
    busy = costs.busy_transactions
    return {
        "step_seconds": costs.step_seconds,
        **({"busy_transactions": busy} if math.isfinite(busy) else {}),
        "costs": {resource.value: asdict(cost) for resource, cost in costs.of.items()},
    }


def read_costs(path: Path | None = None) -> tuple[Costs, str]:
    """The costs, and where they were measured. None: those that come with the package.

    Raises InvalidInput naming each place that is not as wanted.
    """
    place = str(path) if path else SHIPPED
    try:
        text = path.read_bytes() if path else _shipped()
        found = msgspec.json.decode(text)
    except OSError as error:
        raise _refused(place, error.strerror or str(error), "a file that can be read") from None
    except msgspec.DecodeError as error:
        raise _refused(place, str(error), "JSON, as `bench capacity --out` writes it") from None
    if not isinstance(found, dict):
        raise _refused(place, type(found).__name__, "an object")
    costs = found.get("costs")
    of = {resource: _cost(place, costs, resource.value) for resource in Resource}
    step_seconds = _number(f"{place} step_seconds", found.get("step_seconds"))
    busy = math.inf  # files of before this was measured
    if "busy_transactions" in found:
        busy = _number(f"{place} busy_transactions", found["busy_transactions"])
    read = Costs(of=of, step_seconds=step_seconds, busy_transactions=busy)
    return read, _where(found.get("measured"))


def _shipped() -> bytes:
    return resources.files("orchestrator.service").joinpath(SHIPPED).read_bytes()


def _cost(place: str, costs: object, name: str) -> Cost:
    found = costs.get(name) if isinstance(costs, dict) else None
    if not isinstance(found, dict):
        wanted = "an object with " + ", ".join(_FIELDS)
        raise _refused(f"{place} costs.{name}", repr(found), wanted)
    values = {
        field: _number(f"{place} costs.{name}.{field}", found.get(field)) for field in _FIELDS
    }
    return Cost(**values)


def _number(place: str, value: object) -> float:
    try:
        found = msgspec.convert(value, float)  # no text, no bool
    except msgspec.ValidationError:
        found = math.nan
    if math.isfinite(found) and found >= 0:
        return found
    raise _refused(place, repr(value), "a number, not below zero")


def _where(measured: object) -> str:
    if not isinstance(measured, dict):
        return "nobody says where"
    return f"{measured.get('on')}, load {measured.get('load_average')}, {measured.get('at')}"


def _refused(place: str, found: str, wanted: str) -> InvalidInput:
    problem = Problem(place=place, found=found, wanted=wanted)
    return InvalidInput("these costs cannot be used", problems=[problem])
