"""Documents against the official schema of their version, before anything else is said of them.

Our own reading says most of what is wrong in better words (it knows the APIs, and what to write
instead); the schema says what it passes over: a document without a title, an action without a name.
So both are asked, and where both speak of one place the schema keeps silent.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.definitions.document import Document
from orchestrator.definitions.json_schema import standard_validator
from orchestrator.definitions.official.faults import Fault, faults_of
from orchestrator.definitions.official.patches import FILES, patched
from orchestrator.definitions.problems import Findings, pointer
from orchestrator.errors import Problem

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_VERSION = re.compile(r"(\d+\.\d+)\.\d+(-.+)?")
_REMEMBERED = 4096
"""So many documents that are valid are not validated again by this process."""


class FirstPass:
    """Validates documents, those that were valid once."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._most = remembered
        self._valid: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def faults(self, document: Document) -> Sequence[Fault]:
        """What the schema does not take; nothing where no schema is known for its version."""
        version = _version(document.value)
        if version is None:
            return ()
        key = (version, hashlib.sha256(document.text.encode()).digest())
        if key in self._valid:
            return ()
        found = list(faults_of(_validator(version), document.value))
        if not found:
            self._valid[key] = None
            while len(self._valid) > self._most:
                self._valid.popitem(last=False)
        return found


_FIRST_PASS = FirstPass()


def add_faults(document: Document, findings: Findings) -> None:
    """Note what the schema does not take, and nobody else has noted at the same place."""
    own = [problem for problem in findings.problems if problem.place.startswith(document.name)]
    for fault in _FIRST_PASS.faults(document):
        if not any(_says_the_same(problem, fault) for problem in own):
            findings.add(document.place(fault.path), fault.found, fault.wanted)


def _says_the_same(problem: Problem, fault: Fault) -> bool:
    where = pointer(fault.path)
    here = problem.place.endswith(f" ({where})") if where else "(/" not in problem.place
    if fault.missing is not None:
        return (
            here
            and re.search(rf"\b{fault.missing}\b", f"{problem.found} {problem.wanted}") is not None
        )
    return here or (fault.broad and f" ({where}/" in problem.place)


def _version(value: Any) -> str | None:
    said = value.get("arazzo") if isinstance(value, Mapping) else None
    found = _VERSION.fullmatch(said) if isinstance(said, str) else None
    return found[1] if found is not None and found[1] in FILES else None


@cache
def _validator(version: str) -> Draft202012Validator:
    """Refers to itself and to JSON Schema's own documents, which are here: nothing is fetched."""
    return standard_validator(patched(version))
