"""The ledger's process: its file outlives it, and tests steer it."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.apis import load_apis
from tests.faults.ledger.book import asked
from tests.faults.ledger.desk import Desk
from tests.faults.ledger.driving import TOKEN, Ledger, http_transport
from tests.faults.ledger.faults import Fate, Fault
from tests.faults.ledger.reading import read_records
from tests.faults.ledger.running import LedgerProcess, api_config
from tests.faults.ledger.writing import FileWriter, MemoryWriter


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerProcess]:
    with LedgerProcess(tmp_path_factory.mktemp("ledger"), token=TOKEN) as started:
        yield started


async def test_a_restarted_ledger_knows_what_it_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = "k1-000001"
    monkeypatch.setenv("LEDGER_TOKEN", TOKEN)
    process = LedgerProcess(tmp_path, token=TOKEN)
    config = tmp_path / "apis"
    config.mkdir()
    try:
        process.start()
        transport = http_transport(process, config)
        ledger = Ledger(steering=process, transport=transport)
        ledger.will(run, Fate(fault=Fault.DROP_AFTER))
        assert await ledger.status("POST", f"/keyed/{run}/s1", key="a") is None
        assert await ledger.status("POST", f"/keyed/{run}-f1/s1", key="b") == 422
        assert await ledger.status("POST", f"/plain/{run}/s2") == 200
        process.stop()
        with process.file.open("ab") as file:
            file.write(b'{"request": {"num')  # its last word was cut off
        before = process.records()
        await transport.aclose()
        process.start()
        transport = http_transport(process, config)
        ledger = Ledger(steering=process, transport=transport)
        found = [
            await ledger.status("POST", f"/keyed/{run}/s1", key="a"),
            await ledger.status("POST", f"/keyed/{run}/s1", key="a", body=b"other"),
            await ledger.status("POST", f"/keyed/{run}-f1/s1", key="b"),
            await ledger.status("GET", f"/plain/{run}/s2/do"),
            await ledger.status("DELETE", f"/plain/{run}/s2"),
        ]
        await transport.aclose()
        after = process.records()
    finally:
        process.stop()
    assert found == [200, 409, 422, 200, 200]
    assert after.requests[: len(before.requests)] == before.requests
    assert [request.number for request in after.requests] == list(range(1, 9))
    assert [(e.number, e.direction) for e in after.effects] == [(1, "do"), (2, "do"), (3, "undo")]
    assert [request.replayed for request in after.requests[3:6]] == [True, False, True]


def test_a_ledger_is_steered_while_it_runs(process: LedgerProcess) -> None:
    process.faults(seed=3, rate=0.5, weights={"busy": 1.0})
    process.latency(0.0, 0.0)
    process.heal()
    assert process.statistics()["in_flight"] == 0
    with pytest.raises(ValueError, match="nonsense"):
        process.faults(seed=3, rate=0.5, weights={"nonsense": 1.0})
    with pytest.raises(ValueError, match="404"):
        process.control("GET", "nowhere")


def test_what_is_not_http_ends_the_connection(process: LedgerProcess) -> None:
    parts = urlsplit(process.address)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as link:
        link.sendall(b"what?\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(100) == b""
    assert process.statistics()["requests"] >= 0


KEYS = st.sampled_from(["a", "b", None])
TARGETS = st.sampled_from(
    [f"/{route}/k1-000001{end}/{s}" for route in ("keyed", "plain") for end in ("", "-f1-u2")
     for s in ("s1", "s2")]
)  # fmt: skip
REQUESTS = st.tuples(
    st.sampled_from(["POST", "DELETE"]), TARGETS, st.sampled_from([b"", b"x"]), KEYS
)
ENDS = st.sampled_from([Fault.NONE, Fault.DROP_AFTER, Fault.DROP_BEFORE, Fault.ERROR, Fault.HANG])


@given(asked_for=st.lists(st.tuples(REQUESTS, ENDS), max_size=25))
def test_whatever_happened_a_file_brings_a_ledger_back(
    asked_for: list[tuple[tuple[str, str, bytes, str | None], Fault]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = FileWriter(Path(folder, "ledger.jsonl"))
        first = Desk(writer, time.time)
        for request, fault in asked_for:
            wanted = asked(request[0], request[1])
            first.faults.will(wanted.run, wanted.step, wanted.direction, fault)
            ask(first, *request)
        writer.close()
        second = Desk(MemoryWriter(), time.time)
        second.resume(read_records(Path(folder, "ledger.jsonl")))
    first.writer = MemoryWriter()
    assert (second.requests, second.effects) == (first.requests, first.effects)
    for request, _ in asked_for * 2:
        assert ask(first, *request) == ask(second, *request)


def ask(desk: Desk, method: str, target: str, body: bytes, key: str | None) -> list[object]:
    """What comes of a request, if it comes at once."""
    caller = Listener()
    desk.take(method, target, body, key=key, credential=None, caller=caller)
    return caller.heard


class Listener:
    """Implements Caller."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def answer(self, status: int, body: bytes, retry_after: str | None) -> bool:
        self.heard += [status, body, retry_after]
        return True

    def half(self, status: int, body: bytes) -> None:
        self.heard += [status, body[:1]]

    def cut(self) -> None:
        self.heard.append("cut")

    def reach(self, point: str) -> None: ...


def test_a_file_that_is_no_ledger_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"exceeded": {"at": 1.0, "request": 1, "limit": "1/1s", "found": 2}}\nwhat?\n')
    with pytest.raises(ValueError, match=r"ledger\.jsonl, line 2: found b'what\?'; wanted JSON"):
        read_records(path)


def test_workers_are_told_of_limits_and_credential(tmp_path: Path) -> None:
    text = api_config("http://127.0.0.1:1", rate="200/second; 900/minute", concurrency=7)
    (tmp_path / "ledger.yaml").write_text(text)
    config = load_apis(tmp_path)["ledger"]
    assert (len(config.rates), config.concurrency, config.auth is None) == (2, 7, False)
    (tmp_path / "ledger.yaml").write_text(api_config("http://127.0.0.1:1", token=False))
    config = load_apis(tmp_path)["ledger"]
    assert (config.limited, config.auth) == (False, None)
