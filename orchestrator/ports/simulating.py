"""What is simulated, and what comes of it: values that go to another process and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec


class Visited(msgspec.Struct, frozen=True, kw_only=True):
    """What one visit of a step gave in the run whose answers are taken."""

    outputs: Mapping[str, Any]
    status: int | None = None  # of the answer; None: it is not known, or there was none


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is to be played."""

    plans: Sequence[str]  # as text: the workflow's first, then those that its runs begin
    document: str  # Arazzo, of the first; its sources are looked for in the folder
    folder: str
    inputs: Mapping[str, Any]
    results: Mapping[str, Mapping[str, Any]]  # JSON schemas of what functions return, by name
    fail_at: str | None = None  # the step that is refused, each time
    recorded: Mapping[str, Sequence[Visited]] = msgspec.field(default_factory=dict)  # by step


class SimulatedCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request that would have been sent."""

    step: str
    way: str  # do, undo, verify, verify undo
    api: str
    method: str  # TASK: a Python function
    target: str
    headers: Mapping[str, str]
    body: Any  # JSON, or text
    key: str
    seconds: float  # of virtual time, since it began
    status: int | None  # of the answer that was made up or taken; None: there was none
    recorded: bool  # the answer is that of the recorded run, as far as the step reads it


class Ending(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How it ended."""

    status: str
    cause: str
    seconds: float
    outputs: Mapping[str, Any]
    done: Sequence[str]
    undone: Sequence[str]
    stays: Sequence[str]  # steps whose effects are there in the end
    gave: Mapping[str, Mapping[str, Any]]  # outputs of steps: by them one knows what is secret
    calls: Sequence[SimulatedCall]
    left_out: int = 0  # calls beyond the first so many
    supposed: Sequence[str] = ()  # what people and programs would have to say: `ask: approved`
    escalated: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Why nothing came of it."""

    found: str
    wanted: str


class Simulator(Protocol):
    """Plays runs."""

    async def play(self, wanted: Simulated) -> Ending:
        """Bounded in time, memory and size. Raises InvalidInput with what stood in its way;
        Overloaded where too many wait for theirs."""
