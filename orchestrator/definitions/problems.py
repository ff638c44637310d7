"""What is wrong with a definition or with one request of it, always with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from orchestrator.errors import InvalidDefinition, Problem, RefusedError

Path = tuple[str | int, ...]
"""Where something stands in a document: the tokens of its JSON pointer."""


class RequestRefused(RefusedError):
    """A request cannot be made from what the run knows; nothing was sent."""


class UnresolvedExpression(RequestRefused):
    """A runtime expression refers to something that this run does not have."""


class ExpressionError(ValueError):
    """An expression or condition cannot be read. Says what was found and what is wanted."""

    def __init__(self, found: str, wanted: str) -> None:
        self.found, self.wanted = found, wanted
        super().__init__(f"found {found}; wanted {wanted}")


class Findings:
    """Collects everything wrong with a definition, so that it is reported at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def add(self, place: str, found: str, wanted: str) -> None:
        """Note one problem; the same one twice counts once."""
        problem = Problem(place=place, found=found, wanted=wanted)
        if problem not in self.problems:
            self.problems.append(problem)

    def warn(self, place: str, text: str) -> None:
        """Note something that runs, but that its author should know; once."""
        warning = f"{place}: {text}"
        if warning not in self.warnings:
            self.warnings.append(warning)

    def warnings_in(self, prefix: str) -> tuple[str, ...]:
        """The warnings of one workflow (a JSON pointer), with those that concern all of them."""
        return tuple(
            text for text in self.warnings
            if f"({prefix}/" in text or f"({prefix})" in text or "(/workflows/" not in text
        )  # fmt: skip

    @contextmanager
    def expressions_at(self, place: str) -> Iterator[None]:
        """Turn an ExpressionError inside into a problem at `place`."""
        try:
            yield
        except ExpressionError as error:
            self.add(place, error.found, error.wanted)

    def raise_if_any(self, message: str) -> None:
        """Raises InvalidDefinition with all problems."""
        if self.problems:
            raise InvalidDefinition(message, problems=self.problems)


def pointer(path: Sequence[str | int]) -> str:
    """RFC 6901 text of a path; "" for the whole document."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in path)


def shown(value: object) -> str:
    """A value for an error message: short, and never more than its beginning."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
