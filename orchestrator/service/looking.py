"""What an agent looked at before it had a workflow run: the beginning of the run's story."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.telemetry.redact import hidden_text

MOST_LOOKS = 5
_LONGEST_QUESTION = 300
_LONGEST_NAME = 100

Look = Mapping[str, Any]
"""`{at, question, found}` of a search (found: names, the best first), `{at, described}` of one that
was looked at, and at last `{at, chose, reason, client, model}`, of which only `at` and `chose` are
always there. Plain JSON: it is kept in the run's audit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Why an agent wants this workflow, and what it says of itself. Nothing of it is proven."""

    reason: str = ""
    client: str = ""  # the program, as `name version`
    model: str = ""


class Looks:
    """The latest looks of one session of one agent."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=MOST_LOOKS)
        self._since = 0  # the latest run; of these looks so many

    def searched(self, question: str, found: Sequence[str], *, at: datetime) -> None:
        """It asked, and was shown these."""
        asked = hidden_text(question)[:_LONGEST_QUESTION]
        self._add({"at": at.isoformat(), "question": asked, "found": list(found)})

    def described(self, workflow: str, *, at: datetime) -> None:
        """It had this one described."""
        self._add({"at": at.isoformat(), "described": workflow})

    def _add(self, look: Look) -> None:
        self._looks.append(look)
        self._since = min(self._since + 1, MOST_LOOKS)

    def that_led_to(self, workflow: str) -> tuple[Look, ...]:
        """What led to a run of this workflow: the looks since the run before, else the latest that
        showed this workflow."""
        fresh = list(self._looks)[-self._since :] if self._since else []
        if not fresh:
            fresh = [look for look in self._looks if workflow in _shown(look)][-1:]
        return tuple(fresh)

    def choice_of(self, workflow: str, choice: Choice, *, at: datetime) -> tuple[Look, ...]:
        """What led to it, and the choice itself."""
        told = {
            "reason": hidden_text(choice.reason)[:_LONGEST_QUESTION],
            "client": hidden_text(choice.client)[:_LONGEST_NAME],
            "model": hidden_text(choice.model)[:_LONGEST_NAME],
        }
        said = {name: text for name, text in told.items() if text}
        return (*self.that_led_to(workflow), {"at": at.isoformat(), "chose": workflow, **said})

    def has_run(self) -> None:
        """A run was accepted: what is looked at from here on leads to another one."""
        self._since = 0


def _shown(look: Look) -> Sequence[str]:
    return look.get("found", ()) or (look.get("described", ""),)
