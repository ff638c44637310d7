"""A page of the console as a browser follows it: what comes over its socket once it is open.

NiceGUI's socket speaks Socket.IO 5 over Engine.IO 4: `0` opens, `40` joins, `2` is a ping that
wants a `3`, `42[name, content]` an event. https://socket.io/docs/v4/socket-io-protocol/
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from urllib.parse import urlencode

import aiohttp

SOCKET = "/console/_nicegui_ws/socket.io/"
WITHIN_SECONDS = 60.0
_CLIENT = re.compile(r"client_id['\"]?\s*:\s*['\"]([0-9a-f-]+)")


def followed(base: str, page: str, act: Callable[[], object], until: Callable[[str], bool]) -> str:
    """All events of a page while somebody acts, until what has come satisfies."""
    return asyncio.run(_followed(base, page, act, until))


async def _followed(
    base: str, page: str, act: Callable[[], object], until: Callable[[str], bool]
) -> str:
    async with aiohttp.ClientSession(base) as session:
        async with session.get(page) as answer:
            found = _CLIENT.search(await answer.text())
        assert found is not None, f"{page} has no socket"
        query = {
            "EIO": "4", "transport": "websocket", "client_id": found[1], "tab_id": "one",
            "document_id": "one", "next_message_id": "0", "implicit_handshake": "true",
        }  # fmt: skip
        async with session.ws_connect(f"{SOCKET}?{urlencode(query)}") as socket:
            await socket.receive_str()
            await socket.send_str("40")
            joined = await socket.receive_str()
            assert joined.startswith("40"), joined
            acting = asyncio.create_task(asyncio.to_thread(act))
            try:
                async with asyncio.timeout(WITHIN_SECONDS):
                    return await _heard(socket, until)
            finally:
                await acting


async def _heard(socket: aiohttp.ClientWebSocketResponse, until: Callable[[str], bool]) -> str:
    heard = ""
    while not until(heard):
        said = await socket.receive_str()
        if said == "2":
            await socket.send_str("3")
        elif said.startswith("42"):
            heard += said
    return heard
