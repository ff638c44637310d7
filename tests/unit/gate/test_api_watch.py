"""The watcher of one worker: what it takes over, and what it says about the rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from orchestrator.engine import api_watch
from orchestrator.engine.api_book import ApiBook
from orchestrator.engine.api_files import ApiFolder
from orchestrator.engine.api_watch import ApiWatch
from orchestrator.engine.apis import ApiConfig
from orchestrator.errors import Unavailable
from orchestrator.ports import HOLD, ApiChangeKind, ApiSetting, NewApiChange
from orchestrator.testing.memory.store import MemoryStore
from orchestrator.testing.memory.tables import MemoryDatabase


class Watched:
    """A watcher with all that it watches."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "shop.yaml"
        self.store = MemoryStore(MemoryDatabase(lambda: datetime.now(UTC)))
        self.files, self.book = ApiFolder(folder), ApiBook()
        self.watch = ApiWatch(self.files, self.store, self.book, every_seconds=0.1)
        self.told: list[str] = []
        self.book.subscribe(self.told.append)

    @property
    def shop(self) -> ApiConfig:
        return self.book.now("shop")

    async def change(self, version: int, values: Mapping[str, object]) -> None:
        await self.store.change_api(
            NewApiChange(
                api="shop", expected_version=version, kind=ApiChangeKind.SET, by="ada",
                reason="test", before={}, after={},
                settings={
                    name: ApiSetting(value=value, change=1) for name, value in values.items()
                },
            )
        )  # fmt: skip


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(api_watch, "SETTLE_SECONDS", 0.0)
    # One that has been used keeps the processors that it found then.
    monkeypatch.setattr(api_watch, "log", structlog.get_logger())
    return Watched(tmp_path)


async def test_files_and_overrides_are_taken_over(watched: Watched) -> None:
    assert await watched.watch.look() == []
    watched.path.write_text("concurrency: 3\n")
    assert await watched.watch.look() == ["shop"]
    assert watched.shop.concurrency == 3
    await watched.change(0, {"concurrency": 5, HOLD: True})
    assert await watched.watch.look() == ["shop"]
    assert (watched.shop.concurrency, watched.shop.held) == (5, True)
    await watched.change(1, {})
    await watched.watch.look()
    assert (watched.shop.concurrency, watched.shop.held) == (3, False)
    assert await watched.watch.look() == []
    assert watched.told == ["shop"] * 3


async def test_what_is_broken_is_said_once_for_each_content(watched: Watched) -> None:
    watched.path.write_text("concurrency: 3\n")
    await watched.watch.look()
    for content, said in (
        ("concurrency: x\n", 1),
        ("concurrency: x\n", 0),
        ("concurrency: y\n", 1),
    ):
        watched.path.write_text(content)
        with capture_logs() as logs:
            await watched.watch.look()
        errors = [line for line in logs if line["log_level"] == "error"]
        assert len(errors) == said
        assert all(line["place"] == f"{watched.path}:1: concurrency" for line in errors)
        assert watched.shop.concurrency == 3


async def test_a_file_that_is_gone_is_said_once(watched: Watched) -> None:
    watched.path.write_text("concurrency: 3\n")
    await watched.watch.look()
    watched.path.unlink()
    for said in (1, 0):
        with capture_logs() as logs:
            await watched.watch.look()
        assert [line["event"] for line in logs] == ["api.file_missing"] * said
        assert watched.shop.concurrency == 3


async def test_a_file_that_is_being_written_is_waited_for(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.path.write_text("rate: 5/second\nconcurrency: 3\n")
    await watched.watch.look()
    contents = iter([b"rate: 5/second\n", b"rate: 5/second\nconcurrency: 4\n"])

    def half_written() -> dict[Path, bytes]:
        return {watched.path: next(contents)}

    with monkeypatch.context() as patched:
        patched.setattr(watched.files, "read", half_written)
        assert await watched.watch.look() == []
    assert watched.shop.concurrency == 3


async def test_files_are_taken_over_while_the_database_is_away(watched: Watched) -> None:
    watched.path.write_text("concurrency: 3\n")
    await watched.change(0, {"rate": "5/second"})
    await watched.watch.look()

    def away(*_: str) -> None:
        raise Unavailable("database", "here", "gone")

    watched.store.line = away
    watched.path.write_text("concurrency: 4\n")
    with pytest.raises(Unavailable):
        await watched.watch.look()
    assert watched.shop.concurrency == 4
    assert watched.shop.rates, "overrides that were known hold on"
