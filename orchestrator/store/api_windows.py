"""What all workers saw of APIs. See ports.api_windows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from orchestrator.core.windows import HOUR_SECONDS, Window
from orchestrator.ports.api_windows import MERGED, ApiWindow
from orchestrator.store.codec import dump_batch, instant
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx

AT_ONCE = timedelta(days=1)
"""Of what is merged in one transaction."""
_COLUMNS = "api, operation, began, worker, calls, failed, throttled, told"


class ApiWindows(Part):
    """Implements ports.api_windows.ApiWindowStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        batch = self._dialect.batch({
            "api": "text", "operation": "text", "began": "time", "worker": "text",
            "calls": "int", "failed": "int", "throttled": "int", "told": "text",
        })  # fmt: skip
        # In one order, lest two that merge the same hour wait for each other.
        self._write = self._sql(
            f"INSERT INTO api_windows ({_COLUMNS}) SELECT b.api, b.operation, b.began, b.worker,"
            f" b.calls, b.failed, b.throttled, b.told FROM {batch} AS b WHERE true"
            " ORDER BY b.api, b.operation, b.began, b.worker"
            " ON CONFLICT (api, operation, began, worker) DO UPDATE SET calls = excluded.calls,"
            " failed = excluded.failed, throttled = excluded.throttled, told = excluded.told"
        )
        earlier = self._dialect.later("{now}", "CAST(:seconds AS {real})")
        read = f"SELECT {_COLUMNS} FROM api_windows WHERE began >= {earlier}"
        self._all = self._sql(f"{read} ORDER BY began")
        self._of_api = self._sql(f"{read} AND api = :api ORDER BY began")
        self._clock = self._sql("SELECT {now}")
        self._oldest = self._sql(
            "SELECT MIN(began) FROM api_windows WHERE worker <> :merged AND began < :until"
        )
        # Of two at once, one gets a row, and the other nothing in its place.
        self._take = self._sql(
            f"DELETE FROM api_windows WHERE began >= :since AND began < :until RETURNING {_COLUMNS}"
        )
        self._forget = self._sql(f"DELETE FROM api_windows WHERE began < {earlier}")

    async def write_api_windows(self, windows: Sequence[ApiWindow]) -> None:
        """See ApiWindowStore."""
        rows = dump_batch([self._row(each) for each in windows])

        async def work(tx: Tx) -> None:
            await tx.change(self._write, batch=rows)

        await self._db.write(work)

    async def api_windows(self, *, seconds: float, api: str | None = None) -> list[ApiWindow]:
        """See ApiWindowStore."""
        if api is None:
            rows = await self._db.rows(self._all, seconds=-seconds)
        else:
            rows = await self._db.rows(self._of_api, seconds=-seconds, api=api)
        return [_record(*row) for row in rows]

    async def merge_api_windows(self, *, older_than_seconds: float, keep_seconds: float) -> int:
        """See ApiWindowStore."""
        gone = 0

        async def work(tx: Tx) -> int:
            now = instant((await tx.row(self._clock))[0])
            time = self._dialect.time
            until = _hour(now - timedelta(seconds=older_than_seconds))
            oldest = (await tx.row(self._oldest, merged=MERGED, until=time(until)))[0]
            if oldest is None:
                return 0
            since = _hour(instant(oldest))
            until = min(until, since + AT_ONCE)
            taken = await tx.rows(self._take, since=time(since), until=time(until))
            merged = _merged([_record(*row) for row in taken])
            await tx.change(self._write, batch=dump_batch([self._row(each) for each in merged]))
            return len(taken)

        async def forget(tx: Tx) -> int:
            return await tx.change(self._forget, seconds=-keep_seconds)

        while done := await self._db.write(work):
            gone += done
        return gone + await self._db.write(forget)

    def _row(self, each: ApiWindow) -> list[Any]:
        window = each.window
        told = orjson.dumps(window.as_json(), option=orjson.OPT_NON_STR_KEYS).decode()
        return [
            each.api, each.operation, self._dialect.time(each.began), each.worker,
            window.calls, window.failed, window.throttled, told,
        ]  # fmt: skip


def _record(
    api: str, operation: str, began: Any, worker: str, calls: int, failed: int, throttled: int,
    told: str,
) -> ApiWindow:  # fmt: skip
    window = Window.of_json(calls, failed, throttled, orjson.loads(told))
    return ApiWindow(
        api=api, operation=operation, began=instant(began), worker=worker, window=window
    )


def _hour(at: datetime) -> datetime:
    seconds = int(at.timestamp()) // HOUR_SECONDS * HOUR_SECONDS
    return datetime.fromtimestamp(seconds, UTC)


def _merged(records: Sequence[ApiWindow]) -> list[ApiWindow]:
    """One for each operation and hour."""
    found: dict[tuple[str, str, datetime], Window] = {}
    for each in records:
        at = (each.api, each.operation, _hour(each.began))
        found.setdefault(at, Window()).merge(each.window)
    return [
        ApiWindow(api=api, operation=operation, began=began, worker=MERGED, window=window)
        for (api, operation, began), window in sorted(found.items(), key=lambda item: item[0])
    ]
