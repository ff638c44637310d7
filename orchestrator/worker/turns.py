"""Which queue is asked first: undoing before doing, urgent runs before others, all in the end.

Redis looks at the lists of one command in the order in which they are named. Queues of one kind
(of several lanes) take turns, the one last served goes to the end. One command in eight names the
kinds the other way round, so that what stands last gets an eighth of all commands even while work
of the first kinds never ends.

kombu takes this class by its path (transport option `queue_order_strategy`). Brokers of other
transports hand out their queues as they like.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.core.states import Direction
from orchestrator.ports import queue_name

_TURNED_ONE_IN = 8
_FIRST_KINDS = tuple(
    kind.removeprefix("lane")
    for kind in (
        queue_name("lane", Direction.BACKWARD),
        queue_name("lane", Direction.FORWARD, urgent=True),
        queue_name("lane", Direction.FORWARD),
    )
)


class Turns:
    """The queues of one channel (kombu's protocol of a cycle)."""

    def __init__(self) -> None:
        self._kinds: list[list[str]] = []
        self._asked = 0

    def update(self, queues: Iterable[str]) -> None:
        """These are consumed from now on."""
        kinds: list[list[str]] = [[] for _ in (*_FIRST_KINDS, "others")]
        for queue in queues:
            kinds[_kind_of(queue)].append(queue)
        self._kinds = kinds

    def consume(self, most: int) -> list[str]:
        """At most this many, the first to be served first."""
        self._asked = (self._asked + 1) % _TURNED_ONE_IN
        kinds = self._kinds if self._asked else reversed(self._kinds)
        return [queue for kind in kinds for queue in kind][:most]

    def rotate(self, last_served: str) -> str:
        """This one was served: of its kind it is the last in line now."""
        for kind in self._kinds:
            if last_served in kind:
                kind.remove(last_served)
                kind.append(last_served)
        return last_served


def _kind_of(queue: str) -> int:
    for number, kind in enumerate(_FIRST_KINDS):
        if queue.endswith(kind):
            return number
    return len(_FIRST_KINDS)
