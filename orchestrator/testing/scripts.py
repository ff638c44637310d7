"""What an API answers in a test: what the test says, else what its document says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orchestrator.core.plan import Call
from orchestrator.testing.faults import Failing, Fault, Link


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `body` is sent as JSON, bytes as they are, None as no body."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.01  # until it is there


@dataclass(kw_only=True, slots=True, eq=False)
class Sent:
    """One request that an API or a Python function got, or should have; filled in on the way."""

    run_id: str
    link: Link
    at: float  # virtual seconds since the lab was opened
    attempt: int
    api: str
    method: str  # "TASK" for a Python function
    target: str
    headers: Mapping[str, str]
    body: Any  # JSON where it is some, else text
    key: str  # the same for every attempt at one effect
    call: Call = field(repr=False)  # of the plan: which case of an undo it was
    fault: Fault | None = None
    status: int | None = None  # of the answer; None: there was none
    over: float | None = None  # when its answer was there, or nobody waited any more
    had_effect: bool = False  # for the first time


Reply: TypeAlias = Answer | Callable[[Sent], Answer]
"""A function is asked at each request, and may look at it."""


class Script:
    """The answers and mishaps of one lab, by call."""

    def __init__(self) -> None:
        self._replies: dict[Link, list[Reply]] = {}
        self._failing: defaultdict[Link, list[list[Any]]] = defaultdict(list)

    def reply(self, link: Link, *replies: Reply) -> None:
        """Answer with these, one after the other; the last one from then on."""
        self._replies[link] = list(replies)

    def fail(self, failing: Failing) -> None:
        """Have this happen, after what was wanted before at the same call."""
        self._failing[failing.link].append([failing.fault, failing.times])

    def next_fault(self, link: Link) -> Fault | None:
        """What happens to the request that comes now."""
        wanted = self._failing[link]
        if not wanted:
            return None
        fault, times = wanted[0]
        if times is not None:
            wanted[0][1] = times - 1
            if times <= 1:
                wanted.pop(0)
        return Fault(fault)

    def next_reply(self, sent: Sent) -> Answer | None:
        """What a test says to the request that comes now; None: nothing."""
        replies = self._replies.get(sent.link)
        if not replies:
            return None
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return reply if isinstance(reply, Answer) else reply(sent)

    def clear(self) -> None:
        """Forget the mishaps that have not happened."""
        self._failing.clear()
