"""Tests of workflows: the real engine on virtual time, over APIs that answer as a test says.

Read `lab` first. The names are loaded when they are asked for: the pytest plugin is in this
package, and tests that use nothing of it should not wait for the engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.testing.coverage import Coverage
    from orchestrator.testing.faults import Failing, Fault, Link, Way
    from orchestrator.testing.judging import (
        assert_compensated_in_reverse,
        assert_effects,
        assert_escalated,
        assert_safe,
        assert_succeeded,
        assert_waiting,
    )
    from orchestrator.testing.lab import Lab, NotSettled
    from orchestrator.testing.played import Played
    from orchestrator.testing.properties import every_failure, failures
    from orchestrator.testing.scripts import Answer, Sent

__all__ = [
    "Answer",
    "Coverage",
    "Failing",
    "Fault",
    "Lab",
    "Link",
    "NotSettled",
    "Played",
    "Sent",
    "Way",
    "assert_compensated_in_reverse",
    "assert_effects",
    "assert_escalated",
    "assert_safe",
    "assert_succeeded",
    "assert_waiting",
    "every_failure",
    "failures",
]

_HOMES = {
    **dict.fromkeys(("Answer", "Sent"), "scripts"),
    **dict.fromkeys(("Failing", "Fault", "Link", "Way"), "faults"),
    **dict.fromkeys(("Lab", "NotSettled"), "lab"),
    **dict.fromkeys(("every_failure", "failures"), "properties"),
    **{name: "judging" for name in __all__ if name.startswith("assert_")},
    "Coverage": "coverage",
    "Played": "played",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"orchestrator.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
