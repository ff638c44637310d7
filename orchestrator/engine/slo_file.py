"""`config/slos.yaml`: the objectives of workflows.

"*":                                # each workflow that says nothing of its own about one
  compensation: {target: 0.99}      # built in
checkout:
  success: {target: 0.995}          # of runs
  latency: {target: 0.95, seconds: 30}       # from acceptance to success
  compensation: {target: 0.999, least_bad: 1}
  freshness: {target: 0.9, seconds: 3600}    # escalations decided on
nightly:
  compensation: off
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, RootModel, ValidationError

from orchestrator.core.slo import (
    LEAST_BAD,
    LONGEST_SECONDS,
    MOST_LEAST_BAD,
    TIMED,
    WINDOW_DAYS,
    Declared,
    Objective,
    ObjectiveKind,
)
from orchestrator.engine.auth import Strict
from orchestrator.engine.yaml_lines import Lines, problem_at, read_yaml
from orchestrator.errors import InvalidSetting, Problem

INVALID = "the objectives are not valid"
FILE_NAME = "slos.yaml"


class ObjectiveFile(Strict):
    """Which part of the events shall be good, and how it is looked at."""

    target: Annotated[float, Field(gt=0, lt=1)]
    window_days: Annotated[int, Field(ge=WINDOW_DAYS[0], le=WINDOW_DAYS[1])] = 30
    least_bad: Annotated[int, Field(ge=1, le=MOST_LEAST_BAD)] | None = None


class TimedFile(ObjectiveFile):
    """One with a threshold."""

    seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]


def _off(value: Any) -> Any:
    return None if value is False else value


Plain = Annotated[ObjectiveFile | None, BeforeValidator(_off)]
Timed = Annotated[TimedFile | None, BeforeValidator(_off)]


class WorkflowFile(Strict):
    """The objectives of one workflow; `off`: none, whatever is said of all others."""

    success: Plain = None
    latency: Timed = None
    compensation: Plain = None
    freshness: Timed = None


class SlosFile(RootModel[dict[str, WorkflowFile]]):
    """By workflow."""


def read_slos(folder: Path) -> Declared:
    """What `slos.yaml` in this folder declares; nothing where there is none. Blocks.

    Raises InvalidSetting that names line, field, found and wanted of everything wrong.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return {}
    data, lines = read_yaml(path, None)
    try:
        file = SlosFile.model_validate(data)
    except ValidationError as error:
        problems = [_problem(path, lines, item) for item in error.errors()]
        raise InvalidSetting(INVALID, problems=problems) from None
    return {
        name: {
            kind: _objective(name, kind, getattr(found, kind))
            for kind in ObjectiveKind if kind in found.model_fields_set
        }
        for name, found in file.root.items()
    }  # fmt: skip


def _objective(workflow: str, kind: ObjectiveKind, file: ObjectiveFile | None) -> Objective | None:
    if file is None:
        return None
    return Objective(
        workflow=workflow, kind=kind, target=file.target, window_days=file.window_days,
        seconds=file.seconds if isinstance(file, TimedFile) else None,
        least_bad=LEAST_BAD[kind] if file.least_bad is None else file.least_bad,
    )  # fmt: skip


def _problem(path: Path, lines: Lines, item: Any) -> Problem:
    loc = tuple(item["loc"])
    line = next(lines[loc[:size]] for size in range(len(loc), -1, -1) if loc[:size] in lines)
    field = ".".join(map(str, loc)) or "document"
    if item["type"] == "extra_forbidden":
        known = ", ".join(_fields_at(loc[:-1]))
        return problem_at(path, line, field, "an unknown field", f"one of {known}")
    found = "nothing" if item["type"] == "missing" else repr(item.get("input"))[:100]
    wanted = str(item["msg"]).removeprefix("Input should be ")
    return problem_at(path, line, field, found, wanted)


def _fields_at(loc: tuple[Any, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = dict.fromkeys(TIMED, TimedFile)
    model = WorkflowFile if len(loc) == 1 else models.get(str(loc[-1]), ObjectiveFile)
    return list(model.model_fields)
