"""What the records of a run's audit say in words, and which calls they tell of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.core import evidence, narrative
from orchestrator.core.calls import CallMade, calls_of
from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.narrative import About, tell
from orchestrator.core.states import Direction, RunStatus

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
REQUEST = FrozenRequest(method="POST", target="/charges", body=b'{"amount":1}', key="k1")
ASKED = evidence.of_request(REQUEST)
OTHER = evidence.of_request(FrozenRequest(method="POST", target="/other", key="k2"))
TASK = evidence.of_request(FrozenRequest(method="TASK", target="tasks.price", body=b"{}"))


@dataclass
class Record:
    seq: int
    kind: str
    data: Mapping[str, Any]
    actor: str = "worker"
    at: datetime = NOW


@dataclass
class Audit:
    """Records as an engine writes them."""

    records: list[Record] = field(default_factory=list)

    def add(self, kind: str, *, actor: str = "worker", **data: Any) -> Audit:
        seq = len(self.records) + 1
        at = NOW + timedelta(seconds=seq)
        self.records.append(Record(seq=seq, kind=kind, data=data, actor=actor, at=at))
        return self

    def begun(self, attempt: int = 1, request: Mapping[str, Any] | None = None) -> Audit:
        more = {} if request is None else {"request": request}
        return self.add("step.begun", step="pay", attempt=attempt, **more)

    def ended(self, what: str, reason: str = "", **call: Any) -> Audit:
        return self.add(f"step.{what}", step="pay", reason=reason, call={"seconds": 0.25, **call})

    def calls(self) -> list[CallMade]:
        return list(calls_of(self.records))

    def story(self, status: RunStatus = RunStatus.SUCCEEDED) -> list[str]:
        about = About(status=status, began=NOW, settled=NOW + timedelta(seconds=9))
        told = tell(about, self.records)
        return [*(sentence.text for sentence in told.sentences), told.outcome]


SENT = evidence.of_answer(
    Response(status=201, body=b"{}"), sent=1, seconds=0.25, base="https://bank.example/v1",
    credential="bank: auth.bearer", waited=1.5,
)  # fmt: skip


def test_a_call_is_told_with_its_evidence() -> None:
    (call,) = Audit().begun(1, ASKED).ended("landed", "201 Created", **SENT).calls()
    assert (call.method, call.url, call.status) == ("POST", "https://bank.example/v1/charges", 201)
    assert (call.sent, call.key, call.credential) == (1, "k1", "bank: auth.bearer")
    assert (call.waited, call.seconds, call.attempt) == (1.5, 0.25, 1)
    assert (call.asked, call.answered) == (ASKED["body"], SENT["body"])
    assert call.outcome == "landed"


def test_a_retry_repeats_the_request_that_was_told_of_before() -> None:
    audit = Audit().begun(1, ASKED).ended("pending", "503", sent=1, base="http://a", status=503)
    first, second = audit.begun(2).ended("landed", sent=1, base="http://a", status=200).calls()
    assert (first.url, first.attempt) == (second.url, second.attempt - 1)
    assert second.key == "k1"


def test_what_was_taken_back_is_no_call() -> None:
    assert Audit().begun(1, ASKED).add("step.withdrawn", step="pay").calls() == []


@pytest.mark.parametrize("after", ["begun", "verify", "nothing"])
def test_of_a_call_whose_worker_died_nobody_knows_whether_it_left(after: str) -> None:
    audit = Audit().begun(1, ASKED).add("run.recovered", **{"from": "w1", "why": "it died"})
    if after == "begun":
        audit.begun(1, ASKED).ended("landed", **SENT)
    elif after == "verify":
        audit.ended("landed", "it is there", **SENT, verify=True, request=OTHER)
    lost, *others = audit.calls()
    assert (lost.sent, lost.outcome, lost.seq) == (None, "", 1)
    assert [(call.sent, call.verify) for call in others] == {
        "begun": [(1, False)], "verify": [(1, True)], "nothing": [],
    }[after]  # fmt: skip
    assert "may have left" in " ".join(audit.story())


def test_a_link_that_is_decided_without_a_call_ends_none() -> None:
    """The request of before is still one of which nobody knows."""
    audit = Audit().begun(1, ASKED).add("step.failed", step="pay", reason="too late")
    (lost,) = audit.calls()
    assert (lost.sent, lost.outcome) == (None, "")


def test_records_of_a_release_that_kept_no_calls() -> None:
    audit = Audit().begun(1).add("step.landed", step="pay", reason="200 OK")
    (call,) = audit.calls()
    assert (call.method, call.sent, call.outcome) == ("", None, "landed")
    assert any("kept no details" in text for text in audit.story())


def test_requests_that_never_left_and_those_that_left_twice() -> None:
    audit = Audit().begun(1, ASKED).ended("pending", "no connection")
    audit.begun(2).ended("landed", sent=2, base="http://a", status=200)
    assert [call.sent for call in audit.calls()] == [0, 2]
    assert "did not leave" in audit.story()[0]
    assert "(2 requests) answered 200" in audit.story()[1]
    assert "2 requests to the outside" in audit.story()[-1]


def test_functions_are_not_outside() -> None:
    audit = Audit().begun(1, TASK).ended("landed")
    assert [call.is_outside for call in audit.calls()] == [False]
    assert "the function tasks.price ran for 250 ms" in audit.story()[0]
    assert "0 requests" in audit.story()[-1]


def test_undos_are_told_apart() -> None:
    audit = Audit().add("undo.begun", step="pay", attempt=1, request=OTHER)
    audit.add("undo.landed", step="pay", reason="200 OK", call=SENT)
    (call,) = audit.calls()
    assert call.direction is Direction.BACKWARD
    assert audit.story(RunStatus.COMPENSATED)[0].startswith("undo of pay, attempt 1: POST")
    assert "0 steps done, 1 undone, 1 request" in audit.story(RunStatus.COMPENSATED)[-1]


def test_a_retry_says_when_and_why() -> None:
    audit = Audit().begun(1, ASKED)
    audit.add(
        "step.pending", step="pay", reason="503 Service Unavailable", call=SENT,
        events=[{"event": "NotLanded", "at": "…", "then": "wait 2026-03-04T05:06:09+00:00"}],
    )  # fmt: skip
    (text, _) = audit.story()
    assert "tried again (503 Service Unavailable), at 2026-03-04 05:06:09" in text


def test_a_sleep_says_until_when() -> None:
    audit = Audit()
    audit.add("step.asked", step="cool", asks="sleep", until="2026-03-04T05:06:09.123456+01:00")
    assert audit.story()[0] == "step cool: sleeps until 2026-03-04 04:06:09"


def test_the_agent_s_search_comes_first() -> None:
    looked = [{"at": "2026-03-04T05:06:00+00:00", "question": "pay a bill", "found": ["pay", "x"]}]
    audit = Audit().add(
        "run.accepted", actor="agent:a", workflow="pay", version=1, tenant="t",
        idempotency_key="order-1", looked=looked,
    )  # fmt: skip
    first, second, third, *_ = audit.story()
    assert first == "the agent asked for “pay a bill” and was shown: pay, x"
    assert second == "the agent chose pay"
    assert third == "agent:a submitted pay, version 1, for t, under the key order-1"


def test_why_an_agent_chose_it_is_told_once() -> None:
    at = "2026-03-04T05:06:00+00:00"
    looked = [{"at": at, "chose": "pay", "reason": "due", "client": "bot 1", "model": "m-1"}]
    audit = Audit().add(
        "run.accepted", actor="agent:a", workflow="pay", version=1, tenant="t",
        idempotency_key="order-1", looked=looked,
    )  # fmt: skip
    first, second, *_ = tell(
        About(status=RunStatus.RUNNING, began=NOW, settled=None), audit.records
    ).sentences
    assert first.text == "the agent chose pay: “due”"
    assert first.evidence == {"chose at": at, "client": "bot 1", "model": "m-1"}
    assert second.text.startswith("agent:a submitted pay")


def test_what_has_no_words_is_told_all_the_same() -> None:
    audit = Audit().add("comet.seen", tail="long")
    told = tell(About(status=RunStatus.RUNNING, began=NOW, settled=None), audit.records)
    (sentence,) = told.sentences
    assert (sentence.text, sentence.evidence) == ("comet seen", {"tail": "long"})
    assert told.outcome.startswith("it is running")


DETAILS: Mapping[str, Any] = {
    "workflow": "w", "version": 1, "tenant": "t", "idempotency_key": "k", "run": "r1", "step": "s",
    "reason": "because", "values": ["a"], "confirmed_by": "eve", "why": "so", "from": "w1",
    "detail": "more", "cause": "c", "landed": True, "text": "hm", "name": "paid",
    "decision": "approved", "act": "skip",
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(narrative.WORDS))
def test_each_kind_of_record_has_its_words(kind: str) -> None:
    """And what they say is not said again as evidence."""
    audit = Audit().add(kind, actor="ann", **DETAILS, proposal="p1")
    told = tell(About(status=RunStatus.RUNNING, began=NOW, settled=None), audit.records)
    (sentence,) = told.sentences
    assert len(sentence.text.split()) > 1
    assert sentence.evidence["proposal"] == "p1"
    if re.search(r"\bbecause\b", sentence.text):
        assert "reason" not in sentence.evidence


@pytest.mark.parametrize("kind", sorted(narrative.WORDS))
def test_a_record_without_its_details_is_told_as_well(kind: str) -> None:
    told = tell(About(status=RunStatus.RUNNING, began=NOW, settled=None), Audit().add(kind).records)
    assert [sentence.seq for sentence in told.sentences] == [1]


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("step.asked", {"step": "fan", "asks": "block"}, "step fan: waits for its branches"),
        ("run.child_of", {"run": "r1", "step": "fan", "branch": "fan/a"},
         "it is the branch fan/a of run r1"),
        ("run.child_of", {"run": "r1", "step": "fan", "branch": "fan", "undoes": ["a", "b"]},
         "it undoes runs a, b for step fan of run r1"),
        ("child.begun", {"run": "r2", "step": "fan", "branch": "fan/a"},
         "the branch fan/a began as run r2"),
        ("children.ended", {"step": "fan", "runs": [
            {"run": "r2", "status": "abandoned", "branch": "a"},
            {"run": "r3", "status": "escalated"},
        ]}, "what fan waited for has ended: branch a (run r2) abandoned, run r3 escalated"),
    ],
)  # fmt: skip
def test_branches_are_told_of_by_name(kind: str, data: Mapping[str, Any], text: str) -> None:
    audit = Audit().add(kind, actor="engine", **data)
    told = tell(About(status=RunStatus.RUNNING, began=NOW, settled=None), audit.records)
    (sentence,) = told.sentences
    assert (sentence.text, sentence.evidence) == (text, {})


def test_a_move_to_another_version_is_told_with_what_becomes_of_what_was_done() -> None:
    audit = Audit()
    audit.add(
        "run.migrated", actor="ada", to=4, step="ship", keeps_waiting=True, reason="a fixed undo",
        waited_at="ship", passed_over=["wrap"], **{"from": 3},
    )  # fmt: skip
    (told,) = [line for line in audit.story() if "version" in line]
    assert "ada has it go on by version 4 instead of 3, at step ship, where it waits on" in told
    assert told.endswith("what it did is undone as its own version says: a fixed undo")
