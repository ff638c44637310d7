"""The message: a Celery protocol-2 task in kombu's envelope, built and read.

A message is a hint, whatever the length of the workflow: `args = [{"v": 1, "runs": [[run id,
epoch], …]}]`. It carries no inputs, no outputs and no secrets.

    envelope (JSON on the Redis list)
      headers      task, id = hop, root_id = run, parent_id = previous hop, shadow = step label
      properties   delivery_info, delivery_tag, correlation_id, priority
      body         base64 of JSON [args, kwargs, embed]
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from orchestrator.ports import Hint, Hop

MESSAGE_VERSION = 1
MAX_RUNS_PER_MESSAGE = 1_000

_EMBED: dict[str, None] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class ForeignMessage(Exception):
    """Not a hint that this worker understands; `reason` is one of few, for counting."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def hint_args(*runs: tuple[str, int | str]) -> list[dict[str, Any]]:
    """The positional arguments of a hint."""
    return [{"v": MESSAGE_VERSION, "runs": [list(run) for run in runs]}]


def args_repr(*runs: tuple[str, int | str]) -> str:
    """What watchers show as the arguments."""
    return f"[{', '.join(f'{run_id} @ {epoch}' for run_id, epoch in runs)}]"


def envelope(hint: Hint, *, origin: str) -> bytes:
    """The bytes that kombu's producer would push for this hint (a test compares them)."""
    run_id, hop_id, parent_id = hint.run_id, hint.hop_id, hint.parent_hop_id
    mould = _mould(hint.task, hint.label, hint.queue, origin)
    if mould is None or not _is_plain(f"{run_id}{hop_id}{parent_id}"):
        return _written(hint, origin)
    body_mould, message_mould = mould
    body = b64encode((body_mould % (run_id, hint.epoch)).encode()).decode()
    parent = "null" if parent_id is None else f'"{parent_id}"'
    # In the order in which the message names them.
    places = body, hop_id, run_id, parent, run_id, hint.epoch, hop_id, hop_id
    return (message_mould % places).encode()


# Stand-ins, of the range that Unicode leaves to private use.
_RUN, _HOP, _PARENT, _EPOCH, _BODY = "\ue000", "\ue001", "\ue002", "\ue003", "\ue004"
_IN_BODY = (_RUN, _EPOCH)
_IN_MESSAGE = (_BODY, _HOP, _RUN, _PARENT, _RUN, _EPOCH, _HOP, _HOP)


@lru_cache(maxsize=4096)
def _mould(task: str, label: str, queue: str, origin: str) -> tuple[str, str] | None:
    """Body and message with `%s` for what differs between two hints of one link.

    None where the names themselves hold a stand-in, or stand-ins are not where they should be.
    """
    hint = Hint(
        run_id=_RUN, epoch=0, hop_id=_HOP, parent_hop_id=_PARENT, label=label, task=task,
        queue=queue,
    )  # fmt: skip
    body = orjson.dumps(_body(_RUN, _EPOCH)).decode()
    message = orjson.dumps(_message(hint, origin, body=_BODY, shown=args_repr((_RUN, _EPOCH))))
    moulds = _with_gaps(body, _IN_BODY), _with_gaps(message.decode(), _IN_MESSAGE)
    return None if moulds[0] is None or moulds[1] is None else (moulds[0], moulds[1])


def _with_gaps(text: str, wanted: tuple[str, ...]) -> str | None:
    """`%s` for each stand-in, which have to be these in this order."""
    if tuple(sign for sign in text if _RUN <= sign <= _BODY) != wanted:
        return None
    text = text.replace("%", "%%")
    for bare in (f'"{_PARENT}"', f'"{_EPOCH}"'):  # not always text: may be null, is a number
        text = text.replace(bare, "%s")
    return re.sub(f"[{_RUN}-{_BODY}]", "%s", text)


def _is_plain(ids: str) -> bool:
    """Whether they stand in JSON as they are."""
    return ids.isascii() and ids.isprintable() and '"' not in ids and "\\" not in ids


def _written(hint: Hint, origin: str) -> bytes:
    body = orjson.dumps(_body(hint.run_id, hint.epoch))
    shown = args_repr((hint.run_id, hint.epoch))
    return orjson.dumps(_message(hint, origin, body=b64encode(body).decode("ascii"), shown=shown))


def _body(run_id: str, epoch: int | str) -> list[Any]:
    return [hint_args((run_id, epoch)), {}, _EMBED]


def _message(hint: Hint, origin: str, *, body: str, shown: str) -> dict[str, Any]:
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": _headers(hint, origin, shown),
        "properties": properties(hint.hop_id, hint.queue),
    }


def _headers(hint: Hint, origin: str, shown: str) -> dict[str, Any]:
    return {
        "lang": "py",
        "task": hint.task,
        "id": hint.hop_id,
        "shadow": hint.label,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": hint.run_id,
        "parent_id": hint.parent_hop_id,
        "argsrepr": shown,
        "kwargsrepr": "{}",
        "origin": origin,
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }


def properties(message_id: str, queue: str) -> dict[str, Any]:
    """Message properties for the default exchange, whose routing key is the queue's name.

    The id is also the delivery tag: it is as unique as the random one kombu would draw.
    """
    return {
        "correlation_id": message_id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": message_id,
    }


def read_runs(args: object) -> tuple[tuple[str, int], ...]:
    """The (run id, epoch) pairs of a hint's arguments. Raises ForeignMessage."""
    if not (isinstance(args, list | tuple) and len(args) == 1 and isinstance(args[0], dict)):
        raise ForeignMessage("malformed", "arguments are not one object")
    hint = args[0]
    if hint.get("v") != MESSAGE_VERSION:
        raise ForeignMessage(
            "foreign version", f"found {hint.get('v')!r}, wanted {MESSAGE_VERSION}"
        )
    runs = hint.get("runs")
    if not isinstance(runs, list) or not 1 <= len(runs) <= MAX_RUNS_PER_MESSAGE:
        raise ForeignMessage("malformed", f"wanted 1 to {MAX_RUNS_PER_MESSAGE} runs")
    return tuple([_read_run(run) for run in runs])


def _read_run(run: object) -> tuple[str, int]:
    if isinstance(run, list) and len(run) == 2:
        run_id, epoch = run
        if isinstance(run_id, str) and isinstance(epoch, int) and not isinstance(epoch, bool):
            return run_id, epoch
    raise ForeignMessage("malformed", "a run is not [id, epoch]")


def hop_of(headers: Mapping[str, Any], args: object, delivery_info: Mapping[str, Any]) -> Hop:
    """The hop of a message with these headers and decoded arguments. Raises ForeignMessage."""
    task = headers["task"]
    return Hop(
        hop_id=headers["id"],
        parent_hop_id=headers.get("parent_id"),
        runs=read_runs(args),
        label=headers.get("shadow") or task,
        task=task,
        queue=delivery_info.get("routing_key") or "",
    )
