"""A permit in hand."""

from __future__ import annotations

from orchestrator.ports import Permit


class Permitted:
    """A permit, told apart from a Decision by its type."""

    __slots__ = ("permit",)

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
