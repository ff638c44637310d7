"""The blocks of code of the pages, and what each of them is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    page
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "decisions" not in page.parts and "reference" not in page.parts
)
PROGRAMS = {
    "orchestrator", "make", "pip", "curl", "export", "celery", "cd", "python", "mkdir", "docker",
    "pytest", "valkey-server", "pg_dump", "psql", "sqlite3", "for", ".", "kill", "sleep", "git",
    "createdb", "cp",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """One block. `kind` is bash, yaml, python, json, mermaid, text or plain."""

    page: str
    line: int
    kind: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def snippets() -> tuple[Snippet, ...]:
    """All of them, page by page."""
    return tuple(each for page in PAGES for each in _of(page))


def _of(page: Path) -> Iterator[Snippet]:
    for token in MarkdownIt("commonmark").parse(page.read_text("utf-8")):
        if token.type in {"fence", "code_block"}:
            language, _, rest = token.info.partition(" ")
            title = re.search(r'title="([^"]*)"', rest)
            yield Snippet(
                page=str(page.relative_to(ROOT)),
                line=token.map[0] + 1 if token.map else 0,
                kind=language or _guessed(token.content),
                title=title[1] if title else "",
                text=token.content,
            )


def _guessed(text: str) -> str:
    """What a block without a language is."""
    first = next((line for line in text.splitlines() if not line.startswith("#")), "")
    word = first.split(" ", 1)[0]
    if word in PROGRAMS or re.match(r"[A-Z_]+=\S+(\s+(celery|orchestrator|make)\b|$)", first):
        return "bash"
    if first.startswith("{"):
        return "json"
    if re.match(r"(from|import|for|with|async) .*", first):
        return "python"
    if re.match(r"[\w\"*-]+:( |$)", first):
        return "yaml"
    return "plain"


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of a program, comments and what follows a pipe left out."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        for part in re.split(r"\s(?:&&|do|\|\|)\s|;\s|\$\(", line):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:  # half of a quoted text, which a split has taken apart
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0] == program:
                yield _until_pipe(words[1:])


def _until_pipe(words: list[str]) -> list[str]:
    for index, word in enumerate(words):
        if word in {"|", ">", ">>", "&", "2>&1", "<"}:
            return words[:index]
    return words
