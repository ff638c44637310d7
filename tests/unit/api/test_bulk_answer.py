"""Answers to many lines: what stands between may take a begun answer for a read request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest

from orchestrator.api.bulk import Lines


async def _receive() -> MutableMapping[str, Any]:
    raise AssertionError("an answer reads nothing by itself")


async def test_an_answer_begins_when_there_is_something_to_say() -> None:
    sent: list[MutableMapping[str, Any]] = []
    is_read = asyncio.Event()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def content() -> AsyncIterator[bytes]:
        await is_read.wait()
        yield b"one\n"
        yield b"two\n"

    answering = asyncio.create_task(Lines(content())({"type": "http"}, _receive, send))
    for _ in range(3):
        await asyncio.sleep(0)
    assert sent == [], "a proxy gives up a request's rest once its answer has begun"
    is_read.set()
    await answering
    assert [each["type"] for each in sent] == ["http.response.start"] + ["http.response.body"] * 3
    assert b"".join(each.get("body", b"") for each in sent) == b"one\ntwo\n"
    assert [each.get("more_body") for each in sent[1:]] == [True, True, False]


async def test_what_fails_before_is_no_begun_answer() -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def content() -> AsyncIterator[bytes]:
        raise ConnectionError("the client left")
        yield b""

    with pytest.raises(ConnectionError):
        await Lines(content())({"type": "http"}, _receive, send)
    assert sent == []


async def test_nothing_at_all_is_a_whole_answer() -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def content() -> AsyncIterator[bytes]:
        for each in ():
            yield each

    await Lines(content())({"type": "http"}, _receive, send)
    assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]
