"""Ids of traces and spans are worked out, and who keeps a trace is decided by its id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.core.states import Direction
from orchestrator.core.tracing import (
    TraceContext,
    attempt_span_id,
    context_of,
    known_traceparent,
    known_tracestate,
    span_id,
)

RUN = "01939a2e-7f3c-7b11-9c52-3f1e8f0a4d77"
GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AT = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


def test_a_run_has_the_trace_of_its_submitter() -> None:
    found = context_of(RUN, GOOD)
    assert found == TraceContext(
        trace_id="0af7651916cd43dd8448eb211c80319c", parent_id="b7ad6b7169203331", sampled=True
    )
    assert context_of(RUN, GOOD[:-2] + "00").sampled is False


def test_any_other_run_has_a_trace_with_its_own_id() -> None:
    assert context_of(RUN, None) == TraceContext(trace_id=RUN.replace("-", ""))
    assert len(context_of("run-1", None).trace_id) == 32


@pytest.mark.parametrize(
    "text",
    [
        GOOD.upper(), GOOD[:-1], GOOD + "-more", "ff" + GOOD[2:], "00-" + "0" * 32 + GOOD[35:],
        GOOD[:36] + "0" * 16 + "-01", "", "00", GOOD.replace("-", "_"), GOOD + "\n00",
    ],
)  # fmt: skip
def test_what_is_no_traceparent_is_left_out(text: str) -> None:
    assert known_traceparent(text) is None
    assert context_of(RUN, text) == context_of(RUN, None)


def test_a_newer_version_may_say_more() -> None:
    assert known_traceparent("cc" + GOOD[2:] + "-what-will-be") is not None
    assert known_traceparent(f" {GOOD} ") == GOOD


def test_who_submitted_decides_what_is_kept() -> None:
    assert context_of(RUN, GOOD).keeps(0.0)
    assert not context_of(RUN, GOOD[:-2] + "00").keeps(1.0)


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.5, 1.0])
def test_of_all_others_a_part_is_kept_and_a_larger_one_holds_a_smaller(ratio: float) -> None:
    contexts = [context_of(f"run-{number}", None) for number in range(4_000)]
    kept = {each.trace_id for each in contexts if each.keeps(ratio)}
    assert len(kept) / 4_000 == pytest.approx(ratio, abs=0.03)
    assert kept <= {each.trace_id for each in contexts if each.keeps(min(ratio * 2, 1))}


def test_the_header_names_the_span_and_whether_it_is_kept() -> None:
    found = context_of(RUN, None)
    own = attempt_span_id(RUN, 2, Direction.BACKWARD, AT)
    assert found.traceparent(own, ratio=1) == f"00-{found.trace_id}-{own}-01"
    assert known_traceparent(found.traceparent(own, ratio=0)) == f"00-{found.trace_id}-{own}-00"


def test_spans_of_other_things_have_other_ids() -> None:
    later = AT + timedelta(microseconds=1)
    ids = {
        attempt_span_id(RUN, 2, Direction.BACKWARD, AT),
        attempt_span_id(RUN, 2, Direction.FORWARD, AT),
        attempt_span_id(RUN, 3, Direction.FORWARD, AT),
        attempt_span_id(RUN, 3, Direction.FORWARD, later),
        attempt_span_id("run-1", 3, Direction.FORWARD, later),
        span_id(RUN, "run"),
        span_id(RUN, "resumed", 1),
    }
    assert len(ids) == 7
    assert attempt_span_id(RUN, 2, Direction.BACKWARD, AT) in ids


STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
LONG = "v" * 120


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (STATE, STATE), (" a=1 ,, \t b= 2 ", "a=1,b= 2"), ("1a/b*c-d_e=x", "1a/b*c-d_e=x"),
        ("fw529a3039@dt=FfAA", "fw529a3039@dt=FfAA"), (",".join(f"k{n}=1" for n in range(32)),) * 2,
    ],
)  # fmt: skip
def test_a_state_is_passed_on_as_it_is(text: str, known: str) -> None:
    assert known_tracestate(text) == known
    found = context_of(RUN, GOOD, known)
    assert dict(found.headers("b" * 16, ratio=0)) == {
        "traceparent": f"00-{found.trace_id}-{'b' * 16}-01", "tracestate": known,
    }  # fmt: skip
    assert context_of(RUN, None, known).state == ""


@pytest.mark.parametrize(
    "text",
    [
        None, "", " , ", "rojo", "rojo=", "=1", "Rojo=1", "rojo=1,rojo=2", "rojo=ü", "a b=1",
        "a=1=2",
        "@dt=1", "a@=1", "a@b@c=1", "a=\x00", "k" * 257 + "=1", "k=" + "v" * 257,
        ",".join(f"k{n}=1" for n in range(33)),
    ],
)  # fmt: skip
def test_what_is_no_state_is_left_out(text: str | None) -> None:
    assert known_tracestate(text) is None
    assert len(context_of(RUN, GOOD).headers("b" * 16, ratio=0)) == 1


def test_of_a_long_state_the_longest_members_go_first_and_then_the_oldest() -> None:
    many = [f"k{number}={LONG}" for number in range(5)]
    assert known_tracestate(",".join([f"first={'v' * 200}", *many])) == ",".join(many[:4])
    assert known_tracestate("only=" + "v" * 256) == "only=" + "v" * 256
    assert known_tracestate(f"a={'v' * 256},b={'v' * 256}") is None
