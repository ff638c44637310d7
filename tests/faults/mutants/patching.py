"""Ways to break the product for a while: attributes, functions under all their names, SQL text.

Each is a context manager that puts back what it found, and each raises LookupError when what it is
to break is not there any more, so that no planted fault can go out of date in silence.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from orchestrator.store.dialect import Dialect

_strikes = 0


def strike() -> None:
    """Note that a fault has just made a difference."""
    global _strikes  # noqa: PLW0603 - one simulation at a time in a process
    _strikes += 1


def strikes() -> int:
    """How often that has happened in this process."""
    return _strikes


@contextmanager
def replaced(owner: Any, name: str, new: Any) -> Iterator[None]:
    """Another value for an attribute of a class or module."""
    if name not in vars(owner):
        raise LookupError(f"{owner.__name__}.{name}: found nothing; wanted something to break")
    old = vars(owner)[name]
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, old)


@contextmanager
def wrapped(owner: Any, name: str, around: Callable[[Any], Any]) -> Iterator[None]:
    """`around(original)` instead of a function or method."""
    if name not in vars(owner):
        raise LookupError(f"{owner.__name__}.{name}: found nothing; wanted something to break")
    with replaced(owner, name, around(vars(owner)[name])):
        yield


@contextmanager
def everywhere(original: Any, new: Any) -> Iterator[None]:
    """Another function under every name by which the product's modules have imported it."""
    places = [
        (module, name)
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("orchestrator.")
        for name, value in vars(module).items()
        if value is original
    ]
    if not places:
        raise LookupError(f"{original}: found nowhere; wanted a function of the product")
    with ExitStack() as stack:
        for module, name in places:
            stack.enter_context(replaced(module, name, new))
        yield


_rewritten: list[list[str]] = []  # of each `sql` that is in force: the statements it changed


def idle_rewrites() -> int:
    """How many of the `sql` in force have changed no statement of the stores made since."""
    return sum(not statements for statements in _rewritten)


@contextmanager
def sql(found: str, instead: str) -> Iterator[None]:
    """Other text in every statement that a store makes meanwhile."""
    statements: list[str] = []

    def change(text: str) -> str:
        if found not in text:
            return text
        statements.append(text)
        return text.replace(found, instead)

    plain, bulk = Dialect.sql, Dialect.bulk

    def spoilt_sql(self: Dialect, template: str, **more: str) -> Any:
        return plain(self, change(template), **more)

    def spoilt_bulk(self: Dialect, columns: Any, head: str, **more: Any) -> Any:
        clauses = {name: change(text) for name, text in more.items()}
        return bulk(self, columns, change(head), **clauses)

    _rewritten.append(statements)
    try:
        with replaced(Dialect, "sql", spoilt_sql), replaced(Dialect, "bulk", spoilt_bulk):
            yield
    finally:
        _rewritten.remove(statements)
