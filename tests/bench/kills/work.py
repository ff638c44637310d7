"""What the steps of every peer do at the ledger, in its workers; light, so that workers start soon.

A run has five steps: one whose key the ledger honours, one that one can ask about, one that is
neither (the ledger does it as often as it is asked), and two more with keys. The last one of some
runs is refused for good; then the four before it are undone in reverse, each with a key.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import aiohttp

LEDGER_VARIABLE = "BENCH_LEDGER"
REFUSED = "refused by the ledger"
FLOW = "checkout"
STEPS = ("s1", "s2", "s3", "s4", "s5")
_KEY_HEADER = "Idempotency-Key"
_session: list[aiohttp.ClientSession] = []  # of this process


class Refused(Exception):
    """The ledger never will; it has done nothing."""


async def keyed(run: str, step: str) -> None:
    """Raises Refused, aiohttp.ClientError."""
    await _send("POST", f"/keyed/{run}/{step}", key=f"{run}-{step}-do")


async def asked(run: str, step: str) -> None:
    """Done unless it is done already. Raises Refused, aiohttp.ClientError."""
    if await _send("GET", f"/plain/{run}/{step}/do") == HTTPStatus.NOT_FOUND:
        await _send("POST", f"/plain/{run}/{step}")


async def plain(run: str, step: str) -> None:
    """Done once more each time. Raises Refused, aiohttp.ClientError."""
    await _send("POST", f"/plain/{run}/{step}")


async def undo(run: str, step: str) -> None:
    """Nothing to undo is well, too. Raises Refused, aiohttp.ClientError."""
    await _send("DELETE", f"/keyed/{run}/{step}", key=f"{run}-{step}-undo")


ACTS: dict[str, Callable[[str, str], Awaitable[None]]] = {
    "s1": keyed, "s2": asked, "s3": plain, "s4": keyed, "s5": keyed,
}  # fmt: skip


async def close() -> None:
    """The connections, where a worker ends in good order."""
    while _session:
        await _session.pop().close()


async def _send(method: str, target: str, *, key: str | None = None) -> int:
    """The status: 2xx or 404. Raises Refused, aiohttp.ClientError."""
    if not _session:
        _session.append(aiohttp.ClientSession(os.environ[LEDGER_VARIABLE]))
    headers = {} if key is None else {_KEY_HEADER: key}
    async with _session[0].request(method, target, headers=headers) as answer:
        await answer.read()
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise Refused(REFUSED)
        if answer.status != HTTPStatus.NOT_FOUND:
            answer.raise_for_status()
        return answer.status
