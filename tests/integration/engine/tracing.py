"""The trace of a run in this house: whole, and of exactly the attempts that are recorded."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from orchestrator.ports import RunRecord
from orchestrator.ports.tracing import Span, SpanKind
from orchestrator.service.spans import Traced
from tests.integration.engine.house import House

LOST = "lost with its worker"


async def check_trace(house: House, run: RunRecord) -> None:
    """One root; parents are there and around their children; what was sent once is told of once."""
    plan = (await house.programs.get(run.workflow_id)).plan
    attempts, steps = await house.store.attempts(run.id), await house.store.steps(run.id)
    audit = await house.store.audit(run.id)
    traced = Traced(run, plan, steps, attempts, audit, broker="redis")
    spans = traced.spans(told=0)
    _check_tree(spans)
    told = Counter(
        (span.begun_at, span.ended_at)
        for span in spans if span.kind is SpanKind.CLIENT and span.error != LOST
    )  # fmt: skip
    made = [each for each in attempts if each.kind != "wait"]
    assert told == Counter((each.started_at, each.finished_at) for each in made)
    ends = [0, *(each.last_seq for each in traced.segments if each.last_seq is not None)]
    in_turn = [traced.spans(told=before) for before in ends]
    for before, after in pairwise(in_turn):
        assert {span.span_id for span in after} < {span.span_id for span in before}
    assert in_turn[-1] == []
    _check_piece_by_piece(spans, [
        Traced(run, plan, steps, attempts, audit[:number], broker="redis")
        for number in range(1, len(audit) + 1)
    ])  # fmt: skip


def _check_piece_by_piece(spans: list[Span], known: list[Traced]) -> None:
    """Told after each record, each span comes once, as it is told at the end, and after what it has
    links to."""
    told, found = 0, list[Span]()
    for each in known:
        piece = each.spans(told=told)
        there = {span.span_id for span in (*found, *piece)}
        assert all(set(span.links) <= there for span in piece)
        found, told = [*found, *piece], each.upto
    assert sorted(found, key=_id) == sorted(spans, key=_id)
    assert [each.has_ended for each in known[:-1]] == [False] * (len(known) - 1)


def _id(span: Span) -> str:
    return span.span_id


def _check_tree(spans: list[Span]) -> None:
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans), "two spans with one id"
    assert len([span for span in spans if span.parent_id is None]) == 1
    for span in spans:
        assert set(span.links) <= by_id.keys(), span
        if span.parent_id is None:
            continue
        parent = by_id[span.parent_id]
        assert parent.begun_at <= span.begun_at, (parent, span)
        if not span.name.startswith("resumed "):
            assert span.ended_at <= parent.ended_at, (parent, span)
