"""Rounds as they come, for people, and kept for the report."""

from __future__ import annotations

from rich.console import Console

from tests.bench.engine.figures import Round


class Printer:
    """Collects rounds by system and prints each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.rounds: dict[str, list[Round]] = {}

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(text, markup=False, soft_wrap=True)

    def add(self, name: str, made: Round) -> None:
        """One more round of it."""
        self.rounds.setdefault(name, []).append(made)
        shown = {key: round(value, 2) for key, value in made.figures().items()}
        self.say(f"{name:>22}  {shown}")
