"""`orchestrator queues`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType

from orchestrator.cli.draw_common import duration, table
from orchestrator.cli.elsewhere import listed
from orchestrator.cli.output import JsonFlag, answer
from orchestrator.cli.session import with_services

if TYPE_CHECKING:
    from orchestrator.service.queues import QueueView


def queues(*, as_json: JsonFlag = False) -> None:
    """Messages on the broker beside runs in the table, queue by queue."""
    found = with_services(lambda services: services.queues.overview(), remote=listed("queues"))
    answer(found, lambda: _draw(found), as_json=as_json)


def _draw(found: Sequence[QueueView]) -> RenderableType:
    columns = ("messages", "due", "in work", "parked", "oldest due")
    drawn = table("queue", *columns, right=columns)
    for queue in found:
        numbers = (queue.messages, queue.due, queue.owned, queue.parked)
        drawn.add_row(queue.name, *(f"{n:,}" for n in numbers), duration(queue.oldest_due_seconds))
    return drawn
