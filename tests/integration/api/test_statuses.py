"""The document says what can happen, and nothing else: every status of every operation comes about.

How to add a route: see `operations.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ports import Role
from orchestrator.settings import Settings
from orchestrator.store.engine import Database
from tests.integration.api.conftest import Face, face_of
from tests.integration.api.documented import Documented, documented
from tests.integration.api.operations import OPERATIONS, Ask, send

BY_DATABASE = (429, 503)
ASKED_BY_THE_KEY_ALONE = {"showMe", "submitRuns", "showMetrics"}
"""They need the database to know a key alone (or tell what is wrong in their answer)."""


def test_every_operation_has_an_entry(openapi: list[Documented]) -> None:
    assert {each.id for each in openapi} == set(OPERATIONS)


async def test_each_documented_status_comes_about(face: Face) -> None:
    admin, nobody = await face.asker(Role.ADMIN), face.client()
    unlike: list[str] = []
    for operation in documented(face.app.openapi()):
        for status in sorted(operation.statuses - {403, *BY_DATABASE}):
            ask = await asked(face, operation, status)
            if ask is None:
                unlike.append(f"{operation.id}: nothing provokes {status}")
                continue
            answer = await send(nobody if status == 401 else admin, operation, ask)
            if answer.status_code != status:
                found = f"{answer.status_code} {answer.text[:300]}"
                unlike.append(f"{operation.id}: found {found}, wanted {status}")
        more = OPERATIONS[operation.id].provoked.keys() - operation.statuses
        unlike += [f"{operation.id}: {status} is not documented" for status in more]
    assert not unlike, "\n".join(unlike)


async def asked(face: Face, operation: Documented, status: int) -> Ask | None:
    """What provokes this status; None: nobody has said."""
    entry = OPERATIONS[operation.id]
    arrange = entry.provoked.get(status)
    if arrange is not None:
        return await arrange(face)
    change = OF_FORM.get(status)
    if change is None:
        return None
    success = await entry.provoked[entry.success](face)
    return change(operation, success)


def _nobodys(operation: Documented, ask: Ask) -> Ask:
    return dataclasses.replace(ask, ids={})


def _not_json(operation: Documented, ask: Ask) -> Ask:
    return dataclasses.replace(ask, body=b"{", headers=JSON)


def _too_large(operation: Documented, ask: Ask) -> Ask:
    return dataclasses.replace(ask, body=b'{"x": "' + b"x" * 100_000 + b'"}')


def _not_valid(operation: Documented, ask: Ask) -> Ask:
    """Something odd at the first place that there is: the path, the query, the body."""
    odd = "\x00" * 300
    if operation.names:
        return dataclasses.replace(ask, ids=dict.fromkeys(operation.names, odd))
    if operation.takes_json:
        return dataclasses.replace(ask, body=["odd"])
    return dataclasses.replace(ask, params=dict.fromkeys(operation.query, odd))


def _with_match(tag: str | None) -> Callable[[Documented, Ask], Ask]:
    headers = {} if tag is None else {"if-match": tag}
    return lambda _, ask: dataclasses.replace(ask, headers=headers)


JSON = {"content-type": "application/json", "if-match": "*"}
OF_FORM: dict[int, Callable[[Documented, Ask], Ask]] = {
    400: _not_json, 401: lambda _, ask: ask, 404: _nobodys, 412: _with_match('"another"'),
    413: _too_large, 422: _not_valid, 428: _with_match(None),
}  # fmt: skip


async def test_without_keys_whoever_comes_from_elsewhere_is_refused(open_face: Face) -> None:
    stranger = open_face.client(origin="https://evil.example")
    for operation in documented(open_face.app.openapi()):
        answer = await send(stranger, operation, Ask())
        assert (answer.status_code, 403 in operation.statuses) == (403, True), operation


@pytest.mark.parametrize("status", BY_DATABASE)
async def test_a_database_that_is_busy_or_away_is_said(settings: Settings, status: int) -> None:
    async with face_of(settings, wants_keys=True) as face, AsyncExitStack() as stack:
        operations = documented(face.app.openapi())
        known, unknown = await face.asker(Role.ADMIN), await face.asker(Role.ADMIN)
        asks = {
            each.id: await asked(face, each, OPERATIONS[each.id].success) for each in operations
        }
        assert (await known.get("/v1/me")).status_code == 200
        database = face.services.runs._store._database
        await (_busy if status == 429 else _away)(database, stack)
        for operation in operations:
            client = unknown if operation.id in ASKED_BY_THE_KEY_ALONE else known
            answer = await send(client, operation, asks[operation.id] or Ask())
            if status in operation.statuses:
                assert answer.status_code == status, (operation, answer.text)
                assert int(answer.headers["retry-after"]) >= 1
            else:
                assert answer.status_code == 200, operation


async def _busy(database: Database, stack: AsyncExitStack) -> None:
    """All connections that there may be are in use, and nobody waits for one."""
    pool: Any = database.direct.sync_engine.pool
    pool._timeout = 0.0
    for _ in range(2 * pool.size()):
        await stack.enter_async_context(database.direct.connect())


async def _away(database: Database, stack: AsyncExitStack) -> None:
    """Where its file was, there is a folder."""
    await database.disconnect()
    _replace_by_a_folder(Path(str(database.url.database)))


def _replace_by_a_folder(file: Path) -> None:
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()
    file.mkdir()
