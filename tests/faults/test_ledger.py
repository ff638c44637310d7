"""The ledger does what it is told and writes down what it did, in process and over HTTP alike."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.engine.http import HttpTransport
from orchestrator.errors import NoCredential
from tests.faults.ledger.driving import TOKEN, InProcess, Ledger, http_transport
from tests.faults.ledger.faults import Fate, Fault
from tests.faults.ledger.limits import Limit
from tests.faults.ledger.running import LedgerProcess
from tests.faults.ledger.transport import LedgerTransport

IMPATIENT_SECONDS = 0.5  # of those who wait in vain
A_WHILE_SECONDS = 0.4  # long enough for another request to come in between
_runs = itertools.count(1)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerProcess]:
    with LedgerProcess(tmp_path_factory.mktemp("ledger"), token=TOKEN) as started:
        yield started


@pytest.fixture(params=["in process", "over HTTP"])
async def ledger(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Ledger]:
    monkeypatch.setenv("LEDGER_TOKEN", TOKEN)
    if request.param == "in process":
        inside = InProcess()
        transport = LedgerTransport(inside.desk)
        transport.credential = f"Bearer {TOKEN}"
        yield Ledger(steering=inside, transport=transport)
        return
    process = request.getfixturevalue("process")
    over_http = http_transport(process, tmp_path)
    yield Ledger(steering=process, transport=over_http)
    process.limits()
    await over_http.aclose()


@pytest.fixture
def run() -> str:
    """The name of a run that no other test uses."""
    return f"k1-{next(_runs):06d}"


# --- fates ----------------------------------------------------------------------------------------

SOON = 0.05
FATES = {
    "well": (Fate(), 200, "applied answered"),
    "delay": (Fate(fault=Fault.DELAY, seconds=SOON), 200, "applied answered"),
    "drop before": (Fate(fault=Fault.DROP_BEFORE), None, ""),
    "drop after": (Fate(fault=Fault.DROP_AFTER), None, "applied"),
    "late": (Fate(fault=Fault.LATE, seconds=SOON), None, "applied"),
    "half": (Fate(fault=Fault.HALF), None, "applied"),
    "garbled": (Fate(fault=Fault.GARBLED), 200, "applied answered"),
    "error before": (Fate(fault=Fault.ERROR, status=502, effect=False), 502, "answered"),
    "error after": (Fate(fault=Fault.ERROR), 500, "applied answered"),
    "busy": (Fate(fault=Fault.BUSY, status=429, retry_after="1"), 429, "answered"),
    "refuse": (Fate(fault=Fault.REFUSE), 422, "answered"),
    "forbid": (Fate(fault=Fault.REFUSE, status=403), 403, "answered"),
    "hang before": (Fate(fault=Fault.HANG, effect=False), None, ""),
    "hang after": (Fate(fault=Fault.HANG), None, "applied"),
}


@pytest.mark.parametrize("route", ["keyed", "plain"])
@pytest.mark.parametrize("name", FATES)
async def test_a_request_meets_its_fate_and_is_taken_down(
    ledger: Ledger, run: str, name: str, route: str
) -> None:
    fate, status, became = FATES[name]
    ledger.will(run, fate)
    patience = IMPATIENT_SECONDS if fate.fault is Fault.HANG else 5.0
    found = await ledger.status("POST", f"/{route}/{run}/s1", key=run, patience=patience)
    await ledger.quiet()
    assert found == status
    [record] = ledger.requests(run)
    assert (record.fault, record.status) == (fate.fault, status)
    assert (record.applied, record.answered) == ("applied" in became, "answered" in became)
    assert (record.answered_at is not None) == record.answered
    assert ledger.effects(run) == ["s1 do"] * record.applied


async def test_only_the_requests_that_a_table_names_are_treated_badly(
    ledger: Ledger, run: str
) -> None:
    ledger.will(run, Fate(), Fate(fault=Fault.DROP_AFTER))
    ledger.will(run, Fate(fault=Fault.ERROR, status=500, effect=False), question=True)
    found = [await ledger.status("POST", f"/plain/{run}/s1") for _ in range(3)]
    asked = [await ledger.status("GET", f"/plain/{run}/s1/do") for _ in range(2)]
    assert (found, asked) == ([200, None, 200], [500, 200])


async def test_an_answer_says_when_to_come_back(ledger: Ledger, run: str) -> None:
    ledger.will(run, Fate(fault=Fault.BUSY, status=503, retry_after="1"))
    answer = await ledger.send("POST", f"/keyed/{run}/s1", key=run)
    assert answer.headers["retry-after"] == "1"


async def test_a_garbled_answer_is_not_json_and_a_good_one_is(ledger: Ledger, run: str) -> None:
    ledger.will(run, Fate(fault=Fault.GARBLED))
    bad, good = [await ledger.send("POST", f"/keyed/{run}/s1", key=run) for _ in range(2)]
    assert bad.body == b'{"id": "<html>'
    assert good.body == f'{{"id": "{run}/s1", "ok": true}}'.encode()
    assert good.headers["content-type"] == "application/json"


# --- keys -----------------------------------------------------------------------------------------


async def test_the_same_key_has_one_effect_and_one_answer(ledger: Ledger, run: str) -> None:
    ledger.will(run, Fate(fault=Fault.ERROR))  # after the effect; the key knows better
    found = [await ledger.status("POST", f"/keyed/{run}/s1", key=run) for _ in range(3)]
    assert found == [500, 200, 200]
    assert ledger.effects(run) == ["s1 do"]
    assert [request.replayed for request in ledger.requests(run)] == [False, True, True]


async def test_the_same_key_with_other_bytes_is_a_conflict_and_seen(
    ledger: Ledger, run: str
) -> None:
    first = await ledger.status("POST", f"/keyed/{run}/s1", key=run, body=b"1")
    other = await ledger.status("POST", f"/keyed/{run}/s1", key=run, body=b"2")
    assert (first, other, ledger.effects(run)) == (200, 409, ["s1 do"])
    one, two = ledger.requests(run)
    assert one.key == two.key and one.digest != two.digest  # noqa: PT018 - one statement about both
    assert (two.status, two.applied, two.replayed) == (409, False, False)


async def test_another_key_is_another_effect(ledger: Ledger, run: str) -> None:
    for key in ("a", "b"):
        assert await ledger.status("POST", f"/keyed/{run}/s1", key=run + key) == 200
    assert ledger.effects(run) == ["s1 do", "s1 do"]


async def test_plain_routes_ignore_keys(ledger: Ledger, run: str) -> None:
    for _ in range(2):
        assert await ledger.status("POST", f"/plain/{run}/s1", key=run) == 200
    assert ledger.effects(run) == ["s1 do", "s1 do"]


@pytest.mark.parametrize("route", ["keyed", "plain"])
async def test_what_a_name_says_is_refused_for_good(ledger: Ledger, run: str, route: str) -> None:
    failing = f"{run}-f2-u1"
    found = [await ledger.status("POST", f"/{route}/{failing}/s1", key=f"{run}1")]
    found += [await ledger.status("POST", f"/{route}/{failing}/s2", key=f"{run}2") for _ in "12"]
    found += [await ledger.status("DELETE", f"/{route}/{failing}/s1", key=f"{run}3")]
    assert found == [200, 422, 422, 422]
    assert ledger.effects(failing) == ["s1 do"]
    keyed = route == "keyed"
    assert [request.replayed for request in ledger.requests(failing)] == [
        False,
        False,
        keyed,
        False,
    ]


async def test_a_refusal_by_table_is_remembered(ledger: Ledger, run: str) -> None:
    ledger.will(run, Fate(fault=Fault.REFUSE))
    found = [await ledger.status("POST", f"/keyed/{run}/s1", key=run) for _ in range(2)]
    assert (found, ledger.effects(run)) == ([422, 422], [])


# --- done and undone ------------------------------------------------------------------------------


async def test_what_is_done_on_one_route_is_undone_on_the_other(ledger: Ledger, run: str) -> None:
    await ledger.send("POST", f"/keyed/{run}/s1", key=f"{run}do")
    await ledger.send("POST", f"/plain/{run}/s2")
    found = [await ledger.status("DELETE", f"/plain/{run}/s1")]
    found += [await ledger.status("DELETE", f"/keyed/{run}/s2", key=f"{run}un") for _ in "12"]
    assert found == [200, 200, 200]
    assert ledger.effects(run) == ["s1 do", "s2 do", "s1 undo", "s2 undo"]


async def test_an_undo_of_what_is_not_done_finds_nothing_and_is_seen(
    ledger: Ledger, run: str
) -> None:
    assert await ledger.status("DELETE", f"/plain/{run}/s1") == 404
    await ledger.send("POST", f"/plain/{run}/s1")
    found = [await ledger.status("DELETE", f"/plain/{run}/s1") for _ in range(2)]
    assert (found, ledger.effects(run)) == ([200, 404], ["s1 do", "s1 undo"])
    seen = [r.status for r in ledger.requests(run) if r.direction == "undo"]
    assert seen == [404, 200, 404]


async def test_questions_are_answered_by_what_is_net(ledger: Ledger, run: str) -> None:
    async def asked() -> tuple[int | None, int | None]:
        return (
            await ledger.status("GET", f"/plain/{run}/s1/do"),
            await ledger.status("GET", f"/plain/{run}/s1/undo"),
        )

    assert await asked() == (404, 404)
    await ledger.send("POST", f"/plain/{run}/s1")
    assert await asked() == (200, 404)
    await ledger.send("DELETE", f"/plain/{run}/s1")
    assert await asked() == (404, 200)
    assert [request.question for request in ledger.requests(run)].count(True) == 6
    assert ledger.effects(run) == ["s1 do", "s1 undo"]


async def test_a_read_changes_nothing_and_an_unknown_route_is_seen(
    ledger: Ledger, run: str
) -> None:
    assert await ledger.status("GET", f"/read/{run}/s1") == 200
    before = len(ledger.steering.records().requests)
    assert await ledger.status("PATCH", f"/read/{run}/s1") == 404
    assert ledger.effects(run) == []
    assert ledger.steering.records().requests[before].route == ""


# --- time -----------------------------------------------------------------------------------------


async def test_a_late_effect_comes_once_whoever_comes_before_it(ledger: Ledger, run: str) -> None:
    ledger.will(run, Fate(fault=Fault.LATE, seconds=A_WHILE_SECONDS))
    assert await ledger.status("POST", f"/keyed/{run}/s1", key=run) is None
    assert await ledger.status("POST", f"/keyed/{run}/s1", key=run) == 200
    await ledger.quiet()
    assert ledger.effects(run) == ["s1 do"]
    late, early = ledger.requests(run)
    assert (late.applied, late.replayed, early.applied) == (False, True, True)


async def test_a_question_waits_for_what_has_arrived_before_it(ledger: Ledger, run: str) -> None:
    ledger.will(run, Fate(fault=Fault.DELAY, seconds=A_WHILE_SECONDS))
    doing = asyncio.create_task(ledger.status("POST", f"/plain/{run}/s1"))
    await ledger.arrived(run)
    assert await ledger.status("GET", f"/plain/{run}/s1/do") == 200
    assert await doing == 200


async def test_a_request_has_its_effect_although_its_sender_has_ended(
    ledger: Ledger, run: str
) -> None:
    ledger.will(run, Fate(fault=Fault.DELAY, seconds=A_WHILE_SECONDS))
    doing = asyncio.create_task(ledger.status("POST", f"/keyed/{run}/s1", key=run))
    await ledger.arrived(run)
    doing.cancel()
    await asyncio.wait([doing], timeout=5)
    await ledger.quiet()
    [record] = ledger.requests(run)
    assert (record.applied, record.answered) == (True, False)


# --- credentials and limits -----------------------------------------------------------------------


async def test_only_the_right_credential_is_let_in_and_others_are_seen(
    ledger: Ledger, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await ledger.status("POST", f"/keyed/{run}/s1", key=run) == 200
    monkeypatch.setenv("LEDGER_TOKEN", "guessed")
    match ledger.transport:
        case LedgerTransport() as inside:
            inside.credential = "Bearer guessed"
            assert await ledger.status("POST", f"/keyed/{run}/s1", key=run) == 401
        case HttpTransport() as outside:
            await outside.aclose()
            outside._clients.clear()  # it keeps a credential for a while
            with pytest.raises(NoCredential, match="401"):
                await ledger.status("POST", f"/keyed/{run}/s1", key=run)
    assert [request.secret for request in ledger.requests(run)] == [True, False]
    assert ledger.effects(run) == ["s1 do"]


async def test_limits_that_are_broken_are_taken_down_and_refused_to_nobody(
    ledger: Ledger, run: str
) -> None:
    before = len(ledger.steering.records().exceeded)
    ledger.steering.limits(Limit(amount=3, seconds=30.0), Limit(amount=1, routes=("plain",)))
    ledger.will(run, Fate(fault=Fault.DELAY, seconds=A_WHILE_SECONDS))
    both = [ledger.status("POST", f"/plain/{run}/s1") for _ in range(2)]
    assert await asyncio.gather(*both) == [200, 200]
    for _ in range(2):
        assert await ledger.status("POST", f"/plain/{run}/s1") == 200
    exceeded = ledger.steering.records().exceeded[before:]
    assert [(one.limit, one.found) for one in exceeded] == [("1 at once", 2), ("3/30s", 4)]
    assert exceeded[1].request == ledger.requests(run)[3].number
