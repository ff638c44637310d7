"""Regular expressions of documents, in time linear in the text (RE2).

A pattern is somebody's and its text an API's, so that one with catastrophic backtracking would
stop a worker. A time limit instead would make a replay differ from the run.
"""

from __future__ import annotations

from collections.abc import Callable

import re2

from orchestrator.definitions.problems import ExpressionError

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # they are raised, and belong into no worker's log


def compile_pattern(pattern: str, *, whole: bool = False) -> Callable[[str], bool]:
    """Whether a text has a match, or as a `whole` is one. Raises ExpressionError."""
    try:
        compiled = re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else "it cannot be read"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        wanted = "a regular expression without look-around and back-references (RE2's syntax)"
        raise ExpressionError(f"{pattern!r}: {reason}", wanted) from None
    except UnicodeEncodeError:
        raise ExpressionError("a lone surrogate", "text that UTF-8 can hold") from None
    match = compiled.fullmatch if whole else compiled.search
    # A lone surrogate can come in an API's JSON; to a pattern it is a "?".
    return lambda text: match(text if text.isascii() else _encodable(text)) is not None


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
