"""Structured logs: JSON lines for machines, colours for a terminal, the same fields in both.

The product logs through structlog straight to the stream. Libraries (Celery, kombu, SQLAlchemy)
log through `logging`; a handler on its root renders them with the same processors, so a worker's
output is JSON on every line. `run_id`, `step`, `tenant`, `attempt` and `direction` come from
context variables: bind them once where a run or a step begins, and every line below has them,
also those of libraries.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import Processor

from orchestrator.telemetry.redact import hide_secrets

# At INFO these say a line for each request, message or connection.
_QUIET_LIBRARIES = (
    "aiohttp.access",
    "aiosqlite",
    "alembic.runtime.plugins",
    "amqp",
    "asyncio",
    "httpcore",
    "httpx",
    "kombu",
)


def configure_logging(
    *, level: str = "INFO", log_format: str | None = None, stream: TextIO | None = None
) -> None:
    """Set up structlog and `logging` for this process; call it once, early.

    `log_format` is "json", "console", or None: JSON unless the stream is a terminal. Replaces
    the root logger's handlers.
    """
    out = stream or sys.stderr
    as_json = not out.isatty() if log_format is None else log_format == "json"
    number = logging.getLevelNamesMapping()[level.upper()]
    _configure_structlog(as_json, number, out)
    _configure_stdlib(as_json, number, out)


@contextmanager
def bound_run(*, run_id: str, workflow: str, tenant: str) -> Iterator[None]:
    """Every log line inside names this run."""
    with structlog.contextvars.bound_contextvars(run_id=run_id, workflow=workflow, tenant=tenant):
        yield


@contextmanager
def bound_step(*, step: str, attempt: int, direction: str) -> Iterator[None]:
    """Every log line inside names this attempt; use inside `bound_run`."""
    with structlog.contextvars.bound_contextvars(step=step, attempt=attempt, direction=direction):
        yield


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        _with_span,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # As text: the structured form would carry local variables, and secrets with them.
        structlog.processors.format_exc_info,
        hide_secrets,
    ]


def _with_span(
    logger: Any, method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The span at hand is bound as something that knows its id (`engine.traces`)."""
    span = event_dict.get("span_id")
    if span is not None and not isinstance(span, str):
        event_dict["span_id"] = str(span)
    return event_dict


def _configure_structlog(as_json: bool, level: int, out: TextIO) -> None:
    structlog.configure(
        processors=[*_shared_processors(), *_final(as_json, out)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def _configure_stdlib(as_json: bool, level: int, out: TextIO) -> None:
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.PositionalArgumentsFormatter(),
                *_shared_processors(),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_final(as_json, out),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _final(as_json: bool, out: TextIO) -> list[Processor]:
    if as_json:
        return [structlog.processors.JSONRenderer(serializer=_dumps)]
    return [
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]


def _dumps(value: Any, **_options: Any) -> str:
    """One line; what JSON has no form for becomes its text rather than losing the line."""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
