"""What a process writes down of the calls it made, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from orchestrator.core.exchange import Outcome, Response
from orchestrator.core.plan import Call, Effects
from orchestrator.core.windows import Window
from orchestrator.engine.observing import SHAPED, Observer
from orchestrator.errors import Unavailable
from orchestrator.ports.api_windows import ApiWindow

PAY = Call(
    label="shop.pay", api="bank", effects=Effects.KEYED,
    template={"kind": "http", "method": "POST", "path": "/pay/{id}"},
)  # fmt: skip
TASK = Call(label="t", api="tasks", effects=Effects.NONE, template={"kind": "task"})


class Books:
    """Keeps what is written, when it can; stands in for the writing half of the port."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, datetime], ApiWindow] = {}
        self.writes = 0
        self.away = False

    async def write_api_windows(self, windows: Sequence[ApiWindow]) -> None:
        if self.away:
            raise Unavailable("database", "here", "away")
        self.writes += 1
        for each in windows:
            calls = each.window.calls
            self.rows[each.operation, each.began] = each
            assert calls

    async def api_windows(self, *, seconds: float, api: str | None = None) -> list[ApiWindow]:
        return list(self.rows.values())

    async def merge_api_windows(self, *, older_than_seconds: float, keep_seconds: float) -> int:
        return 0

    def calls(self) -> list[int]:
        return [each.window.calls for each in self.rows.values()]


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, 12, 3, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observer(books: Books, clock: Clock) -> Observer:
    return Observer(books, worker="w", now=clock)


def call(observer: Observer, call: Call = PAY, status: int = 200) -> None:
    observer.called(call, Outcome.LANDED, Response(status=status), 0.1, 0.0)


async def test_a_record_is_written_whole_and_only_when_it_has_changed(
    observer: Observer, books: Books
) -> None:
    call(observer)
    await observer.write()
    await observer.write()
    assert (books.writes, books.calls()) == (1, [1])
    call(observer)
    await observer.write()
    assert (books.writes, books.calls()) == (2, [2])
    [record] = books.rows.values()
    assert (record.operation, record.began.minute) == ("POST /pay/{id}", 0)


async def test_functions_are_no_api_and_nothing_is_written_of_nothing(
    observer: Observer, books: Books
) -> None:
    call(observer, TASK)
    await observer.write()
    assert books.writes == 0


async def test_a_new_window_begins_and_the_one_before_is_kept(
    observer: Observer, books: Books, clock: Clock
) -> None:
    call(observer)
    clock.at += timedelta(minutes=5)
    await observer.write()
    call(observer)
    call(observer)
    await observer.write()
    assert {at.minute: each.window.calls for (_, at), each in books.rows.items()} == {0: 1, 5: 2}


async def test_what_the_database_could_not_take_is_written_later(
    observer: Observer, books: Books, clock: Clock
) -> None:
    books.away = True
    call(observer)
    with pytest.raises(Unavailable):
        await observer.write()
    clock.at += timedelta(minutes=5)
    with pytest.raises(Unavailable):
        await observer.write()
    call(observer)
    books.away = False
    await observer.write()
    assert {at.minute: each.window.calls for (_, at), each in books.rows.items()} == {0: 1, 5: 1}


async def test_of_the_first_answers_the_fields_are_kept(observer: Observer, books: Books) -> None:
    json = {"content-type": "application/json; charset=utf-8"}
    for number in range(SHAPED + 5):
        body = b'{"id": "a", "n": %d}' % number
        response = Response(status=200, headers=json, body=body)
        observer.called(PAY, Outcome.LANDED, response, 0.1, 0.0)
    text = Response(status=201, headers={"content-type": "text/plain"}, body=b"hello")
    broken = Response(status=202, headers=json, body=b"{")
    for response in (text, broken):
        observer.called(PAY, Outcome.LANDED, response, 0.1, 0.0)
    await observer.write()
    [record] = books.rows.values()
    window = Window.of_json(
        record.window.calls, 0, 0, orjson.loads(
            orjson.dumps(record.window.as_json(), option=orjson.OPT_NON_STR_KEYS)
        )
    )  # fmt: skip
    assert window.shapes[200] == {
        "": {"object": SHAPED}, "/id": {"string": SHAPED}, "/n": {"integer": SHAPED},
    }  # fmt: skip
    assert not window.shapes.get(201)
    assert not window.shapes.get(202)
