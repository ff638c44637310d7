"""What this process knows to be secret, kept out of its logs and of all that it tells.

What is hidden and why stands in `core.redaction`. Here is what one process adds: the credentials
it has read (`remember`), what its settings say (`configure`), and, while it drives a run, that
run's secrets (`of_run`). They are the process's own because logging is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from orchestrator.core.redaction import (
    HIDDEN,
    SHORTEST,
    USUAL,
    Known,
    Rules,
    hidden_in_text,
    is_secret_name,
    path_of,
)

__all__ = [
    "HIDDEN", "address_of", "configure", "hidden", "hidden_text", "hide_secrets", "is_secret_name",
    "know", "know_texts", "of_run", "remember", "rules", "rules_of_process",
]  # fmt: skip

MOST_REMEMBERED = 500
"""Credentials and tokens; of more, the ones that were read the longest ago are forgotten."""


@dataclass(slots=True)
class _Knowledge:
    """Of this process."""

    rules: Rules = USUAL
    remembered: OrderedDict[str, None] = field(default_factory=OrderedDict)


_process = _Knowledge()
_of_this_run: ContextVar[Rules] = ContextVar("secrets_of_run", default=USUAL)


def configure(*, names: Iterable[str] = (), paths: Iterable[str] = ()) -> None:
    """Hide these names and places (JSON pointers) as well. Raises ValueError."""
    _process.rules = replace(
        _process.rules, names=frozenset(name.lower() for name in names),
        paths=tuple(path_of(path) for path in paths),
    )  # fmt: skip


def remember(secret: str) -> str:
    """A credential that was read: from now on it is hidden in whatever this process tells."""
    if len(secret) < SHORTEST:
        return secret
    remembered = _process.remembered
    if secret in remembered:
        remembered.move_to_end(secret)
        return secret
    remembered[secret] = None
    if len(remembered) > MOST_REMEMBERED:
        remembered.popitem(last=False)
    _process.rules = replace(_process.rules, known=Known.of(tuple(remembered)))
    return secret


@contextmanager
def of_run() -> Iterator[None]:
    """What `know` is told inside is forgotten behind it."""
    token = _of_this_run.set(USUAL)
    try:
        yield
    finally:
        _of_this_run.reset(token)


def know(more: Rules) -> None:
    """What is secret of the run at hand: hidden in all that is told from here on, in `of_run`."""
    if more != USUAL:
        _of_this_run.set(_of_this_run.get() | more)


def know_texts(texts: Iterable[str]) -> None:
    """The same of single texts."""
    known = Known.of(texts)
    if known.forms:
        know(Rules(known=known))


def rules() -> Rules:
    """All that is to be hidden here and now."""
    of_this_run = _of_this_run.get()
    return _process.rules if of_this_run is USUAL else _process.rules | of_this_run


def rules_of_process() -> Rules:
    """What is hidden whatever the run: credentials that were read, and what settings say."""
    return _process.rules


def hidden_text(text: str) -> str:
    """A text as it may be told or kept."""
    text = _of_this_run.get().known.hidden_in(text)
    return hidden_in_text(_process.rules.known.hidden_in(text))


def hidden(value: Any) -> Any:
    """A JSON value as it may be told or kept."""
    return rules().value(value)


def hide_secrets(
    logger: Any, method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: nothing that is secret stands in a line of the log."""
    now = rules()
    for name, value in event_dict.items():
        if name.startswith("_"):  # of structlog's own, such as the record
            continue
        if now.is_secret(name):
            event_dict[name] = HIDDEN
        elif isinstance(value, str):
            event_dict[name] = hidden_text(value)
        elif isinstance(value, BaseException):
            event_dict[name] = hidden_text(f"{type(value).__name__}: {value}")
        elif isinstance(value, dict | list | tuple):
            event_dict[name] = now.value(value)
    return event_dict


def address_of(url: str) -> str:
    """An address for people: no user, password or query."""
    parts = urlsplit(url)
    if not parts.scheme:
        return hidden_in_text(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
