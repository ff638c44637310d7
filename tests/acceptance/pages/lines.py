"""The commands of the pages, one by one: what a reader chooses between or may leave out, apart."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import typer

from orchestrator.cli.main import app
from tests.unit.docs.snippets import Snippet, snippets

PROGRAM = "orchestrator"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One command, without its program."""

    snippet: Snippet
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


def lines() -> Iterator[Line]:
    """All of them in the order of the pages."""
    for snippet in snippets():
        if snippet.kind == "bash":
            for words in _commands(snippet.text):
                for form in _forms(words):
                    yield Line(snippet=snippet, words=tuple(form))


def _commands(text: str) -> Iterator[list[str]]:
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        for part in re.split(r"\s&&\s", line):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0].rpartition("/")[2] == PROGRAM:
                yield _before_a_file(words[1:])


def _before_a_file(words: list[str]) -> list[str]:
    ends = [place for place, word in enumerate(words) if word in {">", ">>"}]
    return words[: ends[0]] if ends else words


def _forms(words: list[str]) -> Iterator[list[str]]:
    """`show A | remove B` and `pause|resume` are two commands, `[--json]` one more."""
    for place, word in enumerate(words):
        if word == "|":
            path = _path(words)
            rest = words[place + 1 :]
            before = path if rest[0].startswith("-") else path[:-1]
            yield from _forms(words[:place])
            yield from _forms([*before, *rest])
            return
        if re.fullmatch(r"[a-z]+(\|[a-z]+)+", word):
            for each in word.split("|"):
                yield from _forms([*words[:place], each, *words[place + 1 :]])
            return
        if word.startswith("["):
            end = next(at for at in range(place, len(words)) if words[at].endswith("]"))
            optional = " ".join(words[place : end + 1]).strip("[]").split()
            yield from _forms([*words[:place], *words[end + 1 :]])
            yield from _forms([*words[:place], *optional, *words[end + 1 :]])
            return
    yield words


@cache
def _groups() -> set[tuple[str, ...]]:
    """The commands that have others below them."""
    found: set[tuple[str, ...]] = set()

    def look(command: object, path: tuple[str, ...]) -> None:
        below = getattr(command, "commands", None)
        if below is not None:
            found.add(path)
            for name, each in below.items():
                look(each, (*path, name))

    look(typer.main.get_command(app), ())
    return found


def _path(words: list[str]) -> list[str]:
    """The words that name the command."""
    length = 0
    while tuple(words[:length]) in _groups():
        length += 1
    return words[:length]
