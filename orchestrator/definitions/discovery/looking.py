"""Which reads of an API show what a request has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.definitions.discovery.evidence import Candidate, Kind
from orchestrator.definitions.discovery.identity import map_identity, new_identity
from orchestrator.definitions.discovery.mapping import shared_path
from orchestrator.definitions.discovery.survey import Facts, Survey
from orchestrator.definitions.values import ABSENT, dig

_LEVELS = 3  # of a path: the thing, what lists it, and what holds that


def reads_around(survey: Survey, api: str, method: str, path: str, target: str) -> list[str]:
    """Targets of GETs of what a request is about, of the list that it is in, and of their owner.

    `path` is the operation's, `target` the request's (encoded, relative to the base URL).
    """
    facts = _operation(survey, api, method, path)
    return [] if facts is None else list(_prefixes(survey, facts, _segments(target)))


def reads_before(
    survey: Survey, api: str, undo: tuple[str, str], forward: tuple[str, str, str]
) -> list[str]:
    """Targets of GETs of what an undo (method, path) will be about, as far as they are known.

    `forward`: method, path and target of the step, whose path values it may share.
    """
    facts = _operation(survey, api, *undo)
    step = _operation(survey, api, *forward[:2])
    if facts is None:
        return []
    given = _segments(forward[2]) if step is not None else []
    known: list[str] = []
    for place, part in enumerate(facts.stem):
        if part != "{}":
            known.append(facts.segments[place])
        elif step is not None and step.stem[: place + 1] == facts.stem[: place + 1]:
            known.append(given[place])
        else:
            break
    return list(_prefixes(survey, facts, known))


def reads_of_new(
    survey: Survey, api: str, path: str, request: FrozenRequest, response: Response
) -> list[str]:
    """Targets of GETs of what a POST has made, by the identity that its answer gives."""
    forward = _operation(survey, api, request.method, path)
    if forward is None or request.method != "POST":
        return []
    found = []
    for read in survey.at((*forward.stem, "{}"), "GET", api=api):
        value = _identity(forward, read, request, response)
        if value is not None and not _needs_query(read):
            above = _segments(request.target)
            found.append("/" + "/".join([*above, quote(str(value), safe="")]))
    return found


def _identity(forward: Facts, read: Facts, request: FrozenRequest, response: Response) -> Any:
    candidate = Candidate("look", Kind.DELETE_CREATED, forward, read, base=0.0)
    candidate.parameters |= shared_path(forward, read)
    name = new_identity(candidate)
    if name is None or map_identity(candidate, name) is None:
        answer = _json(response.body)
        return answer.get("id") if isinstance(answer, Mapping) else None
    where, _, pointer = str(candidate.parameters[f"path.{name}"]).partition("#")
    body = _json(response.body if where == "$response.body" else request.body)
    value = dig(body, [t.replace("~1", "/").replace("~0", "~") for t in pointer.split("/")[1:]])
    return None if value is ABSENT or isinstance(value, dict | list) else value


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _operation(survey: Survey, api: str, method: str, path: str) -> Facts | None:
    found = survey.operations_of(api)
    return next((each for each in found if (each.method, each.path) == (method, path)), None)


def _segments(target: str) -> list[str]:
    return [part for part in target.partition("?")[0].split("/") if part]


def _prefixes(survey: Survey, facts: Facts, known: list[str]) -> Iterator[str]:
    least = max(1, len(facts.stem) - _LEVELS + 1)
    for length in range(len(known), least - 1, -1):
        for read in survey.at(facts.stem[:length], "GET", api=facts.api):
            same = all(
                part == "{}" or part == given
                for part, given in zip(facts.stem[:length], known, strict=False)
            )
            if same and not _needs_query(read):
                slash = "/" if read.path.endswith("/") else ""
                yield "/" + "/".join(known[:length]) + slash


def _needs_query(read: Facts) -> bool:
    return any(each.required and each.place == "query" for each in read.parameters)
