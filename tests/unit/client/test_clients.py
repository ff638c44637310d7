"""What a client sends again, after how long, and what it makes of answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from orchestrator import errors
from orchestrator.client import AsyncClient, Client, ask
from orchestrator.client.requests import POLICY, Repeating, Request, error_of, retry_after
from orchestrator.core.retry import RetryPolicy
from orchestrator.errors import OrchestratorError

QUICK = RetryPolicy(max_attempts=4, first_delay_seconds=0.0)
RUN = "01939c5e-7f2a-7c11-9f4e-0c2f5a1b9d10"
Handle = Callable[[httpx.Request], httpx.Response]


def client(handle: Handle) -> Client:
    return Client("http://host", key="k", policy=QUICK, transport=httpx.MockTransport(handle))


def in_turn(*answers: httpx.Response | Exception) -> tuple[Handle, list[httpx.Request]]:
    seen: list[httpx.Request] = []
    waiting = iter(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = next(waiting)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle, seen


def made(status: int = 201) -> httpx.Response:
    return httpx.Response(status, json={"run_id": RUN, "repeated": False})


def test_a_submission_is_sent_again_with_the_same_key() -> None:
    handle, seen = in_turn(
        httpx.ReadTimeout("slow"), httpx.Response(503, headers={"retry-after": "0"}), made()
    )
    with client(handle) as given:
        assert given(ask.submit("order", {"n": 1})).run_id == RUN
    keys = {request.headers["idempotency-key"] for request in seen}
    assert (len(seen), len(keys)) == (3, 1)
    assert len({request.content for request in seen}) == 1
    assert seen[0].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (httpx.ConnectError("refused"), 2),  # it never left
        (httpx.Response(429, headers={"retry-after": "0"}), 2),  # it was refused
        (httpx.ReadTimeout("slow"), 1), (httpx.Response(503), 1), (httpx.Response(502), 1),
    ],
)  # fmt: skip
def test_a_decision_is_sent_again_only_when_it_certainly_did_nothing(
    answer: httpx.Response | Exception, sent: int
) -> None:
    done = httpx.Response(200, json={"escalation_id": RUN, "run_id": RUN, "run_status": "running"})
    handle, seen = in_turn(answer, done)
    with client(handle) as given:
        decision = ask.decide(RUN, "retry", reason="x", tag='"open"')
        if sent == 1:
            with pytest.raises(errors.Unavailable):
                given(decision)
        else:
            assert given(decision).run_status == "running"
    assert len(seen) == sent
    assert seen[0].headers["if-match"] == '"open"'


def test_it_gives_up_after_so_many_attempts() -> None:
    handle, seen = in_turn(*[httpx.ReadError("gone")] * 9)
    with client(handle) as given, pytest.raises(errors.Unavailable, match="http://host"):
        given(ask.me())
    assert len(seen) == QUICK.max_attempts


def test_it_waits_as_long_as_it_is_told_to() -> None:
    class Half:
        def random(self) -> float:
            return 0.5

    request: Request[object] = Request(method="GET", path="/", read=lambda _: None)
    repeating = Repeating(request, POLICY, 0.0, Half())
    told = httpx.Response(429, headers={"retry-after": "7"})
    assert repeating.after(1.0, response=told) == 7.0
    assert repeating.after(2.0, response=httpx.Response(503)) == 0.2  # half of twice the first
    assert repeating.after(58.0, response=told) is None  # it would be a minute
    assert repeating.after(3.0, response=httpx.Response(409)) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0), ({}, None), ({"retry-after": "soon"}, None),
        ({
            "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT",
        }, 30.0),
    ],
)  # fmt: skip
def test_both_forms_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(httpx.Response(429, headers=headers)) == seconds


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidInput), (401, errors.NotAuthenticated), (403, errors.NotAllowed),
        (404, errors.NotFound), (409, errors.Conflict), (412, errors.Conflict),
        (422, errors.InvalidInput), (428, errors.InvalidInput), (429, errors.Overloaded),
        (500, errors.Unavailable), (503, errors.Unavailable),
    ],
)  # fmt: skip
def test_a_problem_document_is_the_error_it_stands_for(
    status: int, kind: type[OrchestratorError]
) -> None:
    problem = {"place": "body /inputs/n", "found": "-1", "wanted": "at least 1"}
    said = {"detail": "not so", "status": status, "problems": [problem]}
    request = httpx.Request("GET", "http://host/v1/me")
    found = error_of(httpx.Response(status, content=json.dumps(said), request=request))
    assert type(found) is kind
    assert "not so" in str(found)
    if isinstance(found, errors.RefusedError):
        assert found.problems[0].place == "body /inputs/n"
    by_a_proxy = error_of(httpx.Response(status, content=b"<html>", request=request))
    assert type(by_a_proxy) is kind


def test_an_answer_of_another_shape_is_no_value() -> None:
    handle, _ = in_turn(httpx.Response(200, json={"name": 1}))
    with client(handle) as given, pytest.raises(errors.Unavailable, match="not as documented"):
        given(ask.me())


def test_ids_cannot_lead_elsewhere() -> None:
    assert ask.run("../../me?x").path == "/v1/runs/..%2F..%2Fme%3Fx"
    assert ask.decide("a/b", "re/try", reason="x", tag="*").path.count("/") == 4


def event(seq: int) -> str:
    record = {"seq": seq, "at": "2026-01-01T00:00:00Z", "kind": "x", "actor": "a", "data": {}}
    return f"event: audit\nid: {seq}\ndata: {json.dumps(record)}\n\n"


SETTLED = {
    "id": RUN, "workflow": "w", "version": 1, "tenant": "t", "actor": "a", "lane": "l",
    "priority": 0, "status": "succeeded", "direction": "forward", "cause": "",
    "idempotency_key": "k", "cancel": None, "owner": None, "created_at": "2026-01-01T00:00:00Z",
    "started_at": None, "settled_at": None, "wake_at": None, "deadline_at": None, "audit_seq": 3,
    "inputs": {}, "outputs": None,
}  # fmt: skip
END = f"event: settled\nid: 3\ndata: {json.dumps(SETTLED)}\n\n"


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A stream that breaks off."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from (part.encode() for part in self._parts)
        raise httpx.ReadError("reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


def streams() -> tuple[Handle, list[httpx.Request]]:
    head = {"content-type": "text/event-stream"}
    return in_turn(
        httpx.Response(200, headers=head, stream=Broken(event(1), ": still here\n\n", event(2))),
        httpx.Response(200, headers=head, content=event(3)),  # ended early, in good order
        httpx.Response(200, headers=head, content=END),
    )


def test_events_go_on_where_a_stream_broke_off() -> None:
    handle, seen = streams()
    with client(handle) as given:
        found = list(given.events(RUN))
    assert [each.seq for each in found] == [1, 2, 3, 3]
    assert found[-1].run is not None
    assert [request.headers.get("last-event-id") for request in seen] == [None, "2", "3"]


async def test_the_client_that_does_not_wait_does_the_same() -> None:
    handle, seen = streams()
    transport = httpx.MockTransport(handle)
    async with AsyncClient("http://host", policy=QUICK, transport=transport) as given:
        assert [each.seq async for each in given.events(RUN)] == [1, 2, 3, 3]
    assert "authorization" not in seen[0].headers
    handle, seen = in_turn(httpx.ReadError("x"), made(200))
    transport = httpx.MockTransport(handle)
    async with AsyncClient("http://host", policy=QUICK, transport=transport) as given:
        assert (await given(ask.submit("order"))).run_id == RUN
    assert len(seen) == 2


def test_events_of_what_is_not_there() -> None:
    handle, _ = in_turn(httpx.Response(404, json={"detail": "no such run", "problems": []}))
    with client(handle) as given, pytest.raises(errors.NotFound):
        list(given.events(RUN))


def test_many_are_sent_by_the_thousand_and_each_is_answered() -> None:
    sent: list[int] = []

    def handle(request: httpx.Request) -> httpx.Response:
        lines = request.content.splitlines()
        sent.append(len(lines))
        answers = [
            {"line": n, "problem": {"status": 422}} if n == 2
            else {"line": n, "run_id": RUN, "repeated": False}
            for n, _ in enumerate(lines, 1)
        ]  # fmt: skip
        return httpx.Response(200, content=b"\n".join(json.dumps(a).encode() for a in answers))

    with client(handle) as given:
        found = list(given.submit_many(ask.submission("order", {"n": n}) for n in range(2500)))
    assert sent == [1000, 1000, 500]
    assert [each.line for each in found] == list(range(2500))
    assert [each.line for each in found if each.problem] == [1, 1001, 2001]


def test_an_answer_that_broke_off_is_no_answer() -> None:
    handle, _ = in_turn(httpx.Response(200, content=b""))
    with client(handle) as given, pytest.raises(errors.Unavailable, match="0 of 1 lines"):
        list(given.submit_many([ask.submission("order")]))


class _Broken(httpx.SyncByteStream):
    """A body that breaks off after these chunks."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        raise httpx.ReadError("reset")


def exported(stream: httpx.SyncByteStream | None = None, content: bytes = b"") -> httpx.Response:
    headers = {"audit-checkpoint": "7"}
    if stream is None:
        return httpx.Response(200, headers=headers, content=content)
    return httpx.Response(200, headers=headers, stream=stream)


def test_an_export_is_asked_for_again_until_it_begins() -> None:
    lines = b'{"n": 1, "said": "\xe2\x80\xa8"}\n{"n": 2}\n'
    busy = httpx.Response(503, headers={"retry-after": "0"})
    handle, seen = in_turn(httpx.ConnectError("refused"), busy, exported(content=lines))
    with client(handle) as given, given.export(ask.export(4, until=9)) as found:
        assert (found.upto, [each["n"] for each in found.records]) == (7, [1, 2])
    assert len(seen) == 3
    assert dict(seen[-1].url.params) == {"since": "4", "until": "9", "format": "jsonl"}


@pytest.mark.parametrize(
    "answer",
    [exported(_Broken(b'{"n": 1}\n{"n"')), exported(content=b'{"n": 1}\n{"n"')],
    ids=["reset", "cut off"],
)
def test_an_export_that_breaks_off_says_so(answer: httpx.Response) -> None:
    handle, _ = in_turn(answer)
    with client(handle) as given, given.export(ask.export()) as found:
        assert next(found.records) == {"n": 1}
        with pytest.raises(errors.Unavailable, match="broke off"):
            next(found.records)


def test_an_export_that_is_refused() -> None:
    handle, _ = in_turn(httpx.Response(403, json={"detail": "no"}))
    with (
        client(handle) as given,
        pytest.raises(errors.NotAllowed),
        given.export(ask.export()),
    ):
        raise AssertionError("nothing is exported")
